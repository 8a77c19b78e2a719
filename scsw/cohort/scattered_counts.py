"""Counts that are not stored cell by cell: scattered into files of a few cells each, then read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from scsw.cohort.count_matrix import BYTES_PER_VALUE, CountMatrix, even_ranges
from scsw.workspace import check_room

_RECORD = np.dtype([("cell", np.int32), ("gene", np.int32), ("value", np.float64)])
_COMPLETE = "complete"


class ScatteredCounts(CountMatrix):
    """Counts in any order, such as column by column or line by line.

    A first pass over the source writes each value to the file of its cells; a second pass reads
    those files. Neither holds more than a block.
    """

    @abstractmethod
    def entries(self, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Give the values in the order of the source.

        Parameters
        ----------
        limit
            Most values to give at once.

        Yields
        ------
        tuple of numpy.ndarray
            Cell, gene and value of each, shape (values,).
        """

    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on; see `CountMatrix.blocks`."""
        n_cells, n_genes = self.shape
        per_cell = max(1, -(-self.n_values // max(n_cells, 1)))
        per_file = min(max(1, limit // per_cell), max(n_cells, 1))
        if not (scratch / _COMPLETE).exists():
            self._scatter(limit, per_file, scratch)
        for first, stop in even_ranges(n_cells, per_file, start):
            file = scratch / f"{first}.entries"
            found = np.fromfile(file, _RECORD) if file.exists() else np.empty(0, _RECORD)
            place = (found["value"], (found["cell"] - first, found["gene"]))
            yield sparse.csr_matrix(sparse.coo_matrix(place, shape=(stop - first, n_genes)))

    def _scatter(self, limit: int, per_file: int, scratch: Path) -> None:
        """Append each value to the file of its cells; the files are named by their first cell."""
        scratch.mkdir(parents=True, exist_ok=True)
        for stale in scratch.glob("*.entries"):
            stale.unlink()
        # The checked values are written while these files are still there.
        check_room(scratch, self.n_values * (_RECORD.itemsize + BYTES_PER_VALUE))
        step = next((stop - first for first, stop in even_ranges(self.shape[0], per_file)), 1)
        # Sorting by file needs a second copy, and records are larger than what was read.
        for cell, gene, value in self.entries(max(1, limit // 4)):
            part = cell // step
            order = np.argsort(part, kind="stable")
            records = np.empty(len(order), _RECORD)
            records["cell"], records["gene"] = cell[order], gene[order]
            records["value"] = value[order]
            numbers, begins = np.unique(part[order], return_index=True)
            for number, piece in zip(numbers, np.split(records, begins)[1:], strict=True):
                with (scratch / f"{number * step}.entries").open("ab") as file:
                    piece.tofile(file)
        (scratch / _COMPLETE).touch()
