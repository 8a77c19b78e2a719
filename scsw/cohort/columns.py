"""Which column of a source holds which harmonised field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scsw.cohort import coding
from scsw.errors import ScswError


class Columns:
    """Looks up the fields of one source in its table of cells.

    Parameters
    ----------
    table
        The source's annotation, one row per cell.
    candidates
        For each harmonised field, the column names to try, in this order.
    overrides
        The config's ``columns``: field to column name; "" leaves a field out.
    where
        Name of the table for messages.
    carried
        Further columns that are carried along as originals where the source has them.

    Raises
    ------
    ScswError
        If an override names a field that the source lacks, or a column that is not there.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        candidates: Mapping[str, Sequence[str]],
        overrides: Mapping[str, str] | None,
        where: str,
        carried: Sequence[str] = (),
    ) -> None:
        self.table, self.where = table, where
        self._names = {field: tuple(names) for field, names in candidates.items()}
        for field, name in (overrides or {}).items():
            self._override(field, name)
        self._used = [name for name in carried if name in table.columns]

    def name(self, field: str) -> str | None:
        """Return the column that holds `field`, or None."""
        return next((n for n in self._names.get(field, ()) if n in self.table.columns), None)

    def find(self, field: str) -> pd.Series | None:
        """Return the column of `field`, or None if the source has none."""
        name = self.name(field)
        if name is None:
            return None
        if name not in self._used:
            self._used.append(name)
        return self.table[name]

    def need(self, field: str) -> pd.Series:
        """Return the column of `field`; a `ScswError` if the source has none."""
        column = self.find(field)
        if column is None:
            raise ScswError(
                f"{self.where} has no column for {field}; its columns are {self._found()}",
                expected="one of " + ", ".join(repr(name) for name in self._names[field])
                if self._names[field]
                else "a column for it",
                fix=f"name the column under `columns: {field}:` in the config",
            )
        return column

    def text(self, field: str, default: str = "") -> pd.Series:
        """Return `field` as text, `default` where the source has no such column."""
        column = self.find(field)
        if column is None:
            return pd.Series(default, index=self.table.index, dtype=object)
        return coding.text(column)

    def decoded(
        self,
        field: str,
        decode: coding.Decoder,
        missing: Any,
        expected: str,
        also_missing: tuple[str, ...] = (),
    ) -> pd.Series:
        """Decode `field`; all `missing` where the source has no such column."""
        column = self.find(field)
        if column is None:
            return pd.Series(missing, index=self.table.index)
        return coding.decoded(
            column,
            decode,
            missing=missing,
            field=field,
            expected=expected,
            also_missing=also_missing,
        )

    def originals(self) -> pd.DataFrame:
        """Return the source's columns that were used, named ``source:<name>``."""
        return pd.DataFrame(
            {"source:" + name.replace("/", "_"): _plain(self.table[name]) for name in self._used},
            index=self.table.index,
        )

    def _override(self, field: str, name: str) -> None:
        if field not in self._names:
            raise ScswError(
                f"`columns` names the field {field!r}, which this source does not read",
                expected="fields among " + ", ".join(sorted(self._names)),
            )
        if name and name not in self.table.columns:
            raise ScswError(
                f"`columns: {field}: {name}` names a column that {self.where} does not have; "
                f"its columns are {self._found()}",
                fix="correct the name in the config",
            )
        self._names[field] = (name,) if name else ()

    def _found(self) -> str:
        names = [str(name) for name in self.table.columns]
        return ", ".join(names[:60]) + (f" and {len(names) - 60} more" if len(names) > 60 else "")


def _plain(column: pd.Series) -> pd.Series:
    """Keep numbers and truth values; make text of all else, as HDF5 holds no mixed columns."""
    is_plain = pd.api.types.is_numeric_dtype(column.dtype) and not isinstance(
        column.dtype, pd.api.extensions.ExtensionDtype
    )
    return column if is_plain else coding.text(column)
