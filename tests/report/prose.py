"""Finds numbers in prose that ``numbers.json`` does not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from scsw.report import words

_NUMBER = re.compile(r"(?<![\w.])[+−]?\d[\d,]*(?:\.\d+)?(?:e−?\d+)?")
_FIXED = {"95", "15"}  # the level of every interval; the neighbours of a cell


def unsupported(prose: str, numbers: dict[str, Any]) -> list[str]:
    """Return the numbers in `prose` that are no leaf of `numbers`, however written."""
    leaves = list(_leaves(numbers))
    written = {text for leaf in leaves if not isinstance(leaf, str) for text in _ways(leaf)}
    texts = " ".join(leaf for leaf in leaves if isinstance(leaf, str))
    return [
        token
        for token in (found.rstrip(",") for found in _NUMBER.findall(prose))
        if token not in written and token not in _FIXED and token not in texts
    ]


@lru_cache(maxsize=None, typed=True)
def _ways(value: float) -> set[str]:
    plain = {write(value) for write in (words.count, words.amount, words.effect)}
    return plain | {words.percent(value).removesuffix(" %"), words.amount(abs(value)), str(value)}


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "verdict_sentence":  # itself prose, to be checked
                yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield value
