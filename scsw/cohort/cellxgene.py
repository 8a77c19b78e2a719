"""Files in CELLxGENE layout (schema 7): HCA, re-releases of SEA-AD, and many others.

Raw counts stand in ``raw.X``, or in ``X`` where no normalised matrix exists. Submissions name
terms by ontology id, the portal adds plain names; either is read. Disease stages are no part of
the layout; they are read where the authors' own columns of the SEA-AD re-releases hold them.
"""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np
import pandas as pd

from scsw.cohort import coding, sea_ad
from scsw.cohort.cell_types import classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import cell_fields, donor_fields
from scsw.cohort.genes import gene_frame, without_version
from scsw.cohort.h5ad import open_h5ad, read_frame, read_matrix
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.errors import ScswError

CANDIDATES = {
    "donor_id": ("donor_id",),
    "cell_type": ("author_cell_type", "cell_type", "cell_type_ontology_term_id"),
    "cell_type_name": ("cell_type", "cell_type_ontology_term_id"),
    "supertype": ("Supertype",),
    "region": ("tissue", "tissue_ontology_term_id"),
    "sex": ("sex", "sex_ontology_term_id"),
    "age_death": (),  # in classes where the re-releases give it
    "development_stage": ("development_stage",),
    "pmi": (),  # likewise
    "apoe_genotype": ("APOE Genotype",),
    "braak": ("Braak stage",),
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
}
CARRIED = ("disease", "disease_ontology_term_id", "cell_type_ontology_term_id", "suspension_type")

SEX = {
    "female": "female",
    "male": "male",
    "PATO:0000383": "female",
    "PATO:0000384": "male",
}
# The schema's words for cells of no single known donor.
NO_DONOR = ("unknown", "na", "pooled")

ADVICE = (
    "CELLxGENE keeps raw counts in raw.X, or in X where nothing is normalised: "
    "store the raw counts there"
)


def read(path: str, columns: dict[str, str] | None = None) -> SourceCohort:
    """Read a file in CELLxGENE layout.

    Parameters
    ----------
    path
        The h5ad file.
    columns
        Column names in place of `CANDIDATES`.

    Raises
    ------
    ScswError
        If the file does not have this layout.
    """
    with open_h5ad(path) as file:
        obs, var = read_frame(file, "obs"), read_frame(file, "var")
        found = Columns(obs, CANDIDATES, columns, f"obs of {path}", CARRIED)
        _refuse_swapped(obs, var, path)
        found.need("donor_id")
        found.need("cell_type")
        matrix, genes, where = _counts_and_genes(file, var)
    return assemble(matrix, genes, _coded(found), found, where=where, advice=ADVICE)


def _counts_and_genes(file: h5py.File, var: pd.DataFrame) -> tuple[Any, pd.DataFrame, str]:
    """Read the raw counts and the names of their genes; those of ``raw`` may be more."""
    has_raw = "raw" in file
    raw_var = read_frame(file, "raw/var") if has_raw else var
    key, name = ("raw/X", "raw.X") if has_raw else ("X", "X")
    ids = without_version(pd.Series(raw_var.index, dtype=object))
    if not ids.str.startswith("ENSG").any():
        raise ScswError(
            f"no gene of {file.filename} is named by a human Ensembl id; the first names are "
            + ", ".join(ids[:3]),
            expected="Ensembl ids as the index of var",
        )
    symbols = raw_var.get("feature_name")
    if symbols is None and "feature_name" in var:
        symbols = var["feature_name"][~var.index.duplicated()].reindex(raw_var.index)
    where = f"{name} of {file.filename}"
    return read_matrix(file, key), gene_frame(symbols, ids, f"var of {file.filename}"), where


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    coded = {
        **cell_fields(found),
        **donor_fields(found, SEX, sea_ad.REFERENCE),
        **sea_ad.neuropathology(found),
        "cell_type": cell_type,
        "cell_class": classes(cell_type, {}, (found.text("cell_type_name"), {})),
        "pct_mito": found.decoded("pct_mito", coding.number(0, 100), np.nan, "0 to 100"),
    }
    pooled = coded["donor_id"].str.casefold().isin(NO_DONOR)
    coded["donor_id"] = coded["donor_id"].mask(pooled, "")
    return coded if found.name("age_death") else coded | _age(found)


def _age(found: Columns) -> dict[str, pd.Series]:
    """Read the age at sampling, which for brain donors is the age at death.

    The portal writes it as a stage ("84-year-old stage", "80 year-old and over stage"); a stage
    of another kind, such as "adult stage", tells no age. Ontology ids alone are not read.
    """
    stage = found.text("development_stage")
    years = {name: _years_of_stage(name) for name in stage.unique()}
    return {
        "age_death": stage.map(years).astype(float),
        "age_censored": stage.str.contains("year-old and over", regex=False),
    }


def _years_of_stage(stage: str) -> float:
    match = re.match(r"(\d+)[ -]year-old\b", stage)
    return float(match.group(1)) if match else np.nan


def _refuse_swapped(obs: pd.DataFrame, var: pd.DataFrame, path: str) -> None:
    if "donor_id" in var and "donor_id" not in obs:
        raise ScswError(
            f"{path} has its cells in var and its genes in obs",
            expected="cells × genes",
            fix="transpose it: adata.T.write_h5ad(...)",
        )
