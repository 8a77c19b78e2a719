"""`scsw checkpoint get`: three files into one folder, whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from scsw import __version__
from scsw.errors import ScswError
from scsw.fetch.checkpoint.address import PUBLISHED_SUMS, Address, parse_address
from scsw.fetch.checkpoint.check import checked
from scsw.fetch.checkpoint.source import RemoteFile, Source
from scsw.fetch.download import TO_COME, record_path
from scsw.files import read_json, write_json
from scsw.workspace import check_room

# Inside the folder of unfinished files: which state of the source they belong to.
_STATE = "state"


def get(address: str, out: str | Path, sha256: str | None = None) -> Path:
    """Get a public checkpoint, or do nothing where it lies there already.

    While its files come they lie in ``.<name>.part`` beside `out`, which stays after an error, so
    that the next call goes on with it. The folder gets its own name after all checks.
    ``<name>.fetch.json`` beside it records them.

    Parameters
    ----------
    address
        ``whole-human``, ``brain``, ``hf:<owner>/<repository>[@revision][/subfolder]`` or
        ``gdrive:<folder id>``.
    out
        Folder to write: ``args.json``, ``vocab.json``, ``best_model.pt`` and nothing else.
    sha256
        sha256 that ``best_model.pt`` must have, hexadecimal.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ScswError
        If the address or the sum has no known form, the source is gone or closed, a file is
        damaged, or something else lies at `out`.
    """
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ScswError(f"--sha256 is {sha256!r}", expected="64 hexadecimal digits")
    out, place = Path(out), parse_address(address)
    if out.exists() and not out.is_dir():
        raise ScswError(f"{out} is a file", expected="the path of a folder to write")
    source = _look_up(place)
    try:
        if out.is_dir() and any(out.iterdir()):
            return _keep(place, source, out, sha256)
        return _get(place, source, out, sha256)
    except OSError as error:  # those of the network are sorted where they arise
        raise ScswError(
            f"{out} cannot be written or read: {error.strerror or error}",
            fix="make room there or choose another --out; what has come is gone on with"
            if error.errno == errno.ENOSPC
            else "check the folder and its rights, or choose another --out",
        ) from error


def _look_up(place: Address) -> Source:
    if place.kind == "hf":
        from scsw.fetch.checkpoint.hugging_face import hugging_face_source

        return hugging_face_source(place)
    from scsw.fetch.checkpoint.google_drive import google_drive_source

    return google_drive_source(place)


def _get(place: Address, source: Source, out: Path, sha256: str | None) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(out, _state(place, source)) as folder:
        to_come = sum(file.size for file in source.files) - _bytes_in(folder, folder / _STATE)
        check_room(out.parent, to_come, **TO_COME)
        files = {file.name: _bring(place, source, file, folder, sha256) for file in source.files}
        for other in [f for f in folder.iterdir() if f.name not in files]:
            other.unlink()
        write_json(_record(place, source, files, sha256), record_path(out))
        os.replace(folder, out)
    return out


def _bring(
    place: Address, source: Source, file: RemoteFile, folder: Path, sha256: str | None
) -> dict[str, Any]:
    path = folder / file.name
    if not path.exists():
        file.transfer(path)
    try:
        told = checked(source, file, path, PUBLISHED_SUMS.get(place.uri, {}), sha256)
    except ScswError:
        path.unlink()  # what is wrong cannot be gone on with
        raise
    print(f"{file.name}: {decimal(told['size'])}, sha256 {told['sha256']}", file=sys.stderr)
    print(f"{file.name}: {told['how']}", file=sys.stderr)
    return told


def _keep(place: Address, source: Source, out: Path, sha256: str | None) -> Path:
    """Accept a folder that is there already if it is the one at the source; overwrite none."""
    published = PUBLISHED_SUMS.get(place.uri, {})
    files = {}
    for file in source.files:
        if not (out / file.name).is_file():
            raise _other_folder(place, out, f"it has no {file.name}")
        try:
            files[file.name] = checked(source, file, out / file.name, published, sha256)
        except ScswError as error:
            raise _other_folder(place, out, error.found) from error
    record = _record(place, source, files, sha256)
    earlier = read_json(record_path(out)) if record_path(out).exists() else {}
    before = {name: told["sha256"] for name, told in earlier.get("files", {}).items()}
    same = before == {name: told["sha256"] for name, told in files.items()}
    if not all(told["verified"] for told in files.values()) and not (
        same and earlier.get("state") == record["state"]
    ):
        raise _other_folder(place, out, "nothing shows that its files are the same")
    write_json(record, record_path(out))
    print(f"{out} is complete already; nothing was downloaded", file=sys.stderr)
    return out


def _other_folder(place: Address, out: Path, why: str) -> ScswError:
    return ScswError(
        f"{out} is there and is not known to be {place.uri}: {why}",
        expected="no folder there, or the same checkpoint",
        fix="remove or rename it, or choose another --out",
    )


def _record(
    place: Address, source: Source, files: dict[str, Any], sha256: str | None
) -> dict[str, Any]:
    return {
        "uri": place.uri,
        **source.about,
        "state": _state(place, source),
        "files": files,
        "sha256_required": sha256 is not None,
        "checked": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "scsw": __version__,
    }


def _state(place: Address, source: Source) -> str:
    told = "\n".join([place.uri, *(f"{f.name} {f.size} {f.state}" for f in source.files)])
    return hashlib.sha256(told.encode()).hexdigest()


@contextlib.contextmanager
def _unfinished(out: Path, state: str) -> Iterator[Path]:
    """Give the folder of unfinished files, emptied if they are of another state of the source.

    It is locked, so that no second process writes there; the lock ends with the process.
    """
    folder = out.with_name(f".{out.name}.part")
    folder.mkdir(exist_ok=True)
    descriptor, marked = os.open(folder, os.O_RDONLY), folder / _STATE
    try:
        _lock(descriptor, folder)
        if not marked.exists() or marked.read_text() != state:
            for old in folder.iterdir():
                old.unlink()
            marked.write_text(state)
        try:
            yield folder
        finally:
            if folder.is_dir() and not _bytes_in(folder, marked):
                shutil.rmtree(folder)  # nothing came: nothing to go on with
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ScswError(
            f"another scsw checkpoint get is writing {folder}", fix="wait for it, or stop it"
        ) from error


def _bytes_in(folder: Path, besides: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file != besides)
