"""Random subsets of the genes of many cells at once."""

from __future__ import annotations

import numpy as np

# Numbers of 64 bits are first told apart by their upper 8.
_SHIFT, _BUCKETS = 56, 256
_UNSURE = 255


def limits_passed(numbers: np.ndarray, bounds: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Tell of each number how many of its cell's limits its rank has passed.

    So with a limit `k`, the `k` lowest numbers of the cell get 0 and the others 1: of uniform
    numbers, each subset of `k` with the same chance. Only the few numbers in the bucket of a limit
    are sorted.

    Parameters
    ----------
    numbers
        Uniform over 64 bits, uint64, shape (values,); of equal ones in a cell the first is lower.
    bounds
        First value of each cell, and the number of values; int64, shape (cells + 1,).
    limits
        Whole numbers, shape (cells, limits).

    Returns
    -------
    numpy.ndarray
        uint8, shape (values,).
    """
    n_cells = bounds.size - 1
    bucket = (numbers >> _SHIFT).view(np.int64)
    bucket += np.repeat(np.arange(n_cells) * _BUCKETS, np.diff(bounds))
    found = np.bincount(bucket, minlength=n_cells * _BUCKETS).reshape(n_cells, _BUCKETS)
    upto = found.cumsum(1)
    before = upto - found
    table, is_unsure = np.zeros(found.shape, np.uint8), np.zeros(found.shape, bool)
    for limit in limits.T[:, :, None]:
        is_past = upto > limit
        table += is_past
        is_unsure |= is_past & (before < limit)  # the limit lies within the bucket
    table[is_unsure] = _UNSURE
    passed = table.ravel().take(bucket)

    unsure = np.flatnonzero(passed == _UNSURE)
    unsure = unsure[np.lexsort((numbers[unsure], bucket[unsure]))]
    own = bucket[unsure]
    rank = before.ravel()[own] + np.arange(own.size) - np.searchsorted(own, own)
    passed[unsure] = (rank[:, None] >= limits[own // _BUCKETS]).sum(1)
    return passed
