"""`scsw fetch`: one address, whichever place it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scsw.errors import ScswError
from scsw.fetch.download import download, is_folder
from scsw.fetch.places import place
from scsw.fetch.remote import Remote


def fetch(address: str, out: str | Path, sha256: str | None = None) -> list[Path]:
    """Get a file of S3, CELLxGENE or Synapse, or the files of a Synapse folder.

    Parameters
    ----------
    address
        ``s3://bucket/key``, ``cellxgene:<dataset id>`` or the id alone, or a Synapse id.
    out
        File to write, or folder (one that exists, or a path that ends in ``/``).
    sha256
        sha256 that the file must have.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    ScswError
        If the address or the sum has no known form, or the file cannot be had.
    """
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ScswError(f"--sha256 is {sha256!r}", expected="64 hexadecimal digits")
    kind = place(address)
    if kind == "synapse":
        return _from_synapse(address, out, sha256)
    return [download(_look_up(kind, address), out, sha256)]


def _look_up(kind: str, address: str) -> Remote:
    if kind == "s3":
        from scsw.fetch.s3 import s3_file

        return s3_file(address)
    from scsw.fetch.cellxgene import cellxgene_file

    return cellxgene_file(address.removeprefix("cellxgene:").lower())


def _from_synapse(address: str, out: str | Path, sha256: str | None) -> list[Path]:
    from scsw.fetch.synapse import synapse_files

    files: Iterator[Remote] = synapse_files(address, out)
    got = []
    for remote in files:
        several = remote.uri != address  # the files of a folder
        if several and not is_folder(out):
            raise ScswError(
                f"{address} is a folder of Synapse",
                expected="a folder for its files, not the path of one file",
                fix=f"--out {out}/",
            )
        if several and sha256:
            raise ScswError(
                f"{address} is a folder of Synapse, and --sha256 gives one sum",
                fix="get its files by their own ids",
            )
        got.append(download(remote, out, sha256))
    return got
