"""Which column of a source holds which harmonised field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.h5ad import column_names, read_columns
from scsw.cohort.request import Request
from scsw.errors import ScswError

Values = Mapping[str, Mapping[str, Any]]


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
    present
        Names of all columns of the source; by default those of `table`, which may be only those
        that are read.

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
        present: Sequence[str] | None = None,
        values: Values | None = None,
    ) -> None:
        self.table, self.where = table, where
        self._present = list(table.columns if present is None else present)
        self._names = {field: tuple(names) for field, names in candidates.items()}
        for field, name in (overrides or {}).items():
            self._override(field, name)
        for field in values or {}:
            self._check_field("values", field)
        # YAML reads the key of {4: 0} as a number; the source's words are texts.
        self._values = {
            field: {coding.as_text(word): value for word, value in known.items()}
            for field, known in (values or {}).items()
        }
        self._used = [name for name in carried if name in table.columns]

    @classmethod
    def of_h5ad(
        cls,
        file: h5py.File,
        candidates: Mapping[str, Sequence[str]],
        request: Request,
        carried: Sequence[str] = (),
    ) -> Columns:
        """Read from ``obs`` of an h5ad file the columns that may be used, and no others."""
        wanted = [name for names in candidates.values() for name in names]
        wanted += [*request.columns.values(), *carried]
        return cls(
            read_columns(file, "obs", wanted),
            candidates,
            request.columns,
            f"obs of {file.filename}",
            carried,
            column_names(file, "obs"),
            request.values,
        )

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
            return coding.constant(default, self.table.index)
        own = self._values.get(field, {})
        return coding.mapped(column, lambda value: str(own.get(value, value)))

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
        if column is None and isinstance(missing, str):
            return coding.constant(missing, self.table.index)
        if column is None:
            return pd.Series(missing, index=self.table.index)
        return coding.decoded(
            column,
            decode,
            missing=missing,
            field=field,
            expected=expected,
            also_missing=also_missing,
            known=self._values.get(field),
        )

    def read_as(self) -> dict[str, str]:
        """Return the column that holds each field of this source; "" where none does."""
        return {field: self.name(field) or "" for field in self._names}

    def originals(self) -> pd.DataFrame:
        """Return the source's columns that were used, named ``source:<name>``."""
        originals = {"source:" + n.replace("/", "_"): _plain(self.table[n]) for n in self._used}
        return pd.DataFrame(originals, index=self.table.index, copy=False)

    def _override(self, field: str, name: str) -> None:
        self._check_field("columns", field)
        if name and name not in self.table.columns:
            raise ScswError(
                f"`columns: {field}: {name}` names a column that {self.where} does not have; "
                f"its columns are {self._found()}",
                fix="correct the name in the config",
            )
        self._names[field] = (name,) if name else ()

    def _check_field(self, key: str, field: str) -> None:
        if field not in self._names:
            raise ScswError(
                f"`{key}` names the field {field!r}, which this source does not read",
                expected="fields among " + ", ".join(sorted(self._names)),
            )

    def _found(self) -> str:
        names = [str(name) for name in self._present]
        return ", ".join(names[:60]) + (f" and {len(names) - 60} more" if len(names) > 60 else "")


def _plain(column: pd.Series) -> pd.Series:
    """Keep numbers and truth values; make text of all else, as HDF5 holds no mixed columns."""
    is_plain = pd.api.types.is_numeric_dtype(column.dtype) and not isinstance(
        column.dtype, pd.api.extensions.ExtensionDtype
    )
    return column if is_plain else coding.text(column)
