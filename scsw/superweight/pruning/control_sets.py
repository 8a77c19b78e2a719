"""Which weights are compared with a candidate: those that are alike in one respect.

Pure functions of the model's down-projections and of the size of their hidden units. Weights are
given by their place in the flattened tensor, row by row; no candidate is ever a control.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.files import require

TOP_K = (1, 10, 100, 1000, 7000)  # sizes of the sets of largest |w|; 7,000 is that of Yu et al.


def mean_hidden_sizes(spikes: str | Path) -> list[np.ndarray]:
    """Read the mean of |h| over discovery tokens of every hidden unit.

    Parameters
    ----------
    spikes
        ``spikes.parquet`` of the search.

    Returns
    -------
    list of numpy.ndarray
        For each block float64, shape (hidden units,).

    Raises
    ------
    ScswError
        If the table does not hold every hidden unit of every block.
    """
    table = pd.read_parquet(
        require(spikes),
        columns=["block", "channel", "mean"],
        filters=[("site", "==", "mlp_hidden"), ("group_by", "==", "all")],
    ).sort_values(["block", "channel"])
    blocks = [own for _, own in table.groupby("block")]
    whole = all(np.array_equal(own["channel"], np.arange(len(own))) for own in blocks)
    numbers = [own["block"].iloc[0] for own in blocks]
    if not blocks or not whole or numbers != list(range(len(blocks))):
        raise ScswError(
            f"{spikes} does not hold the hidden units of every block once",
            expected="spikes.parquet of `scsw search` on the same model",
        )
    return [own["mean"].to_numpy(float) for own in blocks]


def wanda_scores(weight: np.ndarray, mean_hidden: np.ndarray) -> np.ndarray:
    """Return |w| · mean |h| of every weight of a tensor, of the tensor's shape."""
    return np.abs(weight) * mean_hidden


def free_weights(
    shape: tuple[int, int], block: int, taken: Iterable[tuple[int, int, int]]
) -> np.ndarray:
    """Tell which weights of a block's tensor may be controls, bool, of the tensor's shape.

    Parameters
    ----------
    shape
        Rows and columns of the tensor.
    block
        Its number.
    taken
        ``(block, row, column)`` of weights that may not: the candidates of any block.
    """
    free = np.ones(shape, dtype=bool)
    for other, row, column in taken:
        if other == block:
            free[row, column] = False
    return free


def nearest(score: np.ndarray, place: tuple[int, int], free: np.ndarray, n: int) -> np.ndarray:
    """Return the `n` free weights whose score is nearest to that of the weight at `place`.

    Of two that are as near the earlier place comes first.
    """
    distance = np.abs(score - score[place]).ravel()
    return _first(distance, free.ravel(), n)


def largest_of_row(score: np.ndarray, row: int, free: np.ndarray, n: int) -> np.ndarray:
    """Return the `n` free weights of largest score in a row."""
    own = np.zeros_like(free)
    own[row] = free[row]
    return _first(-score.ravel(), own.ravel(), n)


def largest_of_column(score: np.ndarray, column: int, free: np.ndarray, n: int) -> np.ndarray:
    """Return the `n` free weights of largest score in a column."""
    own = np.zeros_like(free)
    own[:, column] = free[:, column]
    return _first(-score.ravel(), own.ravel(), n)


def largest(values: np.ndarray, free: np.ndarray, n: int) -> np.ndarray:
    """Return the `n` free weights of largest |value| (w or its score), the largest first."""
    return _first(-np.abs(values).ravel(), free.ravel(), n)


def other_channels(row: int, n_rows: int, n: int, key: list[int]) -> np.ndarray:
    """Draw `n` output channels beside `row` (or all of them, where there are fewer), sorted.

    Parameters
    ----------
    key
        Seeds of the draw.
    """
    others = np.delete(np.arange(n_rows), row)
    return np.sort(np.random.default_rng(key).choice(others, min(n, others.size), replace=False))


def _first(order_by: np.ndarray, allowed: np.ndarray, n: int) -> np.ndarray:
    chosen = np.flatnonzero(allowed)
    return chosen[np.argsort(order_by[chosen], kind="stable")[:n]]
