"""Files in CELLxGENE layout (schema 7): HCA, re-releases of SEA-AD, and many others.

Raw counts stand in ``raw.X``, or in ``X`` where no normalised matrix exists. Submissions name
terms by ontology id, the portal adds plain names; either is read. Disease stages are no part of
the layout; they are read where the authors' own columns hold them: those of the SEA-AD
re-releases and of Leng 2021. So are cell types, where the ontology's names are coarser: it knows
four of SEA-AD's intratelencephalic subclasses by one name, and all neurons of Siletti 2023.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_types import SEA_AD_CLASSES, SILETTI_2023_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import TRUTH, cell_fields, donor_fields
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import column_names, open_h5ad
from scsw.cohort.h5ad_genes import genes_of_h5ad
from scsw.cohort.readers import sea_ad
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.errors import ScswError

CANDIDATES = {
    "donor_id": ("donor_id",),
    "cell_type": (
        "author_cell_type",
        "Subclass",  # of SEA-AD
        "supercluster_term",  # of Siletti 2023
        "cell_type",
        "cell_type_ontology_term_id",
    ),
    "cell_type_name": ("cell_type", "cell_type_ontology_term_id"),
    "supertype": ("Supertype",),
    "region": ("tissue", "tissue_ontology_term_id"),
    "sex": ("sex", "sex_ontology_term_id"),
    "age_death": (),  # in classes where the re-releases give it
    "development_stage": ("development_stage",),
    "pmi": (),  # likewise
    "apoe_genotype": ("APOE Genotype",),
    "braak": ("Braak stage", "BraakStage"),  # of SEA-AD; of Leng 2021
    "thal": ("Thal phase",),
    "cerad": ("CERAD score",),
    "adnc": ("ADNC",),
    "cognition": ("Cognitive status",),
    "cps": ("Continuous Pseudo-progression Score",),
    "is_reference": ("Neurotypical reference",),
    "doublet_score": (),
    "pct_mito": ("pct_counts_mt",),
    "assay": ("assay", "assay_ontology_term_id"),
    "batch": (),
    "dataset": ("dataset_id",),  # of the Census
    "is_primary": ("is_primary_data",),
}
CARRIED = (
    "disease",
    "disease_ontology_term_id",
    "cell_type",
    "cell_type_ontology_term_id",
    "suspension_type",
)

SEX = {
    "female": "female",
    "male": "male",
    "PATO:0000383": "female",
    "PATO:0000384": "male",
}
CLASSES = {**SEA_AD_CLASSES, **SILETTI_2023_CLASSES}
# The schema's words for cells of no single known donor.
NO_DONOR = ("unknown", "na", "pooled")

ADVICE = (
    "CELLxGENE keeps raw counts in raw.X, or in X where nothing is normalised: "
    "store the raw counts there"
)


TITLE = "CELLxGENE"
LAYOUT = "an h5ad file in CELLxGENE layout, with obs columns 'donor_id' and 'suspension_type'"
_MARKS = {"suspension_type", "is_primary_data", "tissue_type", "cell_type_ontology_term_id"}


def recognise(seen: Glimpse) -> str | None:
    """Say how a file shows that it has this layout, or return None."""
    marks = sorted(seen.obs & _MARKS)
    if "donor_id" in seen.obs and marks:
        return f"its obs has the columns 'donor_id' and {marks[0]!r}"
    if "donor_id" in seen.var and "donor_id" not in seen.obs:
        return "its var has the column 'donor_id'"  # the wrong way round; `read` says so
    return None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the file to open."""
    return [str(path)]


def read(request: Request) -> SourceCohort:
    """Read a file in CELLxGENE layout.

    Raises
    ------
    ScswError
        If the file does not have this layout.
    """
    with open_h5ad(request.path) as file:
        _refuse_swapped(file)
        found = Columns.of_h5ad(file, CANDIDATES, request, CARRIED)
        found.need("donor_id")
        found.need("cell_type")
        key = request.counts or ("raw/X" if "raw" in file else "X")
        genes = genes_of_h5ad(file, key)
    where = f"{key.replace('raw/X', 'raw.X')} of {request.path}"
    counts = h5ad_matrix(request.path, key, where, ADVICE)
    coded = _coded(found, request.columns)
    return assemble(counts, genes, coded, found, [request.path], _copies(found))


def _coded(found: Columns, named: Mapping[str, str]) -> dict[str, pd.Series]:
    cell_type = sea_ad.subclass(found.text("cell_type"))
    coded = {
        **cell_fields(found),
        **donor_fields(found, SEX, sea_ad.REFERENCE),
        **sea_ad.neuropathology(found),
        "cell_type": cell_type,
        "cell_class": classes(cell_type, CLASSES, (found.text("cell_type_name"), {})),
        "pct_mito": found.decoded("pct_mito", coding.number(0, 100), np.nan, "0 to 100"),
    }
    coded["donor_id"] = coding.mapped(
        coded["donor_id"], lambda name: "" if name.casefold() in NO_DONOR else name
    )
    return coded if "age_death" in named else coded | _age(found)


def _copies(found: Columns) -> dict[str, np.ndarray]:
    """Tell the nuclei of a slice of the Census that it may hold twice.

    Many nuclei stand in several datasets, and only one of them calls each its own. A file of one
    dataset holds none twice, whatever it calls its own.
    """
    own = found.decoded("is_primary", coding.choice(TRUTH), True, "True or False").to_numpy(bool)
    is_slice = found.text("dataset").nunique() > 1 and own.any()
    return {"not_primary_data": ~own} if is_slice else {}


def _age(found: Columns) -> dict[str, pd.Series]:
    """Read the age at sampling, which for brain donors is the age at death.

    The portal writes it as a stage ("84-year-old stage", "80 year-old and over stage"); a stage
    of another kind, such as "adult stage", tells no age. Ontology ids alone are not read.
    """
    stage = found.text("development_stage")
    return {
        "age_death": coding.mapped(stage, _years_of_stage).astype(float),
        "age_censored": coding.mapped(stage, lambda name: "year-old and over" in name),
    }


def _years_of_stage(stage: str) -> float:
    match = re.match(r"(\d+)[ -]year-old\b", stage)
    return float(match.group(1)) if match else np.nan


def _refuse_swapped(file: h5py.File) -> None:
    obs, var = column_names(file, "obs"), column_names(file, "var")
    if "donor_id" in var and "donor_id" not in obs:
        raise ScswError(
            f"{file.filename} has its cells in var and its genes in obs",
            expected="cells × genes",
            fix="transpose it: adata.T.write_h5ad(...)",
        )
