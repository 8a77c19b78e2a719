"""Checkpoints in public folders of Google Drive, through gdown."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from scsw.errors import ScswError
from scsw.fetch.checkpoint.address import FILES, Address
from scsw.fetch.checkpoint.source import RemoteFile, Source

_TIMEOUT = (20.0, 60.0)  # seconds, to connect and between two bytes
_RETRIES = 5


def google_drive_source(address: Address) -> Source:
    """Find the three files in a Drive folder.

    Raises
    ------
    ScswError
        If the folder is closed or gone, or does not hold each file once.
    """
    import gdown

    with _explained(address):
        listed = gdown.download_folder(
            id=address.place,
            quiet=True,
            use_cookies=False,
            skip_download=True,
            timeout=_TIMEOUT,
        )
    ids = {name: [f.id for f in listed if PurePosixPath(f.path).name == name] for name in FILES}
    if wrong := [name for name in FILES if len(ids[name]) != 1]:
        others = ", ".join(sorted(f.path for f in listed)[:20]) or "nothing"
        raise ScswError(
            f"{address.uri} does not hold {', '.join(wrong)} once; it holds {others}",
            expected=f"a folder with {', '.join(FILES)}",
            fix="give the id of the folder of one model: the last part of its address",
        )
    files = tuple(
        RemoteFile(
            name=name, state=ids[name][0], transfer=partial(_transfer, address, ids[name][0])
        )
        for name in FILES
    )
    about = {"server": "drive.google.com", "client": f"gdown {gdown.__version__}"}
    return Source("Google Drive", about, files)


def _transfer(address: Address, file_id: str, path: Path) -> None:
    import gdown

    with _explained(address):
        gdown.download(
            id=file_id,
            output=str(path),
            quiet=not sys.stderr.isatty(),
            use_cookies=False,
            resume=True,
            timeout=_TIMEOUT,
            retries=_RETRIES,
        )


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn the client's errors into one message; those of the local disk pass."""
    import requests
    from gdown.exceptions import DownloadError

    try:
        yield
    except (DownloadError, requests.RequestException) as error:
        told = " ".join(str(error).split())[:300]
        raise ScswError(
            f"Google Drive did not send {address.uri}: {told}",
            fix="check the id and the connection and give the same command again; it goes on with "
            "what has come. Where Drive refuses because of many downloads, try tomorrow",
        ) from error
