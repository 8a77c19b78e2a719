"""Labels of cells that stand in a table of their own, joined to the cells by barcode."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from scsw.cohort.cell_table import joined_cell_table
from scsw.cohort.text_table import header, separator_of, way_to_text
from scsw.errors import ScswError
from scsw.files import require


def with_labels(
    cells: pd.DataFrame,
    path: str | Path,
    columns: Iterable[str],
    barcodes: Sequence[pd.Index] = (),
) -> pd.DataFrame:
    """Give each cell its row of a table; the table's columns stand for those of the same name.

    Parameters
    ----------
    cells
        Columns of the cells, index = barcode.
    path
        A CSV or TSV with a header whose first column holds the barcodes.
    columns
        Columns to take, where the table has them.
    barcodes
        Further barcodes of the cells to look for, in the order of `cells`.

    Returns
    -------
    pandas.DataFrame
        `cells` and the table's columns, categorical; NaN for cells that it does not name.

    Raises
    ------
    ScswError
        If it is no such table, names a cell twice, or none of the cells.
    """
    barcode, *names = _header(require(path))
    wanted = [name for name in names if name in set(columns)]
    labels = joined_cell_table(Path(path), [cells.index, *barcodes], [barcode], wanted)
    new = {name: labels[name].array for name in labels}
    kept = {name: cells[name].array for name in cells if name not in new}
    return pd.DataFrame({**kept, **new}, index=cells.index, copy=False)


def label_columns(path: str | Path) -> list[str]:
    """Return the names of a table's columns, that of the barcodes not among them."""
    return _header(require(path))[1:]


def _header(path: Path) -> list[str]:
    try:
        names = header(path, separator_of(path))
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise ScswError(
            f"{path} cannot be read as a table: {error}",
            expected="UTF-8 text, plain or gzipped",
            fix=way_to_text(path),
        ) from error
    if len(names) < 2:
        raise ScswError(
            f"{path} has one column only: {', '.join(names) or 'it is empty'}",
            expected="a table with the barcodes in its first column and labels in others",
            fix="check which character separates the columns: a tab in .tsv and .txt, a comma in "
            "all else",
        )
    return names
