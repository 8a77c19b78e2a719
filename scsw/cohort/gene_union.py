"""Files of one cohort that name different genes: each gene of any of them, 0 where a file lacks it.

Meant for files that each hold some cell types and only the genes that were seen in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.count_matrix import CountMatrix, Stacked
from scsw.errors import ScswError


class Spread(CountMatrix):
    """A matrix whose genes are some of a longer list.

    Parameters
    ----------
    matrix
        The matrix.
    columns
        Column of the result for each column of `matrix`, all different; shape (genes,).
    n_genes
        Number of columns of the result.
    """

    def __init__(self, matrix: CountMatrix, columns: np.ndarray, n_genes: int) -> None:
        self._matrix, self._columns = matrix, columns.astype(np.int32)
        self.shape, self.n_values = (matrix.shape[0], n_genes), matrix.n_values
        self.where, self.advice = matrix.where, matrix.advice

    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on; see `CountMatrix.blocks`."""
        for block in self._matrix.blocks(limit, scratch, start):
            given = sparse.csr_matrix(block)
            parts = (given.data, self._columns[given.indices], given.indptr)
            yield sparse.csr_matrix(parts, shape=(given.shape[0], self.shape[1]))


def all_genes(
    parts: Sequence[tuple[pd.DataFrame, CountMatrix]],
) -> tuple[pd.DataFrame, CountMatrix]:
    """Stack the counts of several files over the genes of all of them.

    Parameters
    ----------
    parts
        The table of `scsw.cohort.genes.gene_frame` and the counts of each file; a gene is known by
        its symbol.

    Returns
    -------
    tuple
        The genes in the order in which they first occur, and the counts.

    Raises
    ------
    ScswError
        If one file names a gene twice while another one's genes differ.
    """
    genes, counts = parts[0]
    if all(table["symbol"].equals(genes["symbol"]) for table, _ in parts):
        return genes, counts if len(parts) == 1 else Stacked([matrix for _, matrix in parts])
    for table, matrix in parts:
        _check_unique(table["symbol"], matrix.where)
    union = pd.concat([table for table, _ in parts]).drop_duplicates("symbol", ignore_index=True)
    place = pd.Index(union["symbol"])
    matrices = [
        Spread(matrix, place.get_indexer(table["symbol"]), len(union)) for table, matrix in parts
    ]
    return union, Stacked(matrices)


def _check_unique(symbols: pd.Series, where: str) -> None:
    if len(twice := symbols[symbols.duplicated()]):
        raise ScswError(
            f"{where} names {len(twice)} genes twice, such as {twice.iloc[0]}, and other files of "
            "the cohort name other genes",
            expected="one name per gene",
            fix="preprocess the files as cohorts of their own",
        )
