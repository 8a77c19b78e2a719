"""Parts of an h5ad file, read one by one: layers that are not needed stay on disk."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import OldFormatWarning
from anndata._io.specs.registry import IORegistryError  # it has no public name
from anndata.io import read_elem
from pandas.api.types import union_categoricals

from scsw.errors import ScswError
from scsw.files import require

# What h5py and anndata raise on a damaged or foreign file.
DAMAGE = (
    OSError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    IORegistryError,
)
_CATEGORIES = "__categories"
R_MISSING = np.iinfo(np.int32).min  # a missing whole number of R


@contextlib.contextmanager
def open_h5ad(path: str | Path) -> Iterator[h5py.File]:
    """Open an h5ad file for reading.

    Raises
    ------
    ScswError
        If the file is missing, is not HDF5, or is truncated.
    """
    if require(path).is_dir():
        raise ScswError(f"{path} is a folder", expected="an h5ad file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ScswError(
            f"{path} cannot be opened as HDF5: {error}",
            expected="a complete h5ad file",
            fix="download the file again and compare its size with the source's",
        ) from error
    with file:
        yield file


def column_names(file: h5py.File, key: str) -> list[str]:
    """Return the names of the columns of a table such as ``obs``, its index not among them.

    Raises
    ------
    ScswError
        If the table is missing, or of an anndata release before 0.7.
    """
    table = _table(file, key)
    order = table.attrs.get("column-order")
    names = [plain_text(name) for name in order] if order is not None else sorted(table)
    index = _index_name(table)
    return [name for name in names if name not in (index, _CATEGORIES)]


def read_columns(file: h5py.File, key: str, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Read some columns of a table such as ``obs``; those of it that are not wanted stay on disk.

    Files of 2022 and before keep the categories of a column in ``__categories``; they are read
    too.

    Parameters
    ----------
    file
        The open file.
    key
        The table.
    names
        Columns to read; all by default. Names that the table lacks are passed over.

    Returns
    -------
    pandas.DataFrame
        The columns, index as plain text.

    Raises
    ------
    ScswError
        If the table is missing, damaged, or of an anndata release before 0.7.
    """
    table = _table(file, key)
    present = column_names(file, key)
    asked = present if names is None else dict.fromkeys(names)
    wanted = [name for name in asked if name in present]
    with _whole_table(file, key):
        index = _read_column(table, _index_name(table))
        columns = {name: _read_column(table, name) for name in wanted}
    sizes = {name: len(column) for name, column in columns.items()}
    if wrong := [name for name, size in sizes.items() if size != len(index)]:
        what = f"{wrong[0]} has {sizes[wrong[0]]} rows of {len(index)}"
        raise _incomplete(f"{key} of {file.filename}", what)
    labels = pd.Index([plain_text(name) for name in index], dtype=object)
    return pd.DataFrame(columns, index=labels, copy=False)


def stack_tables(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables one below another; columns that some of them lack are left out."""
    if len(tables) == 1:
        return tables[0]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    stacked = {name: _stacked([table[name] for table in tables]) for name in shared}
    index = tables[0].index.append([table.index for table in tables[1:]])
    return pd.DataFrame({name: column.array for name, column in stacked.items()}, index=index)


def _stacked(columns: list[pd.Series]) -> pd.Series:
    if all(column.dtype == "category" for column in columns):
        return pd.Series(union_categoricals(columns, ignore_order=True))
    return pd.concat(columns, ignore_index=True)


def members(file: h5py.File, key: str) -> list[str]:
    """Return the names in a group such as ``layers``; none if there is no such group."""
    return sorted(file[key]) if isinstance(file.get(key), h5py.Group) else []


def _table(file: h5py.File, key: str) -> h5py.Group:
    if key not in file:
        raise ScswError(
            f"{file.filename} has no {key}; it holds {', '.join(sorted(file)) or 'nothing'}",
            expected="an h5ad file (AnnData)",
        )
    table = file[key]
    if not isinstance(table, h5py.Group) or _index_name(table) not in table:
        raise ScswError(
            f"{key} of {file.filename} is not a table that this release of anndata reads",
            fix="open the file with anndata.read_h5ad, or with an anndata release of its own time, "
            "and save it again",
        )
    return table


def _index_name(table: h5py.Group) -> str:
    return plain_text(table.attrs.get("_index", "_index"))


def _read_column(table: h5py.Group, name: str) -> Any:
    stored = table[name]
    codes_only = _CATEGORIES in table and name in table[_CATEGORIES]
    with warnings.catch_warnings():
        # Older releases wrote no encoding; anndata reads them all the same.
        warnings.simplefilter("ignore", OldFormatWarning)
        if codes_only:
            values = [plain_text(value) for value in read_elem(table[_CATEGORIES][name])]
            codes = stored[:].astype(np.int64)
            # SeuratDisk counts a factor's levels from 0 by taking 1 off, which R's missing stands.
            return pd.Categorical.from_codes(np.where(codes == R_MISSING, -1, codes), values)
        return read_elem(stored)


def plain_text(value: Any) -> str:
    """Return a text of a file, which HDF5 may hold as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def _whole_table(file: h5py.File, key: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise unreadable(f"{key} of {file.filename}", error) from error


def unreadable(where: str, error: Exception) -> ScswError:
    """Return what to raise where h5py or anndata could not read a part of a file."""
    if needs_plugin(error):
        return ScswError(
            f"{where} cannot be read: it is compressed with a plugin of HDF5",
            expected="no compression, gzip or lzf",
            fix="write the file again where the plugin is installed: in Python, `import "
            "hdf5plugin` and `anndata.read_h5ad(...).write_h5ad(..., compression='gzip')`",
        )
    return _incomplete(where, str(error))


def needs_plugin(error: Exception) -> bool:
    """Tell HDF5's complaint that it lacks the plugin that a part is compressed with."""
    return "plugin" in str(error) or "is not registered" in str(error)


def _incomplete(where: str, what: str) -> ScswError:
    return ScswError(
        f"{where} cannot be read: {what}",
        expected="a complete file",
        fix="download the file again and compare its size with the source's",
    )
