"""Leng 2021, entorhinal cortex and superior frontal gyrus, with the authors' own columns (h5ad).

Copies from CELLxGENE hold these columns too; they are read as CELLxGENE's, Braak stage and all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_types import LENG_2021_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import cell_fields, donor_fields
from scsw.cohort.find_counts import choose_counts
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import open_h5ad
from scsw.cohort.h5ad_genes import genes_of_h5ad
from scsw.cohort.readers import cellxgene
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble

CANDIDATES = {
    "donor_id": ("donor_id", "PatientID"),
    "cell_type": ("clusterCellType",),
    "supertype": ("clusterAssignment",),
    "sample": ("SampleID",),
    "batch": ("SampleID",),
    "sex": ("sex", "Sex"),
    "age_death": ("age", "Age"),
    "pmi": ("PMI",),
    "apoe_genotype": (),
    "braak": ("BraakStage",),
}
CARRIED = ("SampleID",)

SEX = {"female": "female", "male": "male", "F": "female", "M": "male"}
# Samples are named by region and donor: EC1, SFG10.
REGIONS = {"EC": "entorhinal cortex", "SFG": "superior frontal gyrus"}
ADVICE = "name the matrix that holds the raw counts with --counts"

TITLE = "Leng et al. 2021"
LAYOUT = "an h5ad file with obs columns 'BraakStage' and 'clusterCellType' (Leng 2021)"


def recognise(seen: Glimpse) -> str | None:
    """Say how a file shows that it is this one, or return None; CELLxGENE's copies are not."""
    if not {"BraakStage", "clusterCellType"} <= seen.obs or cellxgene.recognise(seen):
        return None
    return "its obs has the columns 'BraakStage' and 'clusterCellType'"


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the file to open."""
    return [str(path)]


def read(request: Request) -> SourceCohort:
    """Read a file with the authors' columns.

    Raises
    ------
    ScswError
        If the file does not have this layout.
    """
    key = choose_counts(request.path, request.counts)
    with open_h5ad(request.path) as file:
        found = Columns.of_h5ad(file, CANDIDATES, request, CARRIED)
        found.need("donor_id")
        found.need("cell_type")
        found.need("braak")
        genes = genes_of_h5ad(file, key)
    counts = h5ad_matrix(request.path, key, f"{key} of {request.path}", ADVICE)
    return assemble(counts, genes, _coded(found), found, [request.path])


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    return {
        **cell_fields(found),
        **donor_fields(found, SEX),
        "braak": found.decoded("braak", coding.braak, -1, "0 to 6"),
        "cell_type": cell_type,
        "cell_class": classes(cell_type, LENG_2021_CLASSES),
        "region": coding.mapped(found.text("sample"), _region),
    }


def _region(sample: str) -> str:
    match = re.match(r"(EC|SFG)\d", sample)
    return REGIONS[match.group(1)] if match else ""
