"""Which place an address names, and which files a cohort of the config fetches.

Nothing heavy is imported here: the workflow reads it each time it is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath
from typing import Any

from scsw.errors import ScswError

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_PLACES = {
    "s3": r"s3://[^/\s]+/.+",
    "cellxgene": rf"(?:cellxgene:)?{_UUID}",
    "synapse": r"syn\d+(?:\.\d+)?",
}


def place(address: str) -> str:
    """Return where an address leads: ``s3``, ``cellxgene`` or ``synapse``.

    Raises
    ------
    ScswError
        If it has none of the known forms.
    """
    for name, form in _PLACES.items():
        if re.fullmatch(form, address):
            return name
    raise ScswError(
        f"{address!r} is no address that can be fetched",
        expected="s3://<bucket>/<key>, the id of a CELLxGENE dataset (cellxgene:<uuid>), or a "
        "Synapse id (syn<number>)",
        fix="download other files yourself and give their path",
    )


def fetched_files(cohort: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that a cohort of the config fetches, and the address of each.

    Parameters
    ----------
    cohort
        Entry of ``cohorts``. ``fetch`` is one address, whose file goes to ``path``, or a mapping
        of file names to addresses, whose files go into the folder ``path``.

    Returns
    -------
    dict
        Path to address; empty where nothing is fetched.

    Raises
    ------
    ScswError
        If an address has no known form, a file would lie outside ``path``, or the cohort is to be
        simulated as well.
    """
    wanted = cohort.get("fetch")
    if not wanted:
        return {}
    if "simulate" in cohort:
        raise ScswError(
            f"the cohort {cohort.get('name', '')} has both `fetch` and `simulate`",
            expected="one of them",
        )
    if isinstance(wanted, str):
        files = {str(cohort["path"]): wanted}
    else:
        files = {str(PurePath(cohort["path"], name)): wanted[name] for name in wanted}
        for name in wanted:
            _check_inside(name)
    for address in files.values():
        place(address)
    return files


def _check_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ScswError(
            f"`fetch` names the file {name!r}", expected="a name inside the cohort's `path`"
        )
