"""Parts of an h5ad file, read one by one: layers that are not needed stay on disk."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
from anndata import OldFormatWarning
from anndata.io import read_elem

from scsw.errors import ScswError
from scsw.files import require

# What h5py and anndata raise on a damaged or foreign file.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)


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


def read_frame(file: h5py.File, key: str) -> pd.DataFrame:
    """Read a table such as ``obs``, its index and names as plain text.

    Raises
    ------
    ScswError
        If the table is missing, damaged, or of an anndata release before 0.7.
    """
    frame = _read(file, key)
    if not isinstance(frame, pd.DataFrame):
        raise ScswError(
            f"{key} of {file.filename} is not a table that this release of anndata reads",
            fix="open the file with an anndata release of its own time and save it again",
        )
    frame.index = pd.Index([str(name) for name in frame.index], dtype=object)
    return frame


def read_matrix(file: h5py.File, key: str) -> Any:
    """Read a dense or sparse matrix such as ``layers/UMIs``.

    Raises
    ------
    ScswError
        If the matrix is missing, damaged, or not a matrix.
    """
    matrix = _read(file, key)
    if getattr(matrix, "ndim", 0) != 2:
        raise ScswError(f"{key} of {file.filename} is not a matrix")
    return matrix


def members(file: h5py.File, key: str) -> list[str]:
    """Return the names in a group such as ``layers``; none if there is no such group."""
    return sorted(file[key]) if isinstance(file.get(key), h5py.Group) else []


def _read(file: h5py.File, key: str) -> Any:
    if key not in file:
        raise ScswError(
            f"{file.filename} has no {key}; it holds {', '.join(sorted(file)) or 'nothing'}",
            expected="an h5ad file (AnnData)",
        )
    try:
        with warnings.catch_warnings():
            # Older releases wrote no encoding; anndata reads them all the same.
            warnings.simplefilter("ignore", OldFormatWarning)
            return read_elem(file[key])
    except _DAMAGE as error:
        raise ScswError(
            f"{key} of {file.filename} cannot be read: {error}",
            expected="a complete h5ad file",
            fix="download the file again and compare its size with the source's",
        ) from error
