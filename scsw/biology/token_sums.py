"""Sums over gene tokens by gene and cell type."""

from __future__ import annotations

import numpy as np


class TokenSums:
    """Adds up a quantity over tokens, by cell type and gene.

    Parameters
    ----------
    token_ids
        Token id of each gene of the cohort, shape (genes,).
    n_types
        Number of cell types.
    n_values
        Number of quantities that are summed side by side.
    """

    def __init__(self, token_ids: np.ndarray, n_types: int, n_values: int) -> None:
        self.gene_of = np.full(int(token_ids.max()) + 2, -1)
        self.gene_of[token_ids] = np.arange(token_ids.size)
        self.shape = (n_types, token_ids.size)
        self.sums = np.zeros((n_values, n_types * token_ids.size))
        self.counts = np.zeros(n_types * token_ids.size)

    def add(
        self, genes: np.ndarray, real: np.ndarray, types: np.ndarray, values: np.ndarray
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        genes, real
            Token ids and whether each token is real, shape (cells, tokens).
        types
            Cell type index of each cell, shape (cells,).
        values
            Shape (n_values, cells, tokens).
        """
        gene = np.where(real, self.gene_of[np.minimum(genes, self.gene_of.size - 1)], -1)
        inside = gene >= 0  # neither padding nor <cls>
        place = (types[:, None] * self.shape[1] + gene)[inside]
        self.counts += np.bincount(place, minlength=self.counts.size)
        for total, value in zip(self.sums, values, strict=True):
            total += np.bincount(place, value[inside], total.size)

    def by_type(self) -> tuple[np.ndarray, np.ndarray]:
        """Return sums (n_values, types, genes) and counts (types, genes)."""
        return self.sums.reshape(-1, *self.shape), self.counts.reshape(self.shape)
