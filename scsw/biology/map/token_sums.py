"""Sums over gene tokens by gene and group of cells."""

from __future__ import annotations

import numpy as np


class TokenSums:
    """Adds up quantities over tokens, by group of cells and gene.

    Every token is added to its total in turn, so that no digit depends on how the cells are
    divided into batches.

    Parameters
    ----------
    token_ids
        Token id of each gene of the cohort, shape (genes,).
    n_groups
        Number of groups of cells, such as cell types.
    n_values
        Number of quantities that are summed side by side.
    """

    def __init__(self, token_ids: np.ndarray, n_groups: int, n_values: int) -> None:
        self.gene_of = np.full(int(token_ids.max()) + 2, -1)
        self.gene_of[token_ids] = np.arange(token_ids.size)
        self.shape = (n_groups, token_ids.size)
        self.sums = np.zeros((n_values, n_groups * token_ids.size))
        self.counts = np.zeros(n_groups * token_ids.size)

    def genes(self, tokens: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Return the gene of each token, int64; -1 for padding and `<cls>`.

        Parameters
        ----------
        tokens, real
            Token ids and whether each token counts, of one shape.
        """
        return np.where(real, self.gene_of[np.minimum(tokens, self.gene_of.size - 1)], -1)

    def add(
        self, tokens: np.ndarray, real: np.ndarray, groups: np.ndarray, values: np.ndarray
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        tokens, real
            Token ids and whether each token counts, shape (cells, tokens).
        groups
            Group of each cell, shape (cells,).
        values
            Shape (n_values, cells, tokens).
        """
        gene = self.genes(tokens, real)
        inside = gene >= 0
        place = (groups[:, None] * self.shape[1] + gene)[inside]
        np.add.at(self.counts, place, 1.0)
        for total, value in zip(self.sums, values, strict=True):
            np.add.at(total, place, value[inside])

    def by_group(self) -> tuple[np.ndarray, np.ndarray]:
        """Return sums (n_values, groups, genes) and counts (groups, genes)."""
        return self.sums.reshape(-1, *self.shape), self.counts.reshape(self.shape)
