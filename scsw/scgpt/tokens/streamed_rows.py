"""Counts of a ``cohort.h5ad``, read when they are asked for."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from scsw.cohort.h5_matrix import readable
from scsw.cohort.h5ad import open_h5ad
from scsw.cohort.hdf5_chunks import ChunkReader, n_threads
from scsw.errors import ScswError
from scsw.scgpt.tokens.count_rows import joined
from scsw.scgpt.training.epoch_order import BLOCK, WINDOW

# Blocks that are kept. An epoch needs `WINDOW` and one at a time; the others are slack, since the
# block that was not asked for the longest is not always the one that is done with.
CACHED = WINDOW + WINDOW // 4


class StreamedRows:
    """Counts of some cells of a cohort, read in blocks of `epoch_order.BLOCK` cells.

    At most `CACHED` blocks are held, about 80 MB at 1,000 genes a cell. The object can be given to
    other processes: each opens the file for itself.

    Parameters
    ----------
    path
        ``cohort.h5ad``.
    file_rows
        Rows of the file that are cells here, ascending, int64, shape (cells,).

    Attributes
    ----------
    blocks_read
        Blocks that were read so far.

    Raises
    ------
    ScswError
        If the counts are damaged; also while they are read.
    """

    def __init__(self, path: str | Path, file_rows: np.ndarray) -> None:
        self._path, self._file_rows = str(path), file_rows
        with open_h5ad(path) as file, readable(path, "X"):
            self._bounds = file["X/indptr"][:].astype(np.int64)
            self._n_genes = int(file["X"].attrs["shape"][1])
            n_values = file["X/data"].shape[0]
        if self._bounds[-1] != n_values or file_rows[-1] + 1 >= self._bounds.size:
            raise self._damaged(f"its row bounds end at {self._bounds[-1]} of {n_values} values")
        self.blocks_read = 0
        self._cache: OrderedDict[int, tuple[np.ndarray, ...]] = OrderedDict()
        self._open: _OpenCounts | None = None

    def __len__(self) -> int:
        return self._file_rows.size

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_cache": OrderedDict(), "_open": None}

    def rows(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the detected genes of some cells; see `CountRows.rows`."""
        columns, counts = [], []
        for cell in cells.tolist():
            block, row = divmod(cell, BLOCK)
            bounds, its_columns, its_counts = self._block(block)
            own = slice(bounds[row], bounds[row + 1])
            columns.append(its_columns[own])
            counts.append(its_counts[own])
        return joined(columns, counts)

    def _block(self, number: int) -> tuple[np.ndarray, ...]:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        self._cache[number] = self._read(self._file_rows[number * BLOCK : (number + 1) * BLOCK])
        self.blocks_read += 1
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return self._cache[number]

    def _read(self, file_rows: np.ndarray) -> tuple[np.ndarray, ...]:
        parts = [self._read_run(run) for run in _runs(file_rows)]
        lengths, columns, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return np.cumsum([0, *lengths]).tolist(), _small(columns), _small(counts)

    def _read_run(self, file_rows: np.ndarray) -> tuple[np.ndarray, ...]:
        first, stop = file_rows[0], file_rows[-1] + 1
        bounds = self._bounds[first : stop + 1]
        columns, counts = self._opened().read(bounds[0], bounds[-1])
        if counts.size and counts.min() < 1:
            raise self._damaged(f"a count {counts.min()}")
        if counts.size and not 0 <= columns.min() <= columns.max() < self._n_genes:
            wrong = columns.min() if columns.min() < 0 else columns.max()
            raise self._damaged(f"an index {wrong} where there are {self._n_genes} genes")
        lengths = np.diff(bounds)
        if len(file_rows) < stop - first:
            is_wanted = np.zeros(stop - first, bool)
            is_wanted[file_rows - first] = True
            of_wanted = np.repeat(is_wanted, lengths)
            lengths, columns, counts = lengths[is_wanted], columns[of_wanted], counts[of_wanted]
        return lengths, columns, counts

    def _opened(self) -> _OpenCounts:
        """Return the open file; a process never uses what another, its parent, has opened."""
        if self._open is None or self._open.process != os.getpid():
            self._open = _OpenCounts(self._path)
        return self._open

    def _damaged(self, what: str) -> ScswError:
        return ScswError(
            f"the counts of {self._path} are damaged: {what}",
            expected="cohort.h5ad as `scsw preprocess` writes it",
            fix="run `scsw preprocess` again",
        )


class _OpenCounts:
    """The two long arrays of a cohort's counts, open in one process."""

    def __init__(self, path: str) -> None:
        self.process = os.getpid()
        self._path = path
        with readable(path, "X"):
            self._file = h5py.File(path, "r")
            pool = ThreadPoolExecutor(n_threads())
            self._arrays = [ChunkReader(self._file[f"X/{n}"], pool) for n in ("indices", "data")]

    def read(self, start: int, stop: int) -> list[np.ndarray]:
        with readable(self._path, "X"):
            return [array.read(int(start), int(stop)) for array in self._arrays]


def _runs(file_rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows where so many unwanted ones lie between two that it is better to skip them."""
    return iter(np.split(file_rows, np.flatnonzero(np.diff(file_rows) > BLOCK) + 1))


def _small(values: np.ndarray) -> np.ndarray:
    """Return whole numbers in half the memory, where they fit."""
    fits = values.size == 0 or values.max() <= np.iinfo(np.uint16).max
    return values.astype(np.uint16) if fits else values
