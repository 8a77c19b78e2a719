"""Cells of a spatial file, cut to the genes that a model and its cohort know, and their places."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem
from scipy import sparse

from scsw.cohort.h5ad import members, open_h5ad, read_columns
from scsw.cohort.read import plain_texts, read_rows
from scsw.cohort.sampling import cap_at_random
from scsw.errors import ScswError

DEPTH = "source:Normalized depth from pia"
UPRIGHT = "spatial"  # places in the section turned upright
BY_DEPTH = "normalised depth from pia"
BY_HEIGHT = "height in the upright section, from 0 to 1"
NOWHERE = "the file tells neither depth nor places in upright sections"


def read_tissue(
    path: str | Path, *, without: Collection[str], max_cells_per_donor: int | None
) -> tuple[AnnData, str]:
    """Read cells of a ``spatial.h5ad``.

    Parameters
    ----------
    path
        The file that `scsw preprocess` wrote from a spatial source.
    without
        Donors to leave out.
    max_cells_per_donor
        Cap of the cells of one donor, drawn at random by name.

    Returns
    -------
    cells
        Raw counts (CSR); ``obs`` has ``section`` and ``position`` (float; NaN where unknown).
    axis
        What `position` is, in words: the source's depth where it has one, otherwise the height.

    Raises
    ------
    ScswError
        If the file is no spatial one.
    """
    with open_h5ad(path) as file:
        if "uns/scsw" not in file or not members(file, "obsm"):
            raise ScswError(
                f"{path} is no spatial file that scsw has preprocessed",
                expected="spatial.h5ad, as `scsw preprocess` writes it for SEA-AD's MERFISH",
                fix="run `scsw preprocess` on the spatial source first",
            )
        obs = plain_texts(read_columns(file, "obs"))
        obs["section"] = obs["batch"].astype(str)
        places = np.asarray(read_elem(file["obsm"][UPRIGHT])) if UPRIGHT in file["obsm"] else None
        obs["position"], axis = position(obs, places)
        rows = np.flatnonzero(~obs["donor_id"].astype(str).isin(without).to_numpy())
        if max_cells_per_donor is not None:
            rows = rows[cap_at_random(obs.iloc[rows], max_cells_per_donor, seed=0)]
        counts = sparse.csr_matrix((0, file["X"].attrs["shape"][1]), dtype=np.int32)
        if len(rows):
            counts = read_rows(file["X"], rows)
        var = read_columns(file, "var")
    obs = obs.iloc[rows]
    order = np.argsort(obs["cell_id"].to_numpy(str), kind="stable")
    return AnnData(counts[order], obs.iloc[order], var), axis


def position(obs: pd.DataFrame, places: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Return where each cell lies along the depth of the tissue, and what that number is.

    Parameters
    ----------
    obs
        ``section``, and `DEPTH` where the source gives it: only annotated strips of cortex have it.
    places
        Coordinates in the sections turned upright, cells × 2 or 3; their second axis is the height,
        scaled to 0 to 1 in each section.
    """
    if DEPTH in obs:
        depth = pd.to_numeric(obs[DEPTH].astype(str), errors="coerce").to_numpy(float)
        if np.isfinite(depth).any():
            return depth, BY_DEPTH
    if places is None:
        return np.full(len(obs), np.nan), NOWHERE
    height = pd.Series(places[:, 1], dtype=float)
    of_section = height.groupby(obs["section"].to_numpy())
    low, high = of_section.transform("min"), of_section.transform("max")
    return ((height - low) / (high - low).where(high > low)).to_numpy(), BY_HEIGHT


def shared_genes(*symbols: Collection[str]) -> list[str]:
    """Return the genes that all name, sorted."""
    return sorted(set.intersection(*[set(names) for names in symbols]))


def cut(cells: AnnData, genes: Sequence[str], vocabulary: Mapping[str, int]) -> AnnData:
    """Cut cells to some genes, with the model's token ids; cells without any count are dropped."""
    place = {symbol: column for column, symbol in enumerate(cells.var["symbol"].astype(str))}
    counts = cells.X[:, [place[gene] for gene in genes]].tocsr()
    counts.sort_indices()
    kept = np.flatnonzero(np.diff(counts.indptr))
    tokens = [vocabulary[gene] for gene in genes]
    var = pd.DataFrame({"symbol": list(genes), "token_id": tokens}, index=list(genes))
    return AnnData(counts[kept], cells.obs.iloc[kept], var)
