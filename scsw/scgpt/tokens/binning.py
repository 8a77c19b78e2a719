"""Expression bins, as scGPT makes them, for many cells at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

# Larger counts are rare; they are sorted and binned one by one, and others by tables.
_TABLE = 255


def bin_edges(counts: np.ndarray, bounds: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the edges of each cell's bins: quantiles of its non-zero counts.

    They equal ``numpy.quantile(cell, linspace(0, 1, n_bins - 1))``, which scGPT uses, to the last
    bit: whether a count lies on an edge, and on how many, depends on it.

    Parameters
    ----------
    counts
        Positive whole counts of the detected genes, cell after cell; integers, shape (values,).
    bounds
        First value of each cell, and the number of values; int64, shape (cells + 1,).
    n_bins
        Number of bins; bin 0 is for undetected genes.

    Returns
    -------
    numpy.ndarray
        Float64, shape (cells, ``n_bins - 1``). Those of a cell without counts mean nothing.
    """
    if not counts.size:
        return np.zeros((bounds.size - 1, n_bins - 1))
    ordered = _sorted_in_cells(counts, bounds)
    last = np.maximum(np.diff(bounds) - 1, 0)[:, None]
    first = np.minimum(bounds[:-1], counts.size - 1)[:, None]
    place = last * np.linspace(0, 1, n_bins - 1)
    below = place.astype(np.int64)
    share = place - below
    low = ordered[first + below].astype(float)
    high = ordered[first + np.minimum(below + 1, last)].astype(float)
    gap = high - low
    return np.where(share >= 0.5, high - gap * (1 - share), low + gap * share)


def bin_counts(
    counts: np.ndarray, bounds: np.ndarray, edges: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Bin counts of each cell.

    The same rule as ``scgpt.preprocess.binning``: a count that equals several edges is drawn
    uniformly among their bins. The package draws from numpy's global, unseeded state; here the
    draws are the caller's.

    Parameters
    ----------
    counts
        Whole counts of each cell's genes, not necessarily all; integers, shape (values,).
    bounds
        First value of each cell, and the number of values; int64, shape (cells + 1,).
    edges
        Each cell's edges from `bin_edges`, float64, shape (cells, edges).
    draws
        Uniform numbers that decide ties, float64, shape (values,).

    Returns
    -------
    numpy.ndarray
        Bins 1 … edges, and 0 for a count of 0; float64, shape (values,).
    """
    largest = int(min(edges.max(initial=0), _TABLE))
    below, ties = _table(edges, largest)
    place = _places(counts, bounds, largest)
    bins = ties.take(place)
    bins *= draws
    bins += below.take(place)
    beyond = np.flatnonzero(counts > largest)
    if beyond.size:
        cells = np.searchsorted(bounds, beyond, side="right") - 1
        below, ties = _searched(counts[beyond], cells, edges)
        bins[beyond] = draws[beyond] * ties + below
    return np.ceil(bins, out=bins)


def _sorted_in_cells(counts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Sort the counts of each cell, by counting: most are small and equal to others."""
    largest = int(min(counts.max(), _TABLE))
    n_cells = bounds.size - 1
    found = np.bincount(_places(counts, bounds, largest), minlength=n_cells * (largest + 1))
    ordered = np.repeat(np.tile(np.arange(largest + 1), n_cells), found)
    beyond = np.flatnonzero(counts >= largest)  # they come last in their cells
    cells = np.searchsorted(bounds, beyond, side="right")
    ordered[ordered == largest] = counts[beyond[np.lexsort((counts[beyond], cells))]]
    return ordered


def _places(counts: np.ndarray, bounds: np.ndarray, largest: int) -> np.ndarray:
    """Return the place of each count in a table of cells and of counts up to the largest."""
    place = np.repeat(np.arange(bounds.size - 1) * (largest + 1), np.diff(bounds))
    place += np.minimum(counts, largest)
    return place


def _table(edges: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `_searched` of each cell's counts 0 … `largest`, float64."""
    at_most = _cumulated(np.ceil(edges), largest)
    less = _cumulated(np.floor(edges) + 1, largest)
    return at_most, less - at_most


def _cumulated(steps: np.ndarray, largest: int) -> np.ndarray:
    """Count each row's numbers that are not above 0, 1, 2 …, `largest`."""
    width = largest + 2  # the last column takes what is beyond the table
    place = np.minimum(steps, largest + 1).astype(np.int64)
    place += np.arange(len(steps))[:, None] * width
    found = np.bincount(place.ravel(), minlength=len(steps) * width).reshape(-1, width)
    return found[:, :-1].cumsum(1).astype(float)


def _searched(
    counts: np.ndarray, cells: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of its cell's edges are not above each count, and minus those equal to it.

    The two are ``numpy.digitize(count, edges)`` and what ``right=True`` changes.
    """
    below, ties = np.empty(counts.size), np.empty(counts.size)
    starts = [*np.unique(cells, return_index=True)[1].tolist(), counts.size]
    for start, stop in pairwise(starts):
        own = edges[cells[start]]
        below[start:stop] = np.searchsorted(own, counts[start:stop], side="right")
        ties[start:stop] = np.searchsorted(own, counts[start:stop], side="left")
    return below, ties - below
