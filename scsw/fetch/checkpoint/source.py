"""What a place tells about the three files of a checkpoint before they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RemoteFile:
    """One file of a checkpoint at its place.

    Attributes
    ----------
    name
        Its name in the scGPT folder.
    state
        Text that differs between two states of the file, as far as the place tells them apart.
    transfer
        Takes the path to write and returns when the file is there complete. What it leaves beside
        the path when it breaks off, a later call goes on with.
    size
        Bytes, 0 where the place does not tell.
    sha256, git_id
        Checksums that the place states, "" where it states none. ``git_id`` is the object id of
        git: the sha1 of a header and the content.
    """

    name: str
    state: str
    transfer: Callable[[Path], None]
    size: int = 0
    sha256: str = ""
    git_id: str = ""


@dataclass(frozen=True)
class Source:
    """The files of a checkpoint, and more about their place for the record.

    Attributes
    ----------
    host
        Name of the place in messages.
    about
        Server, revision, and version of the client.
    files
        One for each name in `address.FILES`.
    """

    host: str
    about: Mapping[str, str]
    files: tuple[RemoteFile, ...]
