"""Files that appear whole or not at all, and the tables in them."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from scsw.errors import ScswError

# By these, candidates.parquet is told from other tables.
CANDIDATE = ("candidate_id", "family", "block", "row", "column")


@contextlib.contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` only if the block succeeds.

    Works for a file and for a folder that the block creates. Nothing is left behind on an error,
    and what a killed process left of the same path is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        writer = left.name.removeprefix(f".{path.name}.").removesuffix(".part")
        if writer.isdigit() and not _is_another(int(writer)):
            _remove(left)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_another(process: int) -> bool:
    """Tell whether a process id is a running process's other than this one.

    In a container a process often has the id of one that was killed in the container before.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, as another user's
    return process != os.getpid()


def write_table(
    table: pd.DataFrame, path: str | Path, keys: Mapping[str, Any] | None = None
) -> None:
    """Write a table as Parquet, or as TSV if the name ends in .tsv.

    Parameters
    ----------
    table
        What to write, without its index.
    path
        The file.
    keys
        Columns that come first and hold one value each, such as ``cohort, arm, seed``.
    """
    if keys is not None:
        table = table.copy(deep=False)
        for position, (key, value) in enumerate(keys.items()):
            table.insert(position, key, value)
    with whole(path) as temporary:
        if str(path).endswith(".tsv"):
            table.to_csv(temporary, sep="\t", index=False)
        else:
            table.to_parquet(temporary, index=False)


def read_table(path: str | Path, needs: Sequence[str] = ()) -> pd.DataFrame:
    """Read a Parquet or TSV table.

    Parameters
    ----------
    path
        The file.
    needs
        Columns that it must have.

    Raises
    ------
    ScswError
        If the file is missing, is not such a table, or lacks a column.
    """
    path = require(path)
    try:
        table = pd.read_csv(path, sep="\t") if path.suffix == ".tsv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ScswError(
            f"{path} cannot be read as a table: {error}", expected="a Parquet or TSV file"
        ) from error
    if missing := [name for name in needs if name not in table]:
        raise ScswError(
            f"{path} lacks the columns {missing}",
            expected="a table as docs/outputs.md describes it",
            fix="check that the right file is given",
        )
    return table


def read_columns(
    path: str | Path,
    columns: Iterable[str],
    *,
    optional: Iterable[str] = (),
    **rows: str | bool | Sequence[str],
) -> pd.DataFrame:
    """Read some columns and rows of a Parquet table, leaving the rest on the disk.

    Parameters
    ----------
    path
        The Parquet file.
    columns
        Columns to read.
    optional
        Columns to read where the table has them.
    **rows
        Column → value, or values, that the rows to read have there.

    Raises
    ------
    ScswError
        If the file is missing, is not Parquet or lacks a column.
    """
    path, columns = require(path), list(columns)
    values = [[wanted] if isinstance(wanted, str | bool) else wanted for wanted in rows.values()]
    # One group of equalities per combination: unlike "in", == also works on an empty column.
    filters = [
        [(name, "==", value) for name, value in zip(rows, wanted, strict=True)]
        for wanted in product(*values)
    ]
    try:
        present = set(pq.read_schema(path).names)
        missing = [name for name in columns if name not in present]
        if not missing:
            columns += [name for name in optional if name in present]
            return pd.read_parquet(path, columns=columns, filters=filters if rows else None)
    except (OSError, TypeError, ValueError) as error:
        raise ScswError(
            f"{path} cannot be read as a table: {error}", expected="a Parquet file"
        ) from error
    raise ScswError(
        f"{path} lacks the columns {missing}",
        expected="a table as docs/outputs.md describes it",
        fix="check that the right file is given, and run the step that writes it again",
    )


def stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the filled tables one under the other; if none is, the first."""
    filled = [table for table in tables if len(table)] or list(tables[:1])
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def write_text(text: str, path: str | Path) -> None:
    """Write a UTF-8 text file."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(value: Any, path: str | Path) -> None:
    """Write indented JSON."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or broken one is a `ScswError`."""
    path = require(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ScswError(f"{path} is not JSON: {error}") from error


def require(path: str | Path) -> Path:
    """Return `path` if it exists, else raise a `ScswError` that names it."""
    path = Path(path)
    if not path.exists():
        is_remote = re.match(r"(s3|gs|https?|ftp|cellxgene):|syn\d+$", str(path))
        raise ScswError(
            f"{path} does not exist" + " on this machine" * bool(is_remote),
            fix="download the file first (`scsw fetch` knows S3, CELLxGENE and Synapse), and name "
            "the place where it lies"
            if is_remote
            else "check the path in the config or command",
        )
    return path


def require_writable(folder: str | Path) -> None:
    """Raise a `ScswError` unless a folder can be written, or made; nothing is written."""
    folder = Path(folder).absolute()
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise ScswError(
            f"{folder} cannot be a folder: {there} is a file", fix="choose another --out"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ScswError(
            f"{folder} cannot be written: {there} is write-protected",
            fix="choose another place, or get the right to write there",
        )


def sha256(path: str | Path) -> str:
    """Return the sha256 of a file, or of the names and contents of a folder's files.

    Snakemake's mark in a folder does not count: made by hand, a folder has the same sha256.
    """
    path, digest = Path(path), hashlib.sha256()
    held = (p for p in path.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp")
    for file in sorted(held) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
