"""The counts of a source, read in blocks of cells, however they are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

# Most cells of a block: bounds what is held per cell where cells are nearly empty.
BLOCK_CELLS = 1 << 16
# What a value takes on disk once it is checked: two bytes for the gene, one or two for the count.
BYTES_PER_VALUE = 4


class CountMatrix(ABC):
    """Counts of a source, cells × genes, that stay on disk.

    Attributes
    ----------
    shape
        Cells and genes.
    where
        Where the counts stand, for messages.
    advice
        Where this source keeps raw counts, for messages.
    n_values
        Stored values, an estimate where the source does not tell.
    """

    shape: tuple[int, int]
    where: str
    advice: str
    n_values: int

    @abstractmethod
    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on, in order, as matrices of any numeric type.

        Parameters
        ----------
        limit
            Most values of a block; one cell is never divided.
        scratch
            Folder for temporary files. What stands there from an interrupted call is used again.
        start
            First cell; 0, or the end of a block of an earlier call with the same `limit`.

        Raises
        ------
        ScswError
            If the source is damaged.
        """


class Stacked(CountMatrix):
    """Several matrices of the same genes, one after another.

    Parameters
    ----------
    parts
        At least one matrix, all with as many genes.
    """

    def __init__(self, parts: Sequence[CountMatrix]) -> None:
        self._parts = list(parts)
        self.shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])
        self.n_values = sum(part.n_values for part in parts)
        self.where, self.advice = parts[0].where, parts[0].advice
        if len(parts) > 1:
            self.where += f" and {len(parts) - 1} more files"

    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on; see `CountMatrix.blocks`."""
        first = 0
        for number, part in enumerate(self._parts):
            n_cells = part.shape[0]
            if start < first + n_cells:
                yield from part.blocks(limit, scratch / str(number), max(0, start - first))
            first += n_cells


class Reordered(CountMatrix):
    """A matrix whose genes are taken in another order.

    Parameters
    ----------
    matrix
        The matrix.
    genes
        Column of `matrix` for each column of the result, shape (genes,).
    """

    def __init__(self, matrix: CountMatrix, genes: np.ndarray) -> None:
        self._matrix, self._genes = matrix, genes
        self.shape, self.n_values = (matrix.shape[0], len(genes)), matrix.n_values
        self.where, self.advice = matrix.where, matrix.advice

    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on; see `CountMatrix.blocks`."""
        for block in self._matrix.blocks(limit, scratch, start):
            yield sparse.csr_matrix(block)[:, self._genes]


def row_ranges(indptr: np.ndarray, limit: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Cut cells into ranges of at most `limit` values and `BLOCK_CELLS` cells, at least one each.

    Parameters
    ----------
    indptr
        Where each cell's values begin, shape (cells + 1,).
    limit
        Most values of a range.
    start
        First cell.

    Yields
    ------
    tuple of int
        First cell, and the one after the last.
    """
    n_cells = len(indptr) - 1
    while start < n_cells:
        stop = int(np.searchsorted(indptr, indptr[start] + limit, side="right")) - 1
        stop = min(max(stop, start + 1), start + BLOCK_CELLS, n_cells)
        yield start, stop
        start = stop


def even_ranges(n_cells: int, per_block: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Cut cells into ranges of `per_block` cells, at most `BLOCK_CELLS`; see `row_ranges`."""
    step = min(max(per_block, 1), BLOCK_CELLS)
    for first in range(start, n_cells, step):
        yield first, min(first + step, n_cells)
