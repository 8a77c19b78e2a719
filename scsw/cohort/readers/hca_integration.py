"""Integration files of the Human Cell Atlas (h5ad): many studies, annotated in levels.

Cell types stand in ``ann_level_1`` (coarse) to ``ann_level_5`` (fine). Finer levels are often
empty, so the finest one that names at least `WELL_FILLED` of the cells is taken as the cell type;
cells without a name on it have no cell type. Each cell's finest name, whatever its level, is its
supertype, and the coarser levels help to tell its class. Raw counts stand where they hold whole
numbers: ``raw.X``, a layer or ``X``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_types import classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import cell_fields, donor_fields
from scsw.cohort.find_counts import choose_counts
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import column_names, open_h5ad, read_columns
from scsw.cohort.h5ad_genes import genes_of_h5ad
from scsw.cohort.readers import cellxgene, sea_ad
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble

CANDIDATES = {
    "donor_id": ("subject_ID", "donor_id"),
    "region": ("tissue", "anatomical_region_level_1", "organ"),
    "sex": ("sex",),
    "age_death": ("age",),  # at sampling, which for brain donors is at death
    "pmi": (),
    "apoe_genotype": (),
    "braak": (),
    "thal": (),
    "cerad": (),
    "adnc": (),
    "cognition": (),
    "cps": (),
    "is_reference": (),
    "doublet_score": (),
    "assay": ("assay", "single_cell_platform"),
    "batch": ("sample",),
    "study": ("study",),
}
CARRIED = ("disease_condition",)

SEX = {**cellxgene.SEX, "f": "female", "m": "male"}
WELL_FILLED = 0.8
_NOT_NAMED = coding.MISSING_TEXTS | {"none"}

ADVICE = "use the integration file with the raw counts"

TITLE = "Human Cell Atlas (integration files)"
LAYOUT = "an h5ad file with obs columns 'subject_ID' and 'ann_level_1'"


def recognise(seen: Glimpse) -> str | None:
    """Say how a file shows that it has this layout, or return None."""
    if {"subject_ID", "ann_level_1"} <= seen.obs and not cellxgene.recognise(seen):
        return "its obs has the columns 'subject_ID' and 'ann_level_1'"
    return None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the file to open."""
    return [str(path)]


def read(request: Request) -> SourceCohort:
    """Read an integration file.

    Raises
    ------
    ScswError
        If the file does not have this layout, or holds no raw counts.
    """
    with open_h5ad(request.path) as file:
        levels = _levels(file)
        shares = {name: _share_named(level) for name, level in levels.items()}
        chosen = _finest_filled(shares)
        candidates = CANDIDATES | {"cell_type": tuple(chosen), "supertype": ()}
        found = Columns.of_h5ad(file, candidates, request, (*CARRIED, *levels))
        found.need("donor_id")
        found.need("cell_type")
        key = choose_counts(request.path, request.counts)
        genes = genes_of_h5ad(file, key)
    counts = h5ad_matrix(request.path, key, f"{key} of {request.path}", ADVICE)
    coded = _coded(found, list(levels.values()))
    cohort = assemble(counts, genes, coded, found, [request.path])
    if found.name("cell_type") in chosen:
        cohort.warnings.append(
            f"Cell types are those of {chosen[0]}, which names {shares[chosen[0]]:.0%} of the "
            f"cells; the finest level that names {WELL_FILLED:.0%} is taken."
        )
    return cohort


def _levels(file: h5py.File) -> dict[str, pd.Series]:
    """Read the levels of annotation, from coarse to fine; "" where a cell has no name."""
    numbers = {
        name: int(level[1])
        for name in column_names(file, "obs")
        if (level := re.fullmatch(r"ann_level_(\d+)", name))
    }
    table = read_columns(file, "obs", numbers)
    return {name: _names(table[name]) for name in sorted(numbers, key=numbers.__getitem__)}


def _names(column: pd.Series) -> pd.Series:
    return coding.mapped(column, lambda name: "" if name.casefold() in _NOT_NAMED else name)


def _share_named(level: pd.Series) -> float:
    return float((level != "").mean()) if len(level) else 0.0


def _finest_filled(shares: Mapping[str, float]) -> list[str]:
    """Return the finest level that is filled well, else the fullest one; none if there is none."""
    filled = [name for name, share in shares.items() if share >= WELL_FILLED]
    return filled[-1:] or sorted(shares, key=shares.__getitem__)[-1:]


def _coded(found: Columns, levels: Sequence[pd.Series]) -> dict[str, pd.Series]:
    cell_type = _names(found.text("cell_type"))
    coarser = [(level, {}) for level in reversed(levels)]
    coded = {
        **cell_fields(found),
        **donor_fields(found, SEX),
        **sea_ad.neuropathology(found),
        "cell_type": cell_type,
        "cell_class": classes(cell_type, {}, *coarser),
    }
    if found.name("supertype") is None and levels:
        coded["supertype"] = _finest_name(levels)
    return coded


def _finest_name(levels: Sequence[pd.Series]) -> pd.Series:
    """Return each cell's name on the finest level that has one; categorical."""
    names = pd.Index(sorted({"", *(name for level in levels for name in level.cat.categories)}))
    finest = np.zeros(len(levels[0]), np.int32)  # the first name is ""
    for level in levels:
        own = names.get_indexer(level.cat.categories)[level.cat.codes]
        finest = np.where(own > 0, own, finest)
    return pd.Series(pd.Categorical.from_codes(finest, names), index=levels[0].index)
