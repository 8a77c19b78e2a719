"""Tables in text files: CSV, TSV and the like, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from scsw.errors import ScswError
from scsw.files import require

_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons"}


def read_text_table(
    path: str | Path,
    separator: str | None = None,
    columns: Iterable[str] | None = None,
    names: Collection[str] = (),
) -> pd.DataFrame:
    """Read every column as text, so that no code loses its zeros and "NA" stays visible.

    Parameters
    ----------
    path
        The file; a name that ends in .gz is decompressed.
    separator
        The separator; by default a tab for .tsv and .txt, a comma for all else.
    columns
        Columns to read, if they are there; all by default. Texts are categorical, so that tables
        of millions of cells stay small.
    names
        Those of `columns` that differ in every row, such as the cells' names: plain texts.

    Raises
    ------
    ScswError
        If the file is missing, is no UTF-8 text, or is no table with this separator.
    """
    path = require(path)
    separator = separator or separator_of(path)
    wanted = None if columns is None else set(columns)
    try:
        present = header(path, separator)
        used = present if wanted is None else [name for name in present if name in wanted]
        table = pd.read_csv(
            path,
            sep=separator,
            dtype=str
            if wanted is None
            else {name: str if name in names else "category" for name in used},
            keep_default_na=False,
            usecols=None if wanted is None else used,
        )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ScswError(
            f"{path} cannot be read as a table: {error}",
            expected=f"UTF-8 text with columns separated by {_NAMES.get(separator, separator)}",
            fix=way_to_text(path),
        ) from error
    return table.astype(object) if wanted is None else table


def way_to_text(path: Path) -> str:
    """Say how a file that is no text becomes one, such as a workbook of donors' metadata."""
    is_workbook = path.suffix.casefold() in (".xlsx", ".xls", ".ods")
    return "save its sheet as CSV" if is_workbook else "use the file as downloaded"


def separator_of(path: Path) -> str:
    """Return the separator that a file's name tells: a tab for .tsv and .txt, else a comma."""
    return "\t" if path.name.removesuffix(".gz").endswith((".tsv", ".txt")) else ","


def header(path: Path, separator: str) -> list[str]:
    """Return the names of the columns; one without a name has that which pandas gives it."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        names = next(csv.reader(lines, delimiter=separator), [])
    return [name or f"Unnamed: {place}" for place, name in enumerate(names)]


def need_columns(table: pd.DataFrame, names: Iterable[str], path: str | Path, what: str) -> None:
    """Raise if a table lacks a column.

    Parameters
    ----------
    table
        The table.
    names
        Columns that it must have.
    path
        Its file, for the message.
    what
        What the table should be, for the message.

    Raises
    ------
    ScswError
        Naming the column; with a hint if the separator seems to be another one.
    """
    for name in names:
        if name not in table:
            raise no_column(name, table.columns, path, what)


def no_column(name: str, present: Sequence[str], path: str | Path, what: str) -> ScswError:
    """Return the error that `need_columns` raises if of the columns `present` none is `name`."""
    return ScswError(
        f"{path} has no column {name}; its columns are " + ", ".join(map(str, present[:20])),
        expected=what,
        fix="check which character separates its columns"
        if len(present) == 1
        else "use the file as downloaded",
    )
