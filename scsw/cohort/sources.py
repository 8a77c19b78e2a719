"""Which sources there are, which one a file is, and which files it consists of.

A source is a module of `scsw.cohort.readers`. Nothing else lists them: a new file there is a new
source. Readers are imported only when they are asked, since the workflow is parsed often.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from scsw.cohort import readers
from scsw.cohort.request import TABLES
from scsw.errors import ScswError

if TYPE_CHECKING:
    from scsw.cohort.glimpse import Glimpse

AUTO, GENERIC = "auto", "generic"
NAMED = "named by the user"
# What `scsw simulate` writes for a name that stands for several layouts.
_SIMULATED = {"rosmap": "rosmap_mathys_2019"}


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of all sources, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(readers.__path__)))


def reader(name: str) -> ModuleType:
    """Import the reader of one source."""
    return importlib.import_module(f"scsw.cohort.readers.{name}")


def shipped_readers() -> list[str]:
    """Return the modules of scsw's own readers, for hashes of code."""
    folder = Path(readers.__file__).parent
    return [f"{readers.__name__}.{name}" for name in names() if (folder / f"{name}.py").exists()]


def check_source(source: str) -> None:
    """Raise a `ScswError` if `source` names no source, no family of them, and is not ``auto``."""
    if source != AUTO and not members(source):
        raise ScswError(
            f"the source {source!r} is unknown",
            expected=f"{AUTO}, or one of " + ", ".join([*families(), *names()]),
        )


def families() -> list[str]:
    """Return the names that stand for several sources, such as ``rosmap``."""
    heads = sorted({name.split("_")[0] for name in names()})
    return [head for head in heads if head not in names() and len(members(head)) > 1]


def members(source: str) -> list[str]:
    """Return the sources that a name stands for: itself, or those that begin with it."""
    if source in names():
        return [source]
    return [name for name in names() if name.startswith(source + "_")]


def choose(source: str, path: str | Path, columns: Mapping[str, str] | None = None) -> tuple:
    """Find the reader of a cohort.

    Parameters
    ----------
    source
        A source's name, a family's, or ``auto``.
    path
        The cohort's file or folder.
    columns
        The user's column names, by field. Any h5ad with a donor's and a cell type's column, named
        by the user or in a usual way, can be read as a last resort.

    Returns
    -------
    tuple
        Name of the source, and how it was told (text).

    Raises
    ------
    ScswError
        If the source is unknown, or the file is none or several of them.
    """
    check_source(source)
    among = list(names()) if source == AUTO else members(source)
    if len(among) == 1:
        return among[0], NAMED
    from scsw.cohort.glimpse import glimpse

    seen = glimpse(path)
    told = {name: reason for name in among if (reason := reader(name).recognise(seen))}
    if not told and source == AUTO and (why := reader(GENERIC).last_resort(seen, columns or {})):
        return GENERIC, why
    if len(told) != 1:
        raise _undecided(source, among, told, seen)
    return next(iter(told.items()))


def input_files(
    source: str,
    path: str,
    tables: Mapping[str, str | None] | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[str]:
    """Name the files that reading a cohort opens, in a fixed order.

    Before the cohort exists (one that is still to be simulated or fetched), the files of its
    public layout are named.

    Parameters
    ----------
    source
        A source's name, a family's, or ``auto``.
    path
        The cohort's file or folder.
    tables
        Role to path of the tables that the user named; see `scsw.cohort.request.TABLES`.
    columns
        The user's column names, by field.

    Raises
    ------
    ScswError
        If the source is unknown, or the file is none or several of them.
    """
    given = {role: str(table) for role, table in (tables or {}).items() if table}
    name = expected(source, path, columns)
    if not name:
        return [str(path), *given.values()]
    check_tables(name, path, given)
    return reader(name).files(Path(path), given)


def check_tables(name: str, path: str | Path, tables: Mapping[str, str]) -> None:
    """Raise if the user names a table that a source does not read.

    Parameters
    ----------
    name
        The source.
    path
        The cohort's file or folder.
    tables
        Role to path, of those that the user named.

    Raises
    ------
    ScswError
        Naming the table, and those that the source does read.
    """

    def is_read(role: str, table: str) -> bool:
        return table in reader(name).files(Path(path), {role: table})

    for role, table in tables.items():
        if not is_read(role, table):
            read = [f"`{TABLES[other]}`" for other in TABLES if is_read(other, "\0")]
            raise ScswError(
                f"`{TABLES[role]}` names {table}, but {path} is read as {name}, which has no "
                "such table beside it",
                expected=" or ".join(read) if read else "no table beside the counts",
                fix="leave it out; columns of donors that an h5ad lacks must be joined to its obs "
                "before",
            )


def expected(source: str, path: str, columns: Mapping[str, str] | None = None) -> str | None:
    """Name the source of a cohort that may not exist yet; None if only its files will tell.

    Raises
    ------
    ScswError
        If the source is unknown, or the file is none or several of them.
    """
    check_source(source)
    if Path(path).exists():
        return choose(source, path, columns)[0]
    return _SIMULATED.get(source, source if source in names() else None)


def _undecided(source: str, among: list[str], told: dict[str, str], seen: Glimpse) -> ScswError:
    found = seen.told()
    if told:
        listed = "; ".join(f"{name}: {reason}" for name, reason in told.items())
        return ScswError(
            f"{found}, which looks like several sources ({listed})",
            expected="one of them",
            fix="name it with --source (in the config: `source:`)",
        )
    known = f"{found}, which is no known layout" + ("" if source == AUTO else f" of {source!r}")
    if way := seen.way_to_h5ad():
        return ScswError(known, expected="an h5ad file, or a layout of docs/cohorts.md", fix=way)
    layouts = "; ".join(f"{name}: {reader(name).LAYOUT}" for name in among if name != GENERIC)
    return ScswError(
        known,
        expected=layouts,
        fix="check that the file is complete; for any other h5ad name its columns: "
        "--donor-column and --cell-type-column (in the config: `columns:`)",
    )
