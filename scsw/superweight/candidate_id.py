"""The name of a weight, row, column or channel, by which tables know it."""

from __future__ import annotations


def candidate_id(family: str, block: int, row: int | None, column: int | None) -> str:
    """Return the name, such as ``ffn_down.b0.r3.c5``; ``-`` where a family has no coordinate."""
    places = ("-" if place is None else str(place) for place in (row, column))
    return f"{family}.b{block}.r{'.c'.join(places)}"
