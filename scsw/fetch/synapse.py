"""Files of Synapse, through the `synapse` program and the user's own access.

The program reads the user's token from its environment. The token is on no command line and in no
file, and it is taken out of everything that the program prints.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from scsw.errors import ScswError
from scsw.fetch.download import is_folder
from scsw.fetch.progress import progress
from scsw.fetch.remote import Remote, size_of
from scsw.fetch.retry import with_retries
from scsw.fetch.synapse_program import RIGHTS, run

# What the program adds to the name of a file that is not complete; it goes on with such a file.
_INCOMPLETE = ".synapse_download_"


def synapse_files(entity: str, out: str | Path) -> Iterator[Remote]:
    """Look up a file of Synapse, or the files that lie directly in a folder of it.

    Parameters
    ----------
    entity
        Synapse id such as ``syn123``, or of a version, ``syn123.4``.
    out
        Where the files will go; what the program has not finished lies beside it.

    Raises
    ------
    ScswError
        If the program or the token is missing, or Synapse refuses.
    """
    told = _told(entity)
    kind = told["concreteType"].rpartition(".")[2]
    if kind == "FileEntity":
        yield _file(entity, told, out)
    elif kind in ("Folder", "Project"):
        for child in _children(entity):
            yield from synapse_files(child, out)
    else:
        raise ScswError(f"{entity} is of the kind {kind}", expected="a file or a folder of files")


def _file(entity: str, told: dict[str, str], out: str | Path) -> Remote:
    size = told.get("fileSize", "None")
    if not size.isdecimal():
        raise ScswError(
            f"Synapse shows {entity} ({told['name']}) but gives no file",
            expected="the right to download it",
            fix=RIGHTS,
        )
    beside = Path(out) if is_folder(out) else Path(out).parent
    work = beside / f".{entity}.synapse.part"
    return Remote(
        uri=entity,
        name=told["name"],
        size=int(size),
        md5=told["md5"] if re.fullmatch(r"[0-9a-f]{32}", told.get("md5", "")) else "",
        transfer=lambda part: _transfer(entity, int(size), work, part),
        arrived=lambda part: size_of(part) + _bytes_in(work),
        about={"version": told.get("versionNumber", ""), "parent": told.get("parentId", "")},
    )


def _transfer(entity: str, size: int, work: Path, part: Path) -> None:
    """Let the program download into `work`, going on with what lies there; move the file out."""
    work.mkdir(exist_ok=True)
    try:
        with progress(entity, size) as tell:
            command = ["get", entity, "--downloadLocation", str(work)]
            run(command, meanwhile=lambda: tell(min(size, _bytes_in(work))))
        files = [path for path in work.iterdir() if _INCOMPLETE not in path.name]
        if len(files) != 1:
            raise ScswError(
                f"the synapse program brought {len(files)} files for {entity}",
                expected="one file",
                fix=RIGHTS,
            )
        os.replace(files[0], part)
        shutil.rmtree(work)
    finally:
        with contextlib.suppress(OSError):  # it is gone, or holds something to go on with
            work.rmdir()


def _bytes_in(folder: Path) -> int:
    return sum(size_of(path) for path in folder.glob("*"))


def _told(entity: str) -> dict[str, str]:
    """Return what ``synapse show`` tells: one ``name=value`` a line, up to the annotations."""
    text = with_retries(lambda: run(["show", entity])).partition("\nannotations:")[0]
    found = dict(re.findall(r"^  (\w+)=(.*)$", text, flags=re.MULTILINE))
    if missing := {"concreteType", "name"} - set(found):
        raise ScswError(
            f"`synapse show {entity}` did not tell {' and '.join(sorted(missing))}",
            expected="the output of the version in envs/fetch.txt",
            fix="install that version",
        )
    return found


def _children(entity: str) -> list[str]:
    """Return the ids of a folder's files: lines ``syn12  name``, deeper ones indented more."""
    text = with_retries(lambda: run(["list", entity]))
    lines = re.findall(r"^(syn\d+)  (\S.*)$", text, flags=re.MULTILINE)
    for child, name in lines:
        if name.endswith("/"):
            print(f"{entity}: the folder {name} in it ({child}) is left out", file=sys.stderr)
    files = [child for child, name in lines if not name.endswith("/")]
    if not files:
        raise ScswError(f"the Synapse folder {entity} holds no file that you may see", fix=RIGHTS)
    return files
