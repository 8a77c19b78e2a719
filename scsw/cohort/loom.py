"""Attributes of loom files (HDF5): one value per cell, per gene, or of the whole file."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
import pandas as pd

from scsw.cohort.h5_matrix import readable


def attribute_names(file: h5py.File, axis: str) -> list[str]:
    """Return the attributes of ``col_attrs`` or ``row_attrs`` with one value per cell or gene."""
    group = file.get(axis)
    if not isinstance(group, h5py.Group):
        return []
    return [
        name for name in group if isinstance(group[name], h5py.Dataset) and group[name].ndim == 1
    ]


def read_attributes(file: h5py.File, axis: str, names: Iterable[str]) -> pd.DataFrame:
    """Read some attributes; texts are categorical.

    Parameters
    ----------
    file
        The open file.
    axis
        ``col_attrs`` (cells) or ``row_attrs`` (genes).
    names
        Attributes to read; those that the file lacks are passed over.

    Raises
    ------
    ScswError
        If the file is damaged.
    """
    there = set(attribute_names(file, axis))
    with readable(file.filename, axis):
        columns = {
            name: _column(file[axis][name][:]) for name in dict.fromkeys(names) if name in there
        }
        return pd.DataFrame(columns, copy=False)


def file_attributes(file: h5py.File) -> dict[str, str]:
    """Return the texts that hold for the whole file; loom 3 keeps them in ``attrs``."""
    stored: dict[str, Any] = dict(file.attrs)
    group = file.get("attrs")
    if isinstance(group, h5py.Group):
        stored |= {name: group[name][()] for name in group if isinstance(group[name], h5py.Dataset)}
    flat = {name: np.asarray(value).ravel() for name, value in stored.items()}
    return {name: _text(value[0]) for name, value in flat.items() if len(value) == 1}


def _column(values: np.ndarray) -> pd.Categorical | np.ndarray:
    if values.dtype.kind not in "OSU":
        return values
    codes, distinct = pd.factorize(values)
    texts = [_text(value) for value in distinct]
    places, names = pd.factorize(np.array(texts, dtype=object), sort=True)
    return pd.Categorical.from_codes(places[codes] if len(places) else codes, names)


def _text(value: Any) -> str:
    """Decode a text; loompy writes letters beyond ASCII as XML entities."""
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return html.unescape(text)
