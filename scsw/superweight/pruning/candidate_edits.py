"""What is done to the candidates themselves: alone in every mode, in pairs, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from types import SimpleNamespace

import pandas as pd

from scsw.superweight.pruning.control_sets import other_channels
from scsw.superweight.pruning.edits import Edit


def edits_of_candidates(
    candidates: pd.DataFrame, n_rows: int, settings: SimpleNamespace, seed: int
) -> list[Edit]:
    """Return every edit of the candidates.

    Parameters
    ----------
    candidates
        The frozen family: ``rank, candidate_id, family, block, row, column, mean_hidden``.
    n_rows
        Output channels of a down-projection.
    settings
        Section ``prune``: ``scales, n_noise, n_pairs_among``.
    seed
        Draws the channels of the noise edits.
    """
    ranked = candidates.sort_values("rank")
    alone = [edit for row in ranked.itertuples() for edit in _alone(row, n_rows, settings, seed)]
    return [*alone, *_cumulative(ranked), *_pairs(ranked.head(settings.n_pairs_among))]


def zeroed_alone(candidates: pd.DataFrame) -> list[Edit]:
    """Return the edits that zero each candidate (``candidate_id, block, row, column``) alone."""
    return [
        Edit(row.candidate_id, "candidate", "zero", "ffn_down", *place_of(row))
        for row in candidates.itertuples()
    ]


def place_of(row) -> tuple[int, int, int]:
    """Return block, row and column of a candidate as Python integers."""
    return int(row.block), int(row.row), int(row.column)


def _alone(row, n_rows: int, settings: SimpleNamespace, seed: int) -> Iterator[Edit]:
    place = place_of(row)

    def edit(mode: str, **more) -> Edit:
        return Edit(row.candidate_id, "candidate", mode, row.family, *place, **more)

    yield edit("zero")
    yield edit("mean", offset=float(row.mean_hidden))
    yield edit("shuffled")
    yield edit("restored")
    for scale in settings.scales:
        yield edit("scale", scale=float(scale))
    channels = other_channels(place[1], n_rows, settings.n_noise, [seed, *place])
    for draw, channel in enumerate(channels):
        yield edit("noise", channel=int(channel), draw=draw)


def _cumulative(ranked: pd.DataFrame) -> Iterator[Edit]:
    """Zero the first k candidates together; the k-th gives its name."""
    rows = list(ranked.itertuples())
    for k, row in enumerate(rows, 1):
        others = tuple(place_of(other) for other in rows[: k - 1])
        yield Edit(
            row.candidate_id,
            "cumulative",
            "zero",
            row.family,
            *place_of(row),
            others=others,
            draw=k,
        )


def _pairs(ranked: pd.DataFrame) -> Iterator[Edit]:
    """Zero two candidates together; the better one gives its name, the other stands in `of`."""
    for one, other in combinations(ranked.itertuples(), 2):
        yield Edit(
            one.candidate_id,
            "pair",
            "zero",
            one.family,
            *place_of(one),
            of=other.candidate_id,
            others=(place_of(other),),
        )
