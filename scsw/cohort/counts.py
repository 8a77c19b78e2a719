"""Raw counts: whole numbers, the right way round, one column per gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.errors import ScswError

# Some published count files are off by 1e-11; nothing that was log-transformed comes this near.
TOLERANCE = 1e-3


def whole_counts(matrix: Any, where: str, advice: str | Callable[[], str]) -> sparse.csr_matrix:
    """Return raw counts as int32 CSR with sorted indices and no stored zeros.

    Parameters
    ----------
    matrix
        Dense or sparse matrix, cells × genes, any numeric type. Its memory may be reused.
    where
        Where the matrix was found, for messages.
    advice
        Where this source keeps its raw counts, for messages; or what tells it when it is needed.

    Raises
    ------
    ScswError
        Values that are no counts: log values or other fractions, negative, NaN, infinite, larger
        than int32 holds, or no numbers at all.
    """
    counts = sparse.csr_matrix(matrix)
    if counts.dtype.kind not in "buif":
        raise ScswError(f"{where} holds {counts.dtype}, not numbers", expected="raw counts")
    values = counts.data

    def told() -> str:
        return advice if isinstance(advice, str) else advice()

    def refuse(what: str) -> ScswError:
        return ScswError(f"{where} holds {what}", expected="raw counts", fix=told())

    if counts.dtype.kind == "f" and not np.isfinite(values).all():
        raise refuse("missing or infinite values")
    if len(values) and values.min() < 0:
        raise refuse(f"negative values, such as {values.min():g}")
    if counts.dtype.kind == "f":
        rounded = np.rint(values)
        off = np.abs(values - rounded)
        if len(values) and off.max() > TOLERANCE:
            example = values[int(off.argmax())]
            raise refuse(f"values that are not whole numbers, such as {example:.4g}")
        values = rounded
    if len(values) and values.max() > np.iinfo(np.int32).max:
        raise refuse(f"values too large for counts, such as {values.max():g}")
    whole = sparse.csr_matrix(
        (values.astype(np.int32), counts.indices, counts.indptr), shape=counts.shape
    )
    whole.sum_duplicates()  # sorts the indices too
    whole.eliminate_zeros()
    return whole


def check_shape(shape: tuple[int, int], n_cells: int, n_genes: int, where: str) -> None:
    """Raise if a matrix is not cells × genes.

    Raises
    ------
    ScswError
        With a hint if the matrix stands the wrong way round.
    """
    if tuple(shape) == (n_cells, n_genes):
        return
    turned = tuple(shape) == (n_genes, n_cells)
    raise ScswError(
        f"{where} holds the counts of {shape[0]} cells and {shape[1]} genes, but the tables "
        f"beside it name {n_cells} cells and {n_genes} genes",
        expected="as many of each",
        fix="the matrix stands the wrong way round: transpose it"
        if turned
        else "the matrix and its tables belong to different files or one is incomplete",
    )


def check_barcodes(barcodes: pd.Index) -> None:
    """Raise if two cells share a barcode, or one has none.

    Raises
    ------
    ScswError
        Naming the first such barcodes.
    """
    if (barcodes == "").any():
        raise ScswError(
            f"{int((barcodes == '').sum())} cells have no barcode",
            expected="one unique barcode per cell",
        )
    if barcodes.has_duplicates:
        twice = sorted(set(barcodes[barcodes.duplicated()]))
        raise ScswError(
            f"{len(twice)} barcodes occur more than once, such as {', '.join(twice[:3])}",
            expected="one unique barcode per cell",
            fix="put the library's name before each barcode in the file",
        )


def sum_columns(counts: sparse.csr_matrix, groups: np.ndarray, n_groups: int) -> sparse.csr_matrix:
    """Add up the columns of each group.

    Parameters
    ----------
    counts
        Cells × genes.
    groups
        Group of each column, shape (genes,); 0 to `n_groups` − 1.
    n_groups
        Number of columns of the result.

    Returns
    -------
    scipy.sparse.csr_matrix
        Cells × groups, int32, sorted indices.
    """
    n_genes = counts.shape[1]
    membership = sparse.csr_matrix(
        (np.ones(n_genes, np.int32), (np.arange(n_genes), groups)), shape=(n_genes, n_groups)
    )
    summed = sparse.csr_matrix(counts @ membership, dtype=np.int32)
    summed.sort_indices()
    return summed
