"""A table that waits on disk while counts are streamed, so that the two do not add up in memory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


class ParkedTable:
    """A table in a temporary file of this process.

    Parameters
    ----------
    table
        The table; the caller gives up its own reference to free the memory.
    path
        The file.
    """

    def __init__(self, table: pd.DataFrame, path: Path) -> None:
        self._path = path
        self.replace(table)

    def replace(self, table: pd.DataFrame) -> None:
        """Put another table in its place."""
        table.to_pickle(self._path)

    def read(self) -> pd.DataFrame:
        """Return the table, with all of its types."""
        return pd.read_pickle(self._path)
