"""Whether the files that came are those of their place, and files of a checkpoint at all."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scsw.errors import ScswError
from scsw.fetch.checkpoint.source import RemoteFile, Source
from scsw.files import sha256

WEIGHTS = "best_model.pt"


def checked(
    source: Source, file: RemoteFile, path: Path, published: Mapping[str, str], given: str | None
) -> dict[str, Any]:
    """Compare a file with every checksum there is for it.

    Parameters
    ----------
    source, file
        What the place tells.
    path
        The file that came.
    published
        sha256 by name that others have published for this address.
    given
        sha256 that the user asks of the weights.

    Returns
    -------
    dict
        ``size, sha256, verified, how``, as the record of the checkpoint holds them.

    Raises
    ------
    ScswError
        If a checksum differs, or the file is none of a checkpoint.
    """
    found = sha256(path)
    expected = {
        f"the sha256 that {source.host} states": file.sha256,
        "the sha256 in docs/checkpoints.md": published.get(file.name, ""),
        "the sha256 that --sha256 asks for": (given or "").lower() if file.name == WEIGHTS else "",
    }
    expected = {who: value for who, value in expected.items() if value}
    for who, value in expected.items():
        if value != found:
            raise _differs(file, f"sha256 {found}", f"{value}, {who}")
    if file.git_id:
        own = git_id(path)
        if own != file.git_id:
            raise _differs(file, f"git id {own}", f"{file.git_id}, as {source.host} states")
        expected[f"the git id that {source.host} states"] = own
    require_form(path)
    how = "it has " + " and ".join(expected) if expected else "there was nothing to compare it with"
    return {
        "size": path.stat().st_size,
        "sha256": found,
        "verified": bool(expected),
        "how": how,
    }


def git_id(path: Path) -> str:
    """Return the object id that git gives to the content of a file."""
    # Not for security: it is the sum that git uses.
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def require_form(path: Path) -> None:
    """Raise unless a file has the outer form of its kind; an error page, for one, has not.

    The weights are a zip archive whose directory stands at its end, so that a cut one is noticed,
    or a bare pickle of torch before 1.6. Nothing of it is unpickled.
    """
    if path.suffix == ".json":
        try:
            good = isinstance(json.loads(path.read_bytes()), dict)
        except (json.JSONDecodeError, UnicodeDecodeError):
            good = False
        expected = "a JSON object"
    else:
        with path.open("rb") as handle:
            start = handle.read(2)
        good = zipfile.is_zipfile(path) if start == b"PK" else start == b"\x80\x02"
        expected = "the complete file of torch.save"
    if not good:
        raise ScswError(
            f"{path.name} came as {path.stat().st_size} bytes of another kind",
            expected=expected,
            fix="give the same command again; if it happens again, choose another address",
        )


def _differs(file: RemoteFile, found: str, expected: str) -> ScswError:
    return ScswError(
        f"{file.name} has the {found}",
        expected=expected,
        fix="give the same command again; if the sum is the same again, the file was replaced at "
        "its source: choose another revision or address",
    )
