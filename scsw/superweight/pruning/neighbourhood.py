"""Whether cells keep their neighbours when a weight is edited."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from scsw.superweight.pruning.edits import Edit

NEIGHBOURS = 15


def nearest_cells(embeddings: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Return the nearest other cells of every cell, of all donors, by Euclidean distance.

    Parameters
    ----------
    embeddings
        Shape (cells, d), of two cells or more.
    k
        Neighbours of a cell; all others where there are fewer.

    Returns
    -------
    numpy.ndarray
        Int64, shape (cells, k).
    """
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


class Embeddings:
    """Embeddings of all test cells, intact and with each candidate zeroed, for their neighbours."""

    def __init__(self) -> None:
        self._intact: list[np.ndarray] = []
        self._pruned: dict[Edit, list[np.ndarray]] = {}

    def add(self, group: list[Edit], change: Tensor) -> None:
        """Take the changes of the candidates that are zeroed, shape (edits, cells, d_model)."""
        for edit, own in zip(group, change, strict=True):
            if edit.weight_set == "candidate" and edit.mode == "zero":
                self._pruned.setdefault(edit, []).append(own.cpu().numpy())

    def add_intact(self, embeddings: Tensor) -> None:
        """Take the intact embeddings of the same cells."""
        self._intact.append(embeddings.cpu().numpy())

    def kept_sums(self, codes: np.ndarray, n_groups: int) -> dict[Edit, np.ndarray]:
        """Return ``sum_neighbours_kept`` of each candidate by group of cells, shape (groups,).

        Parameters
        ----------
        codes
            Group of each cell, shape (cells,).
        n_groups
            Number of groups.
        """
        intact = np.concatenate(self._intact)
        if not self._pruned or len(intact) < 2:
            return {}
        near, kept = nearest_cells(intact), {}
        for edit, changes in self._pruned.items():
            pruned = nearest_cells(intact + np.concatenate(changes))
            kept[edit] = np.bincount(codes, neighbours_kept(near, pruned), n_groups)
        return kept
