"""A file that lies elsewhere, and what its place tells about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Interrupted(Exception):
    """A transfer stopped for a reason that a later attempt may mend."""


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


@dataclass(frozen=True)
class Remote:
    """One remote file.

    Attributes
    ----------
    uri
        What the user asked for, such as ``s3://bucket/key`` or ``syn123``.
    name
        Name of the file at its source.
    size
        Bytes.
    transfer
        Takes the path of a partial file, which may exist already, and makes it longer, at best
        complete. Raises `Interrupted` where a further call may help.
    arrived
        Takes the path of the partial file and tells how many bytes have come, wherever they lie.
    md5
        md5 of the file, hexadecimal, "" where the source gives none.
    etag
        ETag of the file without quotation marks, "" where the source gives none.
    etag_binds
        Whether an ETag without part count is the md5 of the file, so that another md5 means damage.
    about
        More about the file, for its record: version, title, address.
    """

    uri: str
    name: str
    size: int
    transfer: Callable[[Path], None]
    arrived: Callable[[Path], int] = size_of
    md5: str = ""
    etag: str = ""
    etag_binds: bool = False
    about: Mapping[str, str] = field(default_factory=dict)
