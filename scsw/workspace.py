"""A folder for the temporary files of one step, used again after an interruption."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scsw.errors import ScswError
from scsw.files import write_json

_KEY = "key.json"
_PATIENCE = 10.0  # seconds; the loaders of a killed process outlive it by five


@contextlib.contextmanager
def workspace(folder: str | Path, key: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder for temporary files; what an interrupted run of the same `key` left is there.

    The folder is removed when the block succeeds, and when it fails through a user's mistake. It
    stays when the run is killed.

    Parameters
    ----------
    folder
        The folder.
    key
        All that the temporary files depend on; with any other key they are thrown away.

    Raises
    ------
    ScswError
        If another process of this machine works there.
    """
    folder, text = Path(folder), json.dumps(key, sort_keys=True, default=str)
    with _locked(folder):
        known = folder / _KEY
        if not known.exists() or json.loads(known.read_text()) != text:
            for old in folder.iterdir():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            write_json(text, known)
        try:
            yield folder
        except ScswError:
            _remove(folder)
            raise
        _remove(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a folder and keep other processes of this machine out, until this one ends at last."""
    until = time.monotonic() + _PATIENCE
    while (descriptor := _taken(folder)) is None:
        if time.monotonic() >= until:
            raise ScswError(
                f"another process works in {folder}",
                fix="wait for its end, or end it: jobs go on when Snakemake alone is killed",
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        os.close(descriptor)


def _taken(folder: Path) -> int | None:
    """Lock a folder and return its descriptor; None where another process has or removes it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    os.close(descriptor)
    return None


def temporary_folder(step: str, work: str | Path | None, out: str | Path) -> Path:
    """Name a step's folder for temporary files; in a user's folder it is one of this run's alone.

    It is emptied and removed, and a user may name a folder that holds other files, or the same one
    for several runs.

    Parameters
    ----------
    step
        Name of the step.
    work
        The user's folder; None for ``.work`` in `out`.
    out
        The step's output.
    """
    if work is None:
        return Path(out) / ".work" / step
    own = hashlib.sha256(str(Path(out).resolve()).encode()).hexdigest()[:12]
    return Path(work) / f"scsw-{step}-{own}"


def check_room(
    folder: Path,
    needed: float,
    *,
    of: str = "temporary files",
    fix: str = "free some space, or name a folder on another disk with --work",
) -> None:
    """Raise a `ScswError` if the disk of a folder has fewer than `needed` bytes free.

    Parameters
    ----------
    folder
        The folder.
    needed
        Bytes.
    of, fix
        What they are of, and what to do without them.
    """
    if needed > (free := shutil.disk_usage(folder).free):
        raise ScswError(
            f"{folder} has {free / 1e9:.1f} GB free",
            expected=f"about {needed / 1e9:.1f} GB for {of}",
            fix=fix,
        )


def file_state(path: str | Path) -> list[Any]:
    """Return what tells a file from others of its name: path, size, time of its last change."""
    status = Path(path).stat()
    return [str(Path(path).resolve()), status.st_size, status.st_mtime_ns]


def _remove(folder: Path) -> None:
    """Remove the folder, and a ``.work`` around it that held nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name == ".work":
        with contextlib.suppress(OSError):  # another step's folder stands there
            folder.parent.rmdir()
