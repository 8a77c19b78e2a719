"""Counts in a Matrix Market file, plain or gzipped, read in pieces."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort.scattered_counts import ScatteredCounts
from scsw.errors import ScswError


class MatrixMarket(ScatteredCounts):
    """A coordinate matrix, genes × cells as 10x and R write it.

    Parameters
    ----------
    path
        The file; a name that ends in .gz is decompressed.
    advice
        For messages; see `scsw.cohort.count_matrix.CountMatrix`.

    Raises
    ------
    ScswError
        If the file does not begin as such a matrix.
    """

    def __init__(self, path: str | Path, advice: str) -> None:
        self._path = Path(path)
        self.where, self.advice = str(path), advice
        self._n_head, (n_genes, n_cells, self.n_values) = self._head()
        self.shape = (n_cells, n_genes)

    def entries(self, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Give the values line by line; see `ScatteredCounts.entries`."""
        found = 0
        try:
            lines = pd.read_csv(
                self._path,
                sep=r"\s+",
                skiprows=self._n_head,
                header=None,
                names=["gene", "cell", "value"],
                dtype={"gene": np.int64, "cell": np.int64, "value": np.float64},
                chunksize=limit,
            )
            for part in lines:
                gene, cell = part["gene"].to_numpy() - 1, part["cell"].to_numpy() - 1
                self._check(gene, cell)
                found += len(part)
                yield cell, gene, part["value"].to_numpy()
        except pd.errors.EmptyDataError:
            pass  # a matrix without values; the count below tells whether it should have some
        except (ValueError, OSError, EOFError, zlib.error) as error:
            raise self._unreadable(str(error)) from error
        if found != self.n_values:
            raise self._unreadable(f"it holds {found} of {self.n_values} values")

    def _head(self) -> tuple[int, tuple[int, int, int]]:
        """Return the number of lines before the values; rows, columns and values."""
        try:
            opened = gzip.open if self._path.suffix == ".gz" else open
            with opened(self._path, "rt", encoding="utf-8") as lines:
                first = lines.readline().split()
                if first[:3] != ["%%MatrixMarket", "matrix", "coordinate"]:
                    raise ValueError("its first line is not '%%MatrixMarket matrix coordinate …'")
                if first[-1] != "general":
                    raise ValueError(f"it is {first[-1]}, not general")
                for number, line in enumerate(lines, start=2):
                    if not line.startswith("%"):
                        rows, columns, values = (int(size) for size in line.split())
                        return number, (rows, columns, values)
            raise ValueError("it ends before its sizes")
        except (ValueError, IndexError, OSError, EOFError, zlib.error) as error:
            raise self._unreadable(str(error)) from error

    def _check(self, gene: np.ndarray, cell: np.ndarray) -> None:
        for name, index, size in zip(
            ("row", "column"), (gene, cell), self.shape[::-1], strict=True
        ):
            if len(wrong := index[(index < 0) | (index >= size)]):
                raise ValueError(f"a {name} {wrong[0] + 1} where there are {size}")

    def _unreadable(self, what: str) -> ScswError:
        return ScswError(
            f"{self._path} cannot be read as a Matrix Market file: {what}",
            expected="genes × cells in Matrix Market format",
            fix="download the file again",
        )
