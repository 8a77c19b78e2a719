"""Files that scsw ships: the gene table, gene sets, the example input."""

from __future__ import annotations

from pathlib import Path

from scsw.errors import ScswError

_BESIDE_PACKAGE = Path(__file__).with_name("resources")  # in an installed wheel
_IN_REPOSITORY = Path(__file__).parents[1] / "resources"


def resource(name: str) -> Path:
    """Return the path of a shipped file, such as ``"genes.csv.gz"``.

    Raises
    ------
    ScswError
        If the installation lacks the file.
    """
    for folder in (_BESIDE_PACKAGE, _IN_REPOSITORY):
        if (folder / name).exists():
            return folder / name
    raise ScswError(
        f"the file {name} that scsw ships is missing",
        expected=f"{_BESIDE_PACKAGE / name} or {_IN_REPOSITORY / name}",
        fix="install scsw again",
    )
