"""h5Seurat files: Seurat objects as SeuratDisk stores them in HDF5.

A factor is a group of ``levels`` and ``values``, which count from 1; a logical value is 0, 1 or, if
missing, 2; a missing integer is R's, the smallest of 32 bits. A sparse matrix is genes × cells in
column order, so that its arrays are those of cells × genes in row order.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scsw.cohort.count_matrix import CountMatrix
from scsw.cohort.h5_matrix import CountsByCell, DenseCounts, readable
from scsw.cohort.h5ad import R_MISSING, members, open_h5ad, plain_text
from scsw.errors import ScswError

CELL_NAMES, META_DATA = "cell.names", "meta.data"
_LOGICAL = ("False", "True")


def meta_data_columns(file: h5py.File) -> list[str]:
    """Return the names of the columns of the cells' metadata; none if there is no such table."""
    table = file.get(META_DATA)
    if isinstance(table, h5py.Dataset):
        return list(table.dtype.names or ())
    return [name for name in members(file, META_DATA) if name != "_index"]


def read_meta_data(path: str | Path, names: Iterable[str]) -> pd.DataFrame:
    """Read some columns of the cells' metadata.

    Parameters
    ----------
    path
        The file.
    names
        Columns to read; names that the table lacks are passed over.

    Returns
    -------
    pandas.DataFrame
        Factors, logical values and texts as categorical columns, numbers as they are; index = the
        cells' names.

    Raises
    ------
    ScswError
        If the file has no cells, or a column is damaged.
    """
    with open_h5ad(path) as file:
        if CELL_NAMES not in file or META_DATA not in file:
            raise ScswError(
                f"{path} lacks {CELL_NAMES} or {META_DATA}; it holds {', '.join(sorted(file))}",
                expected="an h5Seurat file (SeuratDisk)",
            )
        with readable(path, CELL_NAMES):
            cells = pd.Index(file[CELL_NAMES].asstr()[:], dtype=object)
        present = set(meta_data_columns(file))
        columns = {}
        for name in dict.fromkeys(names):
            if name in present:
                with readable(path, f"{META_DATA}/{name}"):
                    columns[name] = _column(file[META_DATA], name)
                    _check_length(len(columns[name]), len(cells))
    return pd.DataFrame(columns, index=cells, copy=False)


def read_features(path: str | Path, assay: str = "RNA") -> pd.Index:
    """Return the names of an assay's genes.

    Raises
    ------
    ScswError
        If the file has no such assay.
    """
    with open_h5ad(path) as file:
        key = f"assays/{assay}/features"
        if key not in file:
            raise ScswError(
                f"{path} has no {key}; its assays are {members(file, 'assays') or 'none'}",
                expected="an h5Seurat file (SeuratDisk) with the assay " + assay,
            )
        with readable(path, key):
            return pd.Index(file[key].asstr()[:], dtype=object)


def seurat_counts(path: str | Path, key: str, advice: str, n_features: int) -> CountMatrix:
    """Return a matrix of an h5Seurat file as its counts, cells × genes; nothing is read yet.

    Parameters
    ----------
    path
        The file.
    key
        The matrix, such as ``assays/RNA/counts``: sparse or dense.
    advice
        Where the source keeps raw counts, for messages.
    n_features
        Number of the assay's genes; a sparse matrix need not tell it.

    Raises
    ------
    ScswError
        If there is no such matrix.
    """
    where = f"{key} of {path}"
    with open_h5ad(path) as file:
        stored = file.get(key)
        is_dense = isinstance(stored, h5py.Dataset) and stored.ndim == 2
        if not is_dense and not isinstance(stored, h5py.Group):
            parent = key.rsplit("/", 1)[0]
            raise ScswError(
                f"{path} has no matrix {key}; {parent} holds "
                + (", ".join(members(file, parent)) or "nothing"),
                expected="raw counts",
                fix=advice,
            )
        n_genes = int(stored.attrs.get("dims", [n_features])[0])
    if is_dense:
        # R writes column by column: what is genes × cells there is cells × genes here.
        return DenseCounts(path, key, where, advice)
    return CountsByCell(path, key, where, advice, n_genes)


def _column(table: h5py.Group | h5py.Dataset, name: str) -> pd.Categorical | np.ndarray:
    stored = table[name]  # of a table without factors, which may be one compound dataset, an array
    if isinstance(stored, h5py.Group):
        return _factor(stored)
    values = stored[()]
    if values.dtype.kind in "OS":
        return pd.Categorical([plain_text(value) for value in values])
    if _is_logical(table, stored, name):
        return pd.Categorical.from_codes(np.where(values == 2, -1, values), _LOGICAL)
    if values.dtype.kind == "i" and (values == R_MISSING).any():
        return np.where(values == R_MISSING, np.nan, values)
    return values


def _is_logical(
    table: h5py.Group | h5py.Dataset, stored: h5py.Dataset | np.ndarray, name: str
) -> bool:
    """Tell whether whole numbers stand for truth values: the table or the column itself says so."""
    listed = np.atleast_1d(table.attrs.get("logicals", ()))
    kinds = np.atleast_1d(stored.attrs.get("s3class", ()) if hasattr(stored, "attrs") else ())
    return name in map(plain_text, listed) or "logical" in map(plain_text, kinds)


def _factor(group: h5py.Group) -> pd.Categorical:
    levels = [plain_text(level) for level in group["levels"][:]]
    values = group["values"][:].astype(np.int64)
    known = values != R_MISSING
    strange = values[known & ((values < 1) | (values > len(levels)))]
    if len(strange):
        raise ValueError(f"a factor of {len(levels)} levels has the value {strange[0]}")
    return pd.Categorical.from_codes(np.where(known, values - 1, -1), levels)


def _check_length(n_rows: int, n_cells: int) -> None:
    if n_rows != n_cells:
        raise ValueError(f"{n_rows} rows for {n_cells} cells")
