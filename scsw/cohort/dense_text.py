"""Counts in a comma-separated table of genes × cells, plain or gzipped, read in pieces."""

from __future__ import annotations

import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from scsw.cohort.scattered_counts import ScatteredCounts
from scsw.errors import ScswError

_DAMAGE = (ValueError, OSError, EOFError, zlib.error, csv.Error)


class DenseText(ScatteredCounts):
    """A table with a first line of barcodes and a gene's name before each line of counts.

    Parameters
    ----------
    path
        The file; a name that ends in .gz is decompressed.
    advice
        For messages; see `scsw.cohort.count_matrix.CountMatrix`.

    Attributes
    ----------
    barcodes, symbols
        Names of the cells and of the genes.

    Raises
    ------
    ScswError
        If the file is no such table, or a line is longer or shorter than the first.
    """

    def __init__(self, path: str | Path, advice: str) -> None:
        self._path = Path(path)
        self.where, self.advice = str(path), advice
        try:
            barcodes, symbols = self._names()
        except _DAMAGE as error:
            raise self._unreadable(str(error)) from error
        self.barcodes = pd.Index(barcodes, dtype=object)
        self.symbols = pd.Index(symbols, dtype=object)
        self.shape = (len(barcodes), len(symbols))
        self.n_values = len(barcodes) * len(symbols) // 4  # a guess on the safe side

    def entries(self, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Give the values gene by gene; see `ScatteredCounts.entries`."""
        n_cells, n_genes = self.shape
        at_once = max(1, limit // n_cells)
        try:
            with self._open() as lines:
                next(lines)
                for first in range(0, n_genes, at_once):
                    some = [line.split(",", 1)[1] for line in itertools.islice(lines, at_once)]
                    values = _parsed(some)
                    gene, cell = np.nonzero(values)  # a missing value is none of the zeros
                    yield cell, first + gene, values[gene, cell]
        except _DAMAGE as error:
            raise self._unreadable(str(error)) from error

    def _open(self) -> TextIO:
        opened = gzip.open if self._path.suffix == ".gz" else open
        return opened(self._path, "rt", encoding="utf-8-sig")

    def _names(self) -> tuple[list[str], list[str]]:
        with self._open() as lines:
            barcodes = next(csv.reader([next(lines, "")]), [])[1:]
            if not barcodes:
                raise ValueError("its first line names no cells")
            symbols = []
            for number, line in enumerate(lines, start=2):
                if line.count(",") != len(barcodes):
                    raise ValueError(
                        f"line {number} holds {line.count(',')} values for {len(barcodes)} cells"
                    )
                symbols.append(line.split(",", 1)[0].strip().strip('"'))
        if not symbols:
            raise ValueError("it holds no genes")
        return barcodes, symbols

    def _unreadable(self, what: str) -> ScswError:
        return ScswError(
            f"{self._path} cannot be read as a table of genes × cells: {what}",
            expected="UTF-8 text with columns separated by commas, a line of barcodes first",
            fix="use the file as downloaded",
        )


def _parsed(lines: list[str]) -> np.ndarray:
    """Read lines of counts; whole numbers are read far faster as such.

    All else is read as fractions, which the check of counts then judges. numpy must not be asked to
    read those as whole numbers: some releases cut 0.5 to 0.
    """
    are_whole = all(line.replace(",", "").strip().isdecimal() for line in lines)
    try:
        return np.loadtxt(lines, np.int64 if are_whole else np.float64, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(str(error).partition(" at row")[0]) from error
