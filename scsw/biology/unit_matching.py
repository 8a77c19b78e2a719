"""Whether two models' candidates resemble one another more than units that behave like them do.

Hidden units of two models resemble one another whatever they are: genes that are expressed
together are read together. A permutation of genes does not know this. So each candidate is also
replaced by its controls, which fire like it, and these are matched in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

FEWEST_CONTROLS = 5
READ_IN_NULL = (
    "each candidate or one of its matched hidden units, as likely, in its place in both models, "
    "with the matching done again, largest Spearman of the matched pairs, one-sided"
)
WRITE_OUT_NULL = (
    "each candidate or one of its edits to other output channels, as likely, in its place in both "
    "models, for the pairs matched on read_in, largest Spearman of the pairs, one-sided"
)


def unit_level_p(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    pairs: np.ndarray,
    *,
    rematch: bool,
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return p of each pair of candidates against their stand-ins.

    In each draw one of each candidate and its controls, all as likely, stands in its place, in
    both models. The pairs are matched again where `rematch`, and the largest Spearman of the
    pairs is kept. p = (1 + number of draws with a value at least as large) / (1 + draws).

    Parameters
    ----------
    a, b
        For each candidate of either model its ranks (`matching.unit_ranks`) and those of its
        controls, shape (genes, 1 + controls), the candidate first.
    pairs
        Places of the paired candidates in `a` and in `b`, int, shape (pairs, 2).
    rematch
        Whether the pairs were chosen by these ranks.
    draws, rng
        Number of draws and their source.

    Returns
    -------
    numpy.ndarray
        float64, shape (pairs,); NaN if a candidate has fewer than `FEWEST_CONTROLS` controls.
    """
    sizes = [np.array([own.shape[1] for own in side]) for side in (a, b)]
    if not len(pairs) or min(size.min() for size in sizes) <= FEWEST_CONTROLS:
        return np.full(len(pairs), np.nan)
    # Single precision suffices for ranks to be compared, and halves the memory.
    every = [np.hstack(side).astype(np.float32) for side in (a, b)]
    rho = np.round(every[0].T @ every[1], 5)
    first = [np.cumsum(size) - size for size in sizes]
    own = rho[first[0][pairs[:, 0]], first[1][pairs[:, 1]]]
    null = np.empty(draws)
    for index in range(draws):
        drawn = [start + rng.integers(size) for start, size in zip(first, sizes, strict=True)]
        if rematch:
            chosen = rho[np.ix_(*drawn)]
            null[index] = chosen[linear_sum_assignment(chosen, maximize=True)].max()
        else:
            null[index] = rho[drawn[0][pairs[:, 0]], drawn[1][pairs[:, 1]]].max()
    return (1 + (null[:, None] >= own[None, :]).sum(axis=0)) / (1 + draws)
