"""Cells thinned to one depth per cell class, so that depth cannot follow the donor."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scsw.scgpt.tokens.draws import cell_key

_SEED = 0  # of the draws


def common_depth(obs: pd.DataFrame, counts: np.ndarray, min_cells: int) -> pd.Series:
    """Return the depth that every donor of a class can be thinned to.

    Parameters
    ----------
    obs
        ``donor_id`` and ``cell_class`` of the cells.
    counts
        Counts of each cell, shape (cells,).
    min_cells
        Fewest cells of a donor and class that count; a donor with fewer is not tested and so
        does not set the depth.

    Returns
    -------
    pandas.Series
        Class → the smallest median count of its donors, at least 1. A class in which no donor
        has `min_cells` cells is missing.
    """
    groups = pd.Series(counts, dtype=float).groupby(
        [obs["cell_class"].astype(str).to_numpy(), obs["donor_id"].astype(str).to_numpy()]
    )
    medians = groups.median()[groups.size() >= min_cells]
    return np.floor(medians.groupby(level=0).min()).clip(lower=1)


def thinned(cells: AnnData, *, min_cells: int) -> AnnData:
    """Thin each cell's counts binomially to the common depth of its class.

    A count k of a cell with n counts becomes Binomial(k, min(1, depth / n)): what the same
    nucleus would have given under shallower sequencing. Half or more of each donor's cells have
    the common depth then, so that the donors' medians agree. The draws of a cell depend on its
    name alone.

    Parameters
    ----------
    cells
        Raw counts (CSR) with ``cell_id, donor_id, cell_class`` in ``obs``; left as it is.
    min_cells
        As in `common_depth`.

    Returns
    -------
    anndata.AnnData
        The cells that have counts left, with ``total_counts`` and ``n_genes`` counted again
        over the genes of `cells`.
    """
    counts = sparse.csr_matrix(cells.X)
    totals = np.asarray(counts.sum(1)).ravel().astype(float)
    depth = cells.obs["cell_class"].astype(str).map(common_depth(cells.obs, totals, min_cells))
    keep = np.minimum(1.0, depth.fillna(np.inf).to_numpy(float) / np.maximum(totals, 1))
    drawn = counts.data.copy()
    names = cells.obs["cell_id"].astype(str).to_numpy()
    for cell in np.flatnonzero(keep < 1):
        own = slice(counts.indptr[cell], counts.indptr[cell + 1])
        rng = np.random.default_rng([_SEED, cell_key(names[cell])])
        drawn[own] = rng.binomial(counts.data[own].astype(np.int64), keep[cell])
    thin = sparse.csr_matrix((drawn, counts.indices.copy(), counts.indptr.copy()), counts.shape)
    thin.eliminate_zeros()
    totals, n_genes = np.asarray(thin.sum(1)).ravel(), thin.getnnz(1)
    left = n_genes > 0
    obs = cells.obs.assign(total_counts=totals, n_genes=n_genes)
    return AnnData(X=thin[left], obs=obs[left], var=cells.var, uns=cells.uns)
