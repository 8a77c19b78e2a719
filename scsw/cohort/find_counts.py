"""Which matrices of an HDF5 file hold raw counts, told from their first values."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from scsw.cohort.counts import whole_counts
from scsw.cohort.h5ad import DAMAGE, members, needs_plugin, open_h5ad, unreadable
from scsw.errors import ScswError

# Layers that hold all counts (`matrix` is velocyto's name of them), and such as hold a part.
_NAMES = ("counts", "raw_counts", "count", "raw", "umis", "umi", "umi_counts", "matrix")
_PARTS = ("spliced", "unspliced", "ambiguous")
_UNKNOWN = (3,)  # the rank of layers of other names
_SAMPLE = 1 << 18  # values: some dozens of nuclei
_LINES = 16  # of a dense matrix at least, since one cell alone might express nothing


def find_counts(path: str | Path) -> list[str]:
    """Return the matrices of a file whose first values are whole numbers, the likeliest first.

    Parameters
    ----------
    path
        An h5ad or loom file.

    Returns
    -------
    list of str
        Names such as ``raw/X``, ``layers/counts``, ``X`` or, in a loom file, ``matrix``.

    Raises
    ------
    ScswError
        If the file is missing or is no HDF5 file.
    """
    return [key for key, flaw in _flaws(path).items() if not flaw]


def choose_counts(path: str | Path, asked: str | None = None) -> str:
    """Return the matrix that holds a file's raw counts.

    Parameters
    ----------
    path
        An h5ad or loom file.
    asked
        The user's choice; it is taken as it is.

    Raises
    ------
    ScswError
        If no matrix holds whole numbers: all are listed, each with what it holds; or if none of
        those that do is known to hold all counts and not a part of them.
    """
    if asked:
        return asked
    flaws = _flaws(path)
    whole = [key for key, flaw in flaws.items() if not flaw]
    total = [key for key in whole if not _is_part(key)]
    if total and (len(total) == 1 or _rank(total[0]) < _UNKNOWN):
        return total[0]
    if whole:
        raise ScswError(
            f"{path} has whole numbers in {', '.join(whole)} only, and none of these is known to "
            "hold all counts",
            expected="raw counts in raw.X, X or a layer named counts",
            fix="name the matrix of all counts with --counts (in the config: `counts:`); "
            "`spliced`, `unspliced` and `ambiguous` are its parts: write their sum into a layer",
        )
    listed = "; ".join(f"{key} holds {flaw}" for key, flaw in flaws.items())
    raise ScswError(
        f"no matrix of {path} holds whole numbers" + (f": {listed}" if listed else "; it has none"),
        expected="raw counts in raw.X, a layer or X",
        fix="use a file that still holds the raw counts; normalised values cannot be turned back",
    )


def better_counts(path: str | Path, key: str) -> str:
    """Say in one clause which other matrix of a file holds whole numbers; "" if none does."""
    others = [name for name in find_counts(path) if name != key and not _is_part(name)]
    if not others:
        return ""
    return f"{others[0]} of this file holds whole numbers: name it with --counts {others[0]}"


def _flaws(path: str | Path) -> dict[str, str]:
    """Return what speaks against each matrix being raw counts; "" where nothing does."""
    with open_h5ad(path) as file:
        return {key: _flaw(file, key) for key in sorted(_matrices(file), key=_rank)}


def _matrices(file: h5py.File) -> list[str]:
    layers = [f"layers/{name}" for name in members(file, "layers")]
    return [key for key in ("raw/X", "X", "matrix") if key in file] + layers


def _rank(key: str) -> tuple[int, int, str]:
    """Order the matrices by how likely they are to hold all raw counts."""
    name = key.removeprefix("layers/").casefold()
    if key.startswith("layers/") and name in _NAMES:
        return 1, _NAMES.index(name), key
    return {"raw/X": 0, "X": 2, "matrix": 2}.get(key, _UNKNOWN[0]), 0, key


def _is_part(key: str) -> bool:
    return key.removeprefix("layers/").casefold() in _PARTS


def _flaw(file: h5py.File, key: str) -> str:
    try:
        values = _first_values(file[key], genes_first=key == "matrix" or "matrix" in file)
        if not values.any():
            return "nothing but zeros"
        whole_counts(values.reshape(1, -1), key, "")
    except ScswError as error:
        return error.found.removeprefix(f"{key} holds ")
    except DAMAGE as error:
        if needs_plugin(error):
            raise unreadable(f"{key} of {file.filename}", error) from error
        return f"what cannot be read ({error})"
    return ""


def _first_values(stored: h5py.Dataset | h5py.Group, genes_first: bool) -> np.ndarray:
    """Read stored values of the first cells (of the first genes, if sorted by gene)."""
    if isinstance(stored, h5py.Group):
        return stored["data"][:_SAMPLE]
    n_genes = stored.shape[0 if genes_first else 1]
    n_cells = max(_LINES, _SAMPLE // max(n_genes, 1))
    return stored[:, :n_cells] if genes_first else stored[:n_cells]
