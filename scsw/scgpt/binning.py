"""Expression bins, as scGPT makes them, with a seeded draw of ties."""

from __future__ import annotations

import numpy as np


def bin_counts(counts: np.ndarray, n_bins: int, rng: np.random.Generator) -> np.ndarray:
    """Bin the non-zero counts of one cell by their own quantiles.

    The same rule as ``scgpt.preprocess.binning``: ``n_bins - 1`` quantile edges of the cell's
    non-zero counts; a count that equals several edges is drawn uniformly among their bins. The
    package draws from numpy's global, unseeded state; here the draw is the caller's.

    Parameters
    ----------
    counts
        Positive counts of the cell's detected genes, shape (genes,).
    n_bins
        Number of bins; bin 0 is for undetected genes.
    rng
        Source of the tie draws, one uniform number per gene.

    Returns
    -------
    numpy.ndarray
        Bins 1 … ``n_bins - 1``, int64, shape (genes,).
    """
    if counts.size == 0:
        return np.zeros(0, dtype=np.int64)
    edges = np.quantile(counts, np.linspace(0, 1, n_bins - 1))
    lower = np.digitize(counts, edges)
    upper = np.digitize(counts, edges, right=True)
    drawn = rng.random(counts.size) * (upper - lower) + lower
    return np.ceil(drawn).astype(np.int64)
