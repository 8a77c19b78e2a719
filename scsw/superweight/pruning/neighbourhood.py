"""Whether cells keep their neighbours when a weight is edited."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from scsw.errors import ScswError

NEIGHBOURS = 15


def nearest_cells(embeddings: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Return the nearest other cells of every cell, of all donors, by Euclidean distance.

    Parameters
    ----------
    embeddings
        Shape (cells, d).
    k
        Neighbours of a cell; all others where there are fewer.

    Returns
    -------
    numpy.ndarray
        Int64, shape (cells, k).

    Raises
    ------
    ScswError
        If there are fewer than two cells.
    """
    if len(embeddings) < 2:
        raise ScswError(
            f"{len(embeddings)} test cell has no neighbours",
            expected="at least 2 test cells",
            fix="raise prune.max_cells_per_donor",
        )
    k = min(k, len(embeddings) - 1)
    search = NearestNeighbors(n_neighbors=k, metric="euclidean", algorithm="brute")
    return search.fit(embeddings).kneighbors(return_distance=False)


def neighbours_kept(intact: np.ndarray, pruned: np.ndarray) -> np.ndarray:
    """Return the share of each cell's intact neighbours that are among its pruned ones.

    Parameters
    ----------
    intact, pruned
        What `nearest_cells` returned, shape (cells, k).

    Returns
    -------
    numpy.ndarray
        Float64 between 0 and 1, shape (cells,).
    """
    n = len(intact)
    cell = np.arange(n)[:, None] * n  # a number for each pair of cells
    return np.isin(cell + intact, cell + pruned).mean(1)


def neighbours_kept_sums(
    intact: np.ndarray, pruned: np.ndarray, codes: np.ndarray, n_groups: int
) -> np.ndarray:
    """Return the column ``sum_neighbours_kept`` of one edit, shape (groups,).

    Parameters
    ----------
    intact, pruned
        What `nearest_cells` returned, of the intact cells and of the pruned ones.
    codes
        Group of each cell, shape (cells,).
    n_groups
        Number of groups.
    """
    return np.bincount(codes, neighbours_kept(intact, pruned), n_groups)
