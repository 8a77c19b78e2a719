"""Annotation of cells that stands in a table of its own, joined to the counts by cell name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from scsw.cohort.text_table import header, no_column, read_text_table, separator_of
from scsw.errors import ScswError


def joined_cell_table(
    path: Path,
    cells: pd.Index | Sequence[pd.Index],
    keys: Sequence[str],
    columns: Iterable[str],
    separator: str | None = None,
) -> pd.DataFrame:
    """Read a table of cells and give each cell of the counts its row.

    Parameters
    ----------
    path
        The table; see `scsw.cohort.text_table.read_text_table`.
    cells
        Names of the cells of the counts, shape (cells,); or several such, of which the one that
        the table knows best is taken.
    keys
        Columns that may hold the names of the cells; the first of them that the table has does.
    columns
        Further columns to read, if they are there.
    separator
        Separator of the columns; by default the file's name tells.

    Returns
    -------
    pandas.DataFrame
        The columns, categorical, in the order of `cells` and with that index; missing where the
        table has no row for a cell.

    Raises
    ------
    ScswError
        If the table cannot be read, has no such key, names a cell twice, or names none of `cells`.
    """
    separator = separator or separator_of(path)
    table = read_text_table(path, separator, [*keys, *columns], names=keys)
    key = next((name for name in keys if name in table), None)
    if key is None:
        what = f"the cells' names in a column {' or '.join(keys)}"
        raise no_column(keys[0], header(path, separator), path, what)
    names = pd.Index(table[key], dtype=object)
    if names.has_duplicates:
        twice = names[names.duplicated()].unique()
        raise ScswError(
            f"{path} names {len(twice)} cells more than once, such as {twice[0]!r}",
            expected=f"one row per cell ({key})",
            fix="use the table as downloaded",
        )
    named = [cells] if isinstance(cells, pd.Index) else list(cells)
    cells = named[0]
    found = [names.get_indexer(index) for index in named if index.is_unique]
    place = max(found, key=lambda rows: (rows >= 0).sum(), default=None)
    if place is None or (place < 0).all():
        raise ScswError(
            f"{path} names none of the {len(cells)} cells: its names are like {_some(names)}, "
            f"those of the counts like {_some(cells)}",
            expected="the table that belongs to these counts",
            fix="use the table of the same release, or name it with --cell-table (in the config: "
            "`cell_table:`)",
        )
    taken = {
        name: table[name].array.take(place, allow_fill=True)
        for name in table.columns
        if name not in keys
    }
    return pd.DataFrame(taken, index=cells, copy=False)


def _some(names: pd.Index) -> str:
    return ", ".join(map(repr, names[:2])) or "none"
