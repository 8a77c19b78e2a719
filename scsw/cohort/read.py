"""Reading a preprocessed cohort in later steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from scsw.cohort.h5ad import open_h5ad, read_columns
from scsw.cohort.harmonise import CODINGS, ORIGINAL, SPLITS
from scsw.cohort.sampling import cap_at_random
from scsw.errors import ScswError

# Rows read at once: bounds what is held beside the chosen cells.
_BLOCK = 50_000


def read_cohort(
    path: str | Path,
    splits: Iterable[str] | None = None,
    max_cells_per_donor: int | None = None,
) -> AnnData:
    """Read the cells of some splits of a ``cohort.h5ad``.

    Parameters
    ----------
    path
        The file that `preprocess` wrote.
    splits
        Splits to read; all by default.
    max_cells_per_donor
        Cap per donor and call; which cells are drawn depends on their names alone.

    Returns
    -------
    anndata.AnnData
        Raw counts (CSR, int32), rows sorted by ``cell_id``; texts of ``obs`` are plain strings.

    Raises
    ------
    ScswError
        If the file is no scsw cohort, a split is unknown, or no cell is left.
    """
    wanted = list(SPLITS) if splits is None else list(splits)
    unknown = sorted(set(wanted) - set(SPLITS))
    if unknown:
        raise ScswError(f"no such split: {', '.join(unknown)}", expected=", ".join(SPLITS))
    with open_h5ad(path) as file:
        facts = _facts(file)
        obs = plain_texts(read_columns(file, "obs"))
        rows = np.flatnonzero(obs["split"].isin(wanted))
        if max_cells_per_donor is not None:
            rows = rows[cap_at_random(obs.iloc[rows], max_cells_per_donor, seed=0)]
        if not len(rows):
            raise ScswError(
                f"{path} has no cell in {', '.join(wanted)}",
                fix="give these splits a share in the config's section `preprocess`",
            )
        counts, var = read_rows(file["X"], rows), read_columns(file, "var")
    obs = obs.iloc[rows]
    order = np.argsort(obs["cell_id"].to_numpy(str), kind="stable")
    return AnnData(X=counts[order], obs=obs.iloc[order], var=var, uns={"scsw": facts})


def cohort_facts(path: str | Path) -> dict[str, Any]:
    """Return ``uns["scsw"]`` of a cohort without reading its counts.

    Returns
    -------
    dict
        ``cohort, source, vocabulary_sha256, vocabulary_source, split_unit`` (str), ``simulated``
        (bool), ``warnings`` (list of str), ``n_donors`` (int).

    Raises
    ------
    ScswError
        If the file is no scsw cohort.
    """
    with open_h5ad(path) as file:
        return _facts(file)


def _facts(file: h5py.File) -> dict[str, Any]:
    if "uns/scsw" not in file or "X" not in file or "obs" not in file:
        raise ScswError(
            f"{file.filename} is not a cohort that scsw has preprocessed",
            expected="cohort.h5ad, as `scsw preprocess` writes it",
            fix="run `scsw preprocess` on the source first",
        )
    facts = read_elem(file["uns/scsw"])
    if why := str(facts.get("not_for_training", "")):
        raise ScswError(
            f"{file.filename} is no cohort to fine-tune on: {why}",
            expected="cohort.h5ad of a source of whole transcriptomes",
        )
    absent = [name for name in ("simulated", "warnings", "n_donors") if name not in facts]
    if absent:
        raise ScswError(
            f"{file.filename} lacks {', '.join(absent)} in uns['scsw']",
            fix="run `scsw preprocess` with this release again",
        )
    return {
        **{name: str(value) for name, value in facts.items()},
        "simulated": bool(facts["simulated"]),
        "warnings": [str(sentence) for sentence in facts["warnings"]],
        "n_donors": int(facts["n_donors"]),
    }


def plain_texts(obs: pd.DataFrame) -> pd.DataFrame:
    """Make plain strings of the texts of ``obs``, in place, and return it."""
    for name in obs.columns:
        is_shared_text = name in CODINGS and CODINGS[name].dtype == "str"
        if is_shared_text or (name.startswith(ORIGINAL) and obs[name].dtype == "category"):
            obs[name] = obs[name].astype(str).astype(object)
    return obs


def read_rows(group: h5py.Group, rows: np.ndarray) -> sparse.csr_matrix:
    """Read the given rows (ascending) block by block."""
    stored = sparse_dataset(group)
    blocks = []
    for start in range(0, stored.shape[0], _BLOCK):
        chosen = rows[(rows >= start) & (rows < start + _BLOCK)] - start
        if len(chosen):
            blocks.append(sparse.csr_matrix(stored[start : start + _BLOCK])[chosen])
    return sparse.vstack(blocks, format="csr")
