"""Checksums of a file that has come, against what its source tells."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scsw.errors import ScswError
from scsw.fetch.remote import Remote

_MIB = 1 << 20
# Part sizes that upload programs use, in MiB: 8 is that of the AWS command line and of boto3, 5 the
# smallest that S3 allows, the others are common settings.
_PART_SIZES = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Sums:
    """Checksums of a local file: sha256, md5, and the ETags it would have by part size in bytes."""

    sha256: str
    md5: str
    etags: dict[int, str]


def sums(path: Path, etag: str) -> Sums:
    """Read a file once and compute all checksums that `etag` could be compared with."""
    parts = {size: _Parts(size) for size in part_sizes(path.stat().st_size, etag)}
    sha256, md5 = hashlib.sha256(), _md5()
    with path.open("rb") as handle:
        while block := handle.read(_MIB):
            for digest in (sha256, md5, *parts.values()):
                digest.update(block)
    etags = {size: part.etag() for size, part in parts.items()}
    return Sums(sha256.hexdigest(), md5.hexdigest(), etags)


def part_sizes(size: int, etag: str) -> list[int]:
    """Return the part sizes (bytes) with which a file of `size` bytes has as many parts as `etag`.

    An ETag of a file that was uploaded in parts ends in ``-`` and their number; the part size
    itself is not told. Empty for any other ETag.
    """
    found = re.fullmatch(r"[0-9a-f]{32}-(\d+)", etag)
    if not found or not size:
        return []
    number = int(found[1])
    smallest = math.ceil(size / number / _MIB)  # the whole MiB that just suffices
    candidates = {*_PART_SIZES, smallest, smallest + 1}
    return [n * _MIB for n in sorted(candidates) if math.ceil(size / (n * _MIB)) == number]


def compare(remote: Remote, found: Sums) -> dict[str, Any]:
    """Compare a file's checksums with what its source told.

    Returns
    -------
    dict
        ``verified`` (bool) and ``how`` (one sentence), as the record of the file holds them.

    Raises
    ------
    ScswError
        If the file is damaged: its md5 is not the one of the source.
    """
    plain = re.fullmatch(r"[0-9a-f]{32}", remote.etag)
    told = remote.md5 or (remote.etag if plain and remote.etag_binds else "")
    if told and told != found.md5:
        raise ScswError(
            f"{remote.name} arrived damaged: its md5 is {found.md5}",
            expected=f"{told}, as {remote.uri} states",
            fix="give the same command again; if the sum is the same again, tell the data's owner",
        )
    if told:
        return _verdict(True, "the md5 of the source is that of the file")
    if plain and remote.etag == found.md5:
        return _verdict(True, "the ETag of the source is the md5 of the file")
    for size, etag in found.etags.items():
        if etag == remote.etag:
            return _verdict(True, f"the ETag fits an upload in parts of {size // _MIB} MiB")
    if "-" in remote.etag:
        return _verdict(
            False, "the ETag is one of parts of unknown size; only the size was checked"
        )
    return _verdict(False, "the source gives no checksum of the file; only the size was checked")


def _verdict(verified: bool, how: str) -> dict[str, Any]:
    return {"verified": verified, "how": how}


def _md5() -> Any:
    # Not for security: it is the sum that S3 and Synapse give.
    return hashlib.md5(usedforsecurity=False)


class _Parts:
    """The ETag of an upload in parts: the md5 of the parts' md5s."""

    def __init__(self, size: int) -> None:
        self._size, self._room = size, size
        self._part, self._digests = _md5(), []

    def update(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            taken, view = view[: self._room], view[self._room :]
            self._part.update(taken)
            self._room -= len(taken)
            if not self._room:
                self._close()

    def _close(self) -> None:
        self._digests.append(self._part.digest())
        self._part, self._room = _md5(), self._size

    def etag(self) -> str:
        if self._room < self._size:
            self._close()
        whole = _md5()
        whole.update(b"".join(self._digests))
        return f"{whole.hexdigest()}-{len(self._digests)}"
