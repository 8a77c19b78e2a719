"""Reads one table, or one of each model, and says what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from scsw.errors import ScswError
from scsw.files import read_columns, read_table, require, stacked
from scsw.report.columns import OBS

Models = list[tuple[str, int]]  # (arm, seed)
Rows = Mapping[str, Any]  # column → value, or values, that the rows to read have there
NO_CHOICE: Rows = MappingProxyType({})


def read_obs(path: Path) -> pd.DataFrame:
    """Read the needed columns of a cohort's cells, without its counts."""
    with h5py.File(require(path), "r") as file:
        absent = sorted(set(OBS) - set(file["obs"]))
        if absent:
            raise ScswError(
                f"{path} has no obs column {', '.join(absent)}",
                expected="a cohort written by `scsw preprocess`",
                fix="run the preprocess step again",
            )
        return pd.DataFrame({name: read_elem(file["obs"][name]) for name in OBS})


def read(path: Path, columns: list[str] | None = None, rows: Rows = NO_CHOICE) -> pd.DataFrame:
    """Read some columns and rows of a Parquet table, or the columns of a TSV."""
    if columns is None:
        return read_table(path)
    if path.suffix == ".tsv":
        return read_table(path, columns)[columns]
    return read_columns(path, columns, **rows)


def read_optional(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a table, or return an empty one if there is none."""
    return read(path, columns) if path.exists() else pd.DataFrame(columns=columns)


def read_of_models(
    folder: Path,
    models: Models,
    name: str,
    columns: list[str] | None = None,
    rows: Rows = NO_CHOICE,
    optional: Models | tuple[()] = (),
    add_model: bool = False,
) -> pd.DataFrame:
    """Read one table of several models and stack them in the order of `models`.

    Those of `optional` may lack it. With `add_model` it gets the columns ``arm, seed``.
    """
    found = []
    for arm, seed in models:
        path = folder / arm / str(seed) / name
        if not path.exists() and (arm, seed) in optional:
            continue
        table = read(path, columns, rows)
        found.append(table.assign(arm=arm, seed=seed) if add_model else table)
    return stacked(found) if found else pd.DataFrame(columns=columns)


def rows_of_models(table: pd.DataFrame, models: Models) -> pd.DataFrame:
    """Return the rows of these models; a table from an earlier config may hold others."""
    rows = [key in models for key in zip(table["arm"], table["seed"], strict=True)]
    return table[np.array(rows, dtype=bool)].reset_index(drop=True)
