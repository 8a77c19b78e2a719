"""One remote file to one local file: whole or not at all, resumed where it was cut."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from scsw import __version__
from scsw.errors import ScswError
from scsw.fetch.checksums import Sums, compare, sums
from scsw.fetch.progress import progress
from scsw.fetch.remote import Interrupted, Remote, size_of
from scsw.fetch.retry import with_retries
from scsw.files import read_json, write_json
from scsw.workspace import check_room

# For what room on the disk is needed, and what to do without.
TO_COME = {"of": "what is still to come", "fix": "make room, or give a --out on another disk"}


def download(remote: Remote, out: str | Path, sha256: str | None = None) -> Path:
    """Get a remote file, or do nothing where it lies there already.

    While it comes, the file is called ``.<name>.<mark>.part``, where the mark stands for this
    state of the remote file; it stays after an error, so that the next call goes on with it. All
    checks come before it gets its own name. ``<name>.fetch.json`` beside it records them.

    Parameters
    ----------
    remote
        The file.
    out
        Path of the file to write, or a folder (one that exists, or a path that ends in ``/``).
    sha256
        sha256 that the file must have, hexadecimal.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ScswError
        Another file lies there, too little space, damaged file, source gone or closed.
    """
    path = destination(out, remote.name)
    try:
        return _keep(remote, path, sha256) if path.exists() else _get(remote, path, sha256)
    except OSError as error:  # those of the network are sorted where they arise
        raise ScswError(
            f"{path} cannot be written or read: {error.strerror}",
            fix="make room there or choose another --out; what has come is gone on with"
            if error.errno == errno.ENOSPC
            else "check the folder and its rights, or choose another --out",
        ) from error


def _get(remote: Remote, path: Path, sha256: str | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(remote, path)
    with _alone(part):
        _remove_outdated(path, part)
        check_room(path.parent, remote.size - remote.arrived(part), **TO_COME)
        _fill(remote, part)
        try:
            record = _checked(remote, part, sha256)
        except ScswError:
            part.unlink()  # what is wrong cannot be gone on with
            raise
        write_json(record, record_path(path))
        os.replace(part, path)
    print(f"{path}: {decimal(remote.size)}; {record['source_checksum']['how']}", file=sys.stderr)
    return path


def destination(out: str | Path, name: str) -> Path:
    """Return the path of the file: `out`, or `name` inside it where `out` is a folder."""
    if not is_folder(out):
        return Path(out)
    if name in ("", ".", "..") or "/" in name:
        raise ScswError(f"the source names its file {name!r}", fix="give a file name with --out")
    return Path(out) / name


def is_folder(out: str | Path) -> bool:
    """Tell whether `out` is a folder: one that exists, or a path that ends in ``/``."""
    return Path(out).is_dir() or str(out).endswith(os.sep)


def record_path(path: Path) -> Path:
    """Return where the record of a fetched file lies."""
    return path.with_name(f"{path.name}.fetch.json")


def appending(name: str, size: int, read: Callable[[int], Iterable[bytes]]) -> Callable:
    """Return a `Remote.transfer` that appends what `read` yields from a byte onward."""

    def transfer(part: Path) -> None:
        with part.open("ab") as handle, progress(name, size) as tell:
            tell(handle.tell())
            for block in read(handle.tell()):
                handle.write(block)
                tell(handle.tell())

    return transfer


def _fill(remote: Remote, part: Path) -> None:
    def attempt() -> None:
        if size_of(part) < remote.size:
            remote.transfer(part)
        if size_of(part) < remote.size:
            raise Interrupted(f"{remote.name} broke off at {decimal(size_of(part))}")

    with_retries(attempt, lambda: remote.arrived(part))
    if (size := size_of(part)) > remote.size:
        part.unlink()
        raise ScswError(
            f"{remote.uri} sent {size} bytes",
            expected=f"{remote.size}, the size that it states",
            fix="give the same command again; if it happens again, tell the data's owner",
        )


def _checked(remote: Remote, path: Path, sha256: str | None) -> dict[str, Any]:
    """Check a complete file and return its record."""
    found = sums(path, remote.etag)
    against_source = compare(remote, found)
    _require_sha256(remote, found, sha256)
    return {
        "uri": remote.uri,
        "name": remote.name,
        "size": remote.size,
        "sha256": found.sha256,
        "sha256_required": sha256 is not None,
        "md5": found.md5,
        "source_checksum": {"md5": remote.md5, "etag": remote.etag, **against_source},
        "about": dict(remote.about),
        "checked": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "scsw": __version__,
    }


def _require_sha256(remote: Remote, found: Sums, sha256: str | None) -> None:
    if sha256 and sha256.lower() != found.sha256:
        raise ScswError(
            f"{remote.name} has the sha256 {found.sha256}",
            expected=f"{sha256.lower()}, as --sha256 asks",
            fix="check the sum and the address; the owner may have published a new version",
        )


def _keep(remote: Remote, path: Path, sha256: str | None) -> Path:
    """Accept a file that is there already if it is the remote one; never overwrite another."""
    if not path.is_file() or path.stat().st_size != remote.size:
        raise _other_file(remote, path, f"{size_of(path)} bytes; {remote.size} were expected")
    try:
        record = _checked(remote, path, sha256)
    except ScswError as error:
        raise _other_file(remote, path, error.found) from error
    earlier = read_json(record_path(path)) if record_path(path).exists() else {}
    same = all(earlier.get(key) == record[key] for key in ("uri", "sha256", "source_checksum"))
    if not (same or record["source_checksum"]["verified"] or sha256):
        raise _other_file(remote, path, "nothing shows that it is the same file")
    write_json(record, record_path(path))
    print(f"{path} is complete already; nothing was downloaded", file=sys.stderr)
    return path


def _other_file(remote: Remote, path: Path, why: str) -> ScswError:
    return ScswError(
        f"{path} is there and is not known to be {remote.uri}: {why}",
        expected="no file there, or the same one",
        fix="remove or rename it, give its sum with --sha256, or choose another --out",
    )


def _part(remote: Remote, path: Path) -> Path:
    state = f"{remote.uri}\n{remote.size}\n{remote.etag}\n{remote.md5}"
    mark = hashlib.sha256(state.encode()).hexdigest()[:12]
    return path.with_name(f".{path.name}.{mark}.part")


def _remove_outdated(path: Path, part: Path) -> None:
    """Remove the beginnings of earlier states of the remote file, which nothing can go on with."""
    prefix = f".{path.name}."
    for other in path.parent.iterdir():
        mark = other.name.removeprefix(prefix).removesuffix(".part")
        if other != part and other.name == f"{prefix}{mark}.part" and len(mark) == 12:
            other.unlink()


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep a second process from writing the same file; the lock ends with the process."""
    with part.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ScswError(
                f"another scsw fetch is writing {part}", fix="wait for it, or stop it"
            ) from error
        try:
            yield
        finally:
            if part.is_file() and not size_of(part):
                part.unlink()  # nothing came: nothing to go on with
