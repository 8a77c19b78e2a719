"""A source's counts, checked and measured once, and kept on disk in blocks of cells.

A source may be compressed, stored by gene, or text. It is read once; all that follows reads the
blocks, which are plain arrays. A block that was written is not read from the source again after an
interruption.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.count_matrix import BYTES_PER_VALUE, CountMatrix
from scsw.cohort.counts import sum_columns, whole_counts
from scsw.cohort.progress import progress
from scsw.errors import ScswError
from scsw.workspace import check_room


@dataclass(frozen=True)
class Block:
    """Checked counts of some consecutive cells.

    Attributes
    ----------
    first, stop
        First cell and the one after the last.
    total_counts, n_genes, mito_counts
        Measures over all genes, int64, shape (stop − first,).
    kept
        Cells whose counts are held, ascending, counted from the cohort's first; shape (kept,).
    counts
        Their counts, kept × genes, int32 CSR with sorted indices.
    """

    first: int
    stop: int
    total_counts: np.ndarray
    n_genes: np.ndarray
    mito_counts: np.ndarray
    kept: np.ndarray
    counts: sparse.csr_matrix


class Spool:
    """The blocks of one source, in order, in a folder.

    Parameters
    ----------
    folder
        Folder of the blocks; those of an interrupted run are used again.
    n_cells, n_genes
        Cells and unique genes of the source.
    """

    def __init__(self, folder: Path, n_cells: int, n_genes: int) -> None:
        self._folder, self.n_cells, self.n_genes = folder, n_cells, n_genes
        folder.mkdir(parents=True, exist_ok=True)

    def fill(
        self,
        source: CountMatrix,
        groups: np.ndarray,
        is_mito: np.ndarray,
        keep: np.ndarray,
        limit: int,
    ) -> None:
        """Read the source from where an interrupted run stopped.

        Parameters
        ----------
        source
            The counts, cells × genes of the source.
        groups
            Unique gene of each gene of the source, shape (source genes,).
        is_mito
            Which unique genes are mitochondrial, shape (genes,).
        keep
            Cells whose counts are needed later, bool, shape (cells,).
        limit
            Most values held at once.

        Raises
        ------
        ScswError
            If the source holds no raw counts, is damaged, or the disk has no room for them.
        """
        start = max((stop for _, stop in self._written()), default=0)
        if start == self.n_cells:
            return  # a source that must be scattered first would be, for nothing
        left = source.n_values * (1 - start / max(self.n_cells, 1))
        check_room(self._folder, left * BYTES_PER_VALUE)
        scratch = self._folder.with_name("scratch")
        with progress("reading cells", self.n_cells, start) as advance:
            for block in source.blocks(limit, scratch, start):
                measured = _measured(block, start, source, groups, is_mito, keep)
                self._write(measured)
                advance(measured.stop - start)
                start = measured.stop
        shutil.rmtree(scratch, ignore_errors=True)
        if start != self.n_cells:
            raise ScswError(
                f"{source.where} ends after {start} of {self.n_cells} cells",
                expected="a complete file",
                fix="download the file again",
            )

    def measures(self) -> pd.DataFrame:
        """Return ``total_counts, n_genes, mito_counts`` of all cells, int64, in their order."""
        names = ("total_counts", "n_genes", "mito_counts")
        table = {name: np.zeros(self.n_cells, np.int64) for name in names}
        for first, stop in self._written():
            with self._path(first, stop).open("rb") as file:
                for name in names:
                    table[name][first:stop] = np.load(file)
        return pd.DataFrame(table)

    def blocks(self) -> Iterator[Block]:
        """Give the blocks in order."""
        for first, stop in self._written():
            with self._path(first, stop).open("rb") as file:
                total, n_genes, mito, kept, indptr, indices, data = (
                    np.load(file) for _ in range(7)
                )
            parts = (data.astype(np.int32), indices.astype(np.int32), indptr)
            counts = sparse.csr_matrix(parts, shape=(len(kept), self.n_genes))
            counts.has_sorted_indices = True
            yield Block(first, stop, total, n_genes, mito, kept, counts)

    def _written(self) -> list[tuple[int, int]]:
        """Return the blocks that are there without a gap."""
        ranges = sorted(
            tuple(int(part) for part in file.stem.split("-")) for file in self._folder.glob("*.npy")
        )
        whole, end = [], 0
        for first, stop in ranges:
            if first != end:
                break
            whole.append((first, stop))
            end = stop
        return whole

    def _path(self, first: int, stop: int) -> Path:
        return self._folder / f"{first:010d}-{stop:010d}.npy"

    def _write(self, block: Block) -> None:
        """Write one block under a temporary name, then give it its own."""
        counts = block.counts
        gene_type = np.uint16 if self.n_genes <= 1 << 16 else np.int32
        largest = int(counts.data.max(initial=0))
        arrays = (
            block.total_counts,
            block.n_genes,
            block.mito_counts,
            block.kept,
            counts.indptr.astype(np.int32 if counts.nnz < 2**31 else np.int64),
            counts.indices.astype(gene_type),
            counts.data.astype(np.min_scalar_type(largest)),
        )
        part = self._folder / "block.part"
        with part.open("wb") as file:
            for array in arrays:
                np.save(file, array)
        os.replace(part, self._path(block.first, block.stop))


def _measured(
    block: sparse.csr_matrix | np.ndarray,
    first: int,
    source: CountMatrix,
    groups: np.ndarray,
    is_mito: np.ndarray,
    keep: np.ndarray,
) -> Block:
    counts = whole_counts(block, source.where, lambda: source.advice)
    if len(is_mito) < len(groups):
        counts = sum_columns(counts, groups, len(is_mito))
    stop = first + counts.shape[0]
    kept = np.flatnonzero(keep[first:stop])
    total = np.asarray(counts.sum(axis=1, dtype=np.int64)).ravel()
    mito = counts @ is_mito.astype(np.int64)
    n_genes = np.diff(counts.indptr).astype(np.int64)
    chosen = counts if len(kept) == stop - first else counts[kept]
    return Block(first, stop, total, n_genes, mito, first + kept, chosen)
