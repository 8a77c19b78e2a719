"""Where a tokenizer gets the counts of cells from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import sparse

from scsw.errors import ScswError


class CountRows(Protocol):
    """Counts of a cohort's cells, by row."""

    def __len__(self) -> int:
        """Return the number of cells."""

    def rows(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the detected genes of some cells, in the order of `cells`.

        Parameters
        ----------
        cells
            Rows, int64, shape (cells,); a row may come twice.

        Returns
        -------
        tuple of numpy.ndarray
            First value of each cell and the number of values, int64, shape (cells + 1,); columns
            and positive counts, integers, shape (values,) each.
        """


class MemoryRows:
    """Counts that are in memory already.

    Parameters
    ----------
    counts
        Raw counts, cells × genes.

    Raises
    ------
    ScswError
        If they are no whole numbers, or one is negative.
    """

    def __init__(self, counts: sparse.csr_matrix) -> None:
        self._counts = sparse.csr_matrix(counts)
        values = self._counts.data
        if values.dtype.kind not in "iu":
            values = whole_numbers(values)
            self._counts = sparse.csr_matrix(
                (values, self._counts.indices, self._counts.indptr), self._counts.shape
            )
        if values.size and values.min() <= 0:
            if values.min() < 0:
                raise _no_counts(f"hold {values.min()}")
            self._counts = self._counts.copy()  # the caller's matrix stays as it is
            self._counts.eliminate_zeros()

    def __len__(self) -> int:
        return self._counts.shape[0]

    def rows(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the detected genes of some cells; see `CountRows.rows`."""
        starts, stops = self._counts.indptr[cells], self._counts.indptr[cells + 1]
        own = [slice(*bounds) for bounds in zip(starts.tolist(), stops.tolist(), strict=True)]
        return joined([self._counts.indices[x] for x in own], [self._counts.data[x] for x in own])


def joined(
    columns: list[np.ndarray], counts: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put cells one after another; returns what `CountRows.rows` does."""
    bounds = np.cumsum([0, *map(len, columns)])
    return bounds, np.concatenate(columns), np.concatenate(counts)


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """Return floats that are whole numbers as int64.

    Raises
    ------
    ScswError
        If one is not.
    """
    is_whole = np.isfinite(values) & (values == np.rint(values))
    if not is_whole.all():
        raise _no_counts(f"hold {values[~is_whole][0]}")
    return values.astype(np.int64)


def _no_counts(what: str) -> ScswError:
    return ScswError(
        f"the cohort's counts {what}",
        expected="raw counts: whole numbers, none negative",
        fix="preprocess the cohort from a file with raw counts",
    )
