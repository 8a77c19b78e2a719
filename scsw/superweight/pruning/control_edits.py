"""What is done for comparison: weights like a candidate, sets of large weights, random weights."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.pruning import control_sets
from scsw.superweight.pruning.candidate_edits import place_of
from scsw.superweight.pruning.edits import Edit
from scsw.superweight.pruning.random_controls import draw_controls

SCALAR = "ffn_down"


def edits_of_controls(
    weights: list[np.ndarray],
    mean_hidden: list[np.ndarray],
    candidates: pd.DataFrame,
    settings: SimpleNamespace,
    seed: int,
) -> list[Edit]:
    """Return every edit of a control; all of them set weights to zero.

    Sets of a candidate (``wanda, row_neighbour, column_neighbour, row, column, gamma, beta``) name
    it in `of`. Those of a tensor (``next_largest, top_wanda, top_k``) exist once for each tensor
    that holds a candidate, and those of the model (``random``) once.

    Parameters
    ----------
    weights
        ``linear2.weight`` of each block, shape (rows, columns).
    mean_hidden
        Mean of |h| of each block's hidden units over discovery tokens, shape (columns,).
    candidates
        The frozen family.
    settings
        Section ``prune``: ``n_matched, n_controls, control_scope``.
    seed
        Draws the random controls.

    Raises
    ------
    ScswError
        If a tensor has too few weights beside the candidates.
    """
    taken = {place_of(row) for row in candidates.itertuples()}
    edits: list[Edit] = []
    for block in sorted(set(candidates["block"].astype(int))):
        weight = weights[block]
        free = control_sets.free_weights(weight.shape, block, taken)
        if free.sum() < settings.n_matched:
            raise ScswError(
                f"prune.n_matched asks for {settings.n_matched} weights like a candidate, block "
                f"{block} has {free.sum()} besides the candidates",
                fix="lower prune.n_matched",
            )
        score = control_sets.wanda_scores(weight, mean_hidden[block])
        for row in candidates[candidates["block"] == block].itertuples():
            edits += _of_candidate(row, score, free, settings.n_matched)
        edits += _of_tensor(block, weight, score, free, settings.n_matched)
    random = draw_controls(
        candidates,
        [weight.shape for weight in weights],
        n_controls=settings.n_controls,
        scope=settings.control_scope,
        seed=seed,
    )
    places = random[["block", "row", "column"]].itertuples(index=False, name=None)
    return edits + [_zeroed("random", tuple(map(int, place))) for place in places]


def _of_candidate(row, score: np.ndarray, free: np.ndarray, n: int) -> Iterator[Edit]:
    block, r, c = place_of(row)
    chosen = {
        "wanda": control_sets.nearest(score, (r, c), free, n),
        "row_neighbour": control_sets.largest_of_row(score, r, free, n),
        "column_neighbour": control_sets.largest_of_column(score, c, free, n),
    }
    for weight_set, flat in chosen.items():
        for place in _places(block, flat, score.shape):
            yield _zeroed(weight_set, place, of=row.candidate_id)
    for weight_set, family, place in (
        ("row", "row", (block, r, None)),
        ("column", "column", (block, None, c)),
        ("gamma", "norm2_gamma", (block, r, None)),
        ("beta", "norm2_beta", (block, r, None)),
    ):
        name = candidate_id(family, *place)
        yield Edit(name, weight_set, "zero", family, *place, of=row.candidate_id)


def _of_tensor(
    block: int, weight: np.ndarray, score: np.ndarray, free: np.ndarray, n: int
) -> Iterator[Edit]:
    n_free = int(free.sum())
    order = control_sets.largest(weight, free, min(max(n, *control_sets.TOP_K), n_free))
    places = _places(block, order, weight.shape)
    for place in places[:n]:
        yield _zeroed("next_largest", place)
    for place in _places(block, control_sets.largest(score, free, n), score.shape):
        yield _zeroed("top_wanda", place)
    for k in control_sets.TOP_K:
        if k <= n_free:
            yield _zeroed("top_k", places[0], others=tuple(places[1:k]), draw=k)


def _places(block: int, flat: np.ndarray, shape: tuple[int, int]) -> list[tuple[int, int, int]]:
    rows, columns = np.unravel_index(flat, shape)
    return [(block, int(r), int(c)) for r, c in zip(rows, columns, strict=True)]


def _zeroed(weight_set: str, place: tuple[int, int, int], **more) -> Edit:
    return Edit(candidate_id(SCALAR, *place), weight_set, "zero", SCALAR, *place, **more)
