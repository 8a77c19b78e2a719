"""Counts in an HDF5 file: sparse by cell, sparse by gene, or dense."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from scsw.cohort.count_matrix import CountMatrix, even_ranges, row_ranges
from scsw.cohort.find_counts import better_counts
from scsw.cohort.h5ad import DAMAGE, open_h5ad, plain_text, unreadable
from scsw.cohort.hdf5_chunks import ChunkReader, n_threads
from scsw.cohort.scattered_counts import ScatteredCounts
from scsw.errors import ScswError


def h5ad_matrix(path: str | Path, key: str, where: str, advice: str) -> CountMatrix:
    """Return a matrix of an h5ad file as its counts, cells × genes; nothing is read yet.

    Parameters
    ----------
    path
        The file.
    key
        The matrix in it, such as ``layers/UMIs``, ``raw/X`` or ``X``: CSR, CSC or dense.
    where, advice
        For messages; see `CountMatrix`.

    Raises
    ------
    ScswError
        If there is no such matrix, or it is none.
    """
    with open_h5ad(path) as file, readable(path, key):
        stored = file.get(key)
        if isinstance(stored, h5py.Dataset) and stored.ndim == 2:
            return DenseCounts(path, key, where, advice)
        form = _form(stored) if isinstance(stored, h5py.Group) else ""
    if form == "csr":
        return CountsByCell(path, key, where, advice)
    if form == "csc":
        return CountsByGene(path, key, where, advice)
    raise ScswError(
        f"{path} has no matrix {key}" if stored is None else f"{key} of {path} is not a matrix",
        expected="counts as a CSR, CSC or dense matrix",
    )


class _InFile:
    """Where a matrix stands, and what to advise if it holds no raw counts.

    The advice begins with another matrix of the same file that does hold whole numbers, if there
    is one; the file is looked through only when the advice is asked for.
    """

    def __init__(self, path: str | Path, key: str, where: str, advice: str) -> None:
        self._path, self._key, self._advice = path, key, advice
        self.where = where

    @functools.cached_property
    def advice(self) -> str:
        better = better_counts(self._path, self._key)
        return f"{better}; {self._advice}" if better else self._advice


class DenseCounts(_InFile, CountMatrix):
    """A dense dataset.

    Parameters
    ----------
    path, key
        File and dataset.
    where, advice
        For messages.
    genes_first
        Whether it is stored genes × cells, as loom files are.
    """

    def __init__(
        self, path: str | Path, key: str, where: str, advice: str, genes_first: bool = False
    ) -> None:
        super().__init__(path, key, where, advice)
        self._genes_first = genes_first
        with open_h5ad(path) as file, readable(path, key):
            shape = tuple(file[key].shape)
        self.shape = shape[::-1] if genes_first else shape
        self.n_values = shape[0] * shape[1] // 10  # a guess: a cell expresses few of its genes

    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on; see `CountMatrix.blocks`."""
        with open_h5ad(self._path) as file, readable(self._path, self._key):
            stored = file[self._key]
            per_block = self._cells_per_block(limit, stored)
            for first, stop in even_ranges(self.shape[0], per_block, start):
                block = stored[:, first:stop] if self._genes_first else stored[first:stop]
                counts = sparse.csr_matrix(_numbers(block, self.where))
                yield counts.T.tocsr() if self._genes_first else counts

    def _cells_per_block(self, limit: int, stored: h5py.Dataset) -> int:
        """Return whole chunks, where they are not too large: each is then decompressed once."""
        cells = max(1, limit // max(self.shape[1], 1))
        chunk = stored.chunks[1 if self._genes_first else 0] if stored.chunks else 1
        return -(-cells // chunk) * chunk if chunk <= 16 * cells else cells


class CountsByCell(_InFile, CountMatrix):
    """A compressed sparse matrix whose compressed axis is the cells.

    Parameters
    ----------
    path, key
        File and group with ``data``, ``indices`` and ``indptr``.
    where, advice
        For messages.
    n_genes
        Number of genes; by default the group tells.
    """

    def __init__(
        self, path: str | Path, key: str, where: str, advice: str, n_genes: int | None = None
    ) -> None:
        super().__init__(path, key, where, advice)
        with open_h5ad(path) as file, readable(path, key):
            n_cells = file[key]["indptr"].shape[0] - 1
            given = _shape(file[key], (n_cells, n_genes))
            self.n_values = file[key]["data"].shape[0]
        self.shape = given if n_genes is None else (n_cells, n_genes)
        if self.shape[0] != n_cells:
            raise _damaged(where, f"its shape is {given} but it holds {n_cells} rows")

    def blocks(
        self, limit: int, scratch: Path, start: int = 0
    ) -> Iterator[sparse.csr_matrix | np.ndarray]:
        """Give the cells from `start` on; see `CountMatrix.blocks`."""
        with (
            ThreadPoolExecutor(n_threads()) as pool,
            open_h5ad(self._path) as file,
            readable(self._path, self._key),
        ):
            group = file[self._key]
            indptr = _indptr(group, self.where)
            data, indices = (ChunkReader(group[name], pool) for name in ("data", "indices"))
            for first, stop in row_ranges(indptr, limit, start):
                bounds = indptr[first : stop + 1]
                genes = indices.read(bounds[0], bounds[-1])
                values = _numbers(data.read(bounds[0], bounds[-1]), self.where)
                _check_range(genes, self.shape[1], self.where)
                shape = (stop - first, self.shape[1])
                yield sparse.csr_matrix((values, genes, bounds - bounds[0]), shape=shape)


class CountsByGene(_InFile, ScatteredCounts):
    """A compressed sparse matrix whose compressed axis is the genes (CSC of cells × genes).

    Parameters
    ----------
    path, key, where, advice
        As in `CountsByCell`.
    """

    def __init__(self, path: str | Path, key: str, where: str, advice: str) -> None:
        super().__init__(path, key, where, advice)
        with open_h5ad(path) as file, readable(path, key):
            self.shape = _shape(file[key], (None, file[key]["indptr"].shape[0] - 1))
            self.n_values = file[key]["data"].shape[0]

    def entries(self, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Give the values gene by gene; see `ScatteredCounts.entries`."""
        with (
            ThreadPoolExecutor(n_threads()) as pool,
            open_h5ad(self._path) as file,
            readable(self._path, self._key),
        ):
            group = file[self._key]
            indptr = _indptr(group, self.where)
            data, indices = (ChunkReader(group[name], pool) for name in ("data", "indices"))
            # One gene may be expressed in every cell, so ranges are cut through genes too.
            for first in range(0, int(indptr[-1]), limit):
                stop = min(first + limit, int(indptr[-1]))
                gene = np.searchsorted(indptr, np.arange(first, stop), side="right") - 1
                cell = indices.read(first, stop)
                _check_range(cell, self.shape[0], self.where)
                yield cell, gene, _numbers(data.read(first, stop), self.where)


@contextlib.contextmanager
def readable(path: str | Path, key: str) -> Iterator[None]:
    """Turn what a damaged file raises while `key` is read into a `ScswError`."""
    try:
        yield
    except DAMAGE as error:
        raise unreadable(f"{key} of {path}", error) from error


def _form(group: h5py.Group) -> str:
    """Return ``csr``, ``csc`` or "" in the words of any release of anndata."""
    form = group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", b""))
    return plain_text(form).removesuffix("_matrix")


def _shape(group: h5py.Group, fallback: tuple[int | None, int | None]) -> tuple[int, int]:
    given = group.attrs.get("shape", group.attrs.get("h5sparse_shape", fallback))
    if len(given) != 2 or any(size is None for size in given):
        raise ValueError("the matrix does not tell its shape")
    return int(given[0]), int(given[1])


def _indptr(group: h5py.Group, where: str) -> np.ndarray:
    """Return where each row begins, checked against the values; int64, shape (rows + 1,)."""
    indptr = group["indptr"][:].astype(np.int64)
    n_values = group["data"].shape[0]
    if indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] != n_values:
        raise _damaged(where, f"its row bounds end at {indptr[-1]} of {n_values} values")
    if group["indices"].shape[0] != n_values:
        raise _damaged(where, f"{group['indices'].shape[0]} indices for {n_values} values")
    return indptr


def _check_range(indices: np.ndarray, size: int, where: str) -> None:
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise _damaged(where, f"an index {wrong} where there are {size}")


def _numbers(values: np.ndarray, where: str) -> np.ndarray:
    if values.dtype.kind not in "buif":
        raise ScswError(f"{where} holds {values.dtype}, not numbers", expected="raw counts")
    return values


def _damaged(where: str, what: str) -> ScswError:
    return ScswError(
        f"{where} is damaged: {what}",
        expected="a complete sparse matrix",
        fix="download the file again and compare its size with the source's",
    )
