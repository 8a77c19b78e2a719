"""SEA-AD single-nucleus files of the Allen Institute (h5ad).

Raw counts stand in ``layers["UMIs"]``; ``X`` is ln(UP10K + 1). Names of ``obs`` are as in the
public files. APOE is a genotype in files from 2024-02 on and a yes or no for the e4 allele
before; the latter tells no genotype and is carried as an original only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_types import SEA_AD_ALIASES, SEA_AD_BROAD, SEA_AD_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import TRUTH, cell_fields, donor_fields
from scsw.cohort.genes import gene_frame
from scsw.cohort.h5ad import members, open_h5ad, read_frame, read_matrix
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.errors import ScswError

CANDIDATES = {
    "donor_id": ("Donor ID",),
    "cell_type": ("Subclass",),
    "broad_class": ("Class",),
    "supertype": ("Supertype",),
    "region": ("Brain Region",),
    "sex": ("Sex",),
    "age_death": ("Age at Death",),
    "pmi": ("PMI",),
    "apoe_genotype": ("APOE Genotype",),
    "braak": ("Braak",),
    "thal": ("Thal",),
    "cerad": ("CERAD score",),
    "adnc": ("Overall AD neuropathological Change",),
    "cognition": ("Cognitive Status",),
    "cps": ("Continuous Pseudo-progression Score",),
    "is_reference": ("Neurotypical reference",),
    "used": ("Used in analysis",),
    "doublet_score": ("Doublet score",),
    "mito_fraction": ("Fraction mitochondrial UMIs",),
    "assay": ("method",),
    "batch": ("library_prep",),
}
CARRIED = ("APOE4 Status", "LATE", "Severely Affected Donor", "Last MMSE Score")

ADNC = {"Not AD": 0, "Low": 1, "Intermediate": 2, "High": 3}
CERAD = {"Absent": 0, "Sparse": 1, "Moderate": 2, "Frequent": 3}
# Whole texts only: "dementia" is a part of both.
COGNITION = {"No dementia": 0, "Dementia": 2}
SEX = {"Female": "female", "Male": "male"}
REFERENCE = ("Reference",)  # in place of a stage, for neurotypical reference donors

ADVICE = "SEA-AD keeps raw counts in layers['UMIs'] and ln(UP10K + 1) in X: use the released file"


def read(path: str, columns: dict[str, str] | None = None) -> SourceCohort:
    """Read a SEA-AD file.

    Parameters
    ----------
    path
        The h5ad file, of a region or of one donor.
    columns
        Column names in place of `CANDIDATES`.

    Raises
    ------
    ScswError
        If the file does not have this layout.
    """
    with open_h5ad(path) as file:
        obs, var = read_frame(file, "obs"), read_frame(file, "var")
        _refuse_reference_atlas(obs, path)
        found = Columns(obs, CANDIDATES, columns, f"obs of {path}", CARRIED)
        found.need("donor_id")
        found.need("cell_type")
        if "UMIs" not in members(file, "layers"):
            raise ScswError(
                f"{path} has no layers['UMIs']; its layers are {members(file, 'layers') or 'none'}",
                expected="raw counts in layers['UMIs']",
                fix="use the release that holds this layer, or source `cellxgene` for a file "
                "from there",
            )
        matrix = read_matrix(file, "layers/UMIs")
    genes = gene_frame(var.index, var.get("gene_ids"), f"var of {path}")
    where = f"layers['UMIs'] of {path}"
    coded = _coded(found)
    used = found.decoded("used", coding.choice(TRUTH), True, "True or False").to_numpy(bool)
    return assemble(
        matrix, genes, coded, found, where=where, advice=ADVICE, excluded={"not_used": ~used}
    )


def neuropathology(found: Columns) -> dict[str, pd.Series]:
    """Decode Braak, Thal, CERAD, ADNC and cognition in SEA-AD's words; reference donors −1."""

    def stage(field: str, decode: coding.Decoder, expected: str) -> pd.Series:
        return found.decoded(field, decode, -1, expected, REFERENCE)

    return {
        "braak": stage("braak", coding.braak, "Braak 0 to Braak VI"),
        "thal": stage("thal", coding.thal, "Thal 0 to Thal 5"),
        "cerad": stage("cerad", coding.choice(CERAD), ", ".join(CERAD)),
        "adnc": stage("adnc", coding.choice(ADNC), ", ".join(ADNC)),
        "cognition": stage("cognition", coding.choice(COGNITION), ", ".join(COGNITION)),
    }


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type").replace(SEA_AD_ALIASES)
    mito_fraction = found.decoded(
        "mito_fraction", coding.number(0, 1), np.nan, "a share from 0 to 1"
    )
    coded = {
        **cell_fields(found),
        **donor_fields(found, SEX, REFERENCE),
        **neuropathology(found),
        "cell_type": cell_type,
        "cell_class": classes(cell_type, SEA_AD_CLASSES, (found.text("broad_class"), SEA_AD_BROAD)),
        "pct_mito": 100 * mito_fraction,
    }
    if found.name("is_reference") is None:
        coded["is_reference"] = found.text("adnc").isin(REFERENCE)
    return coded


def _refuse_reference_atlas(obs: pd.DataFrame, path: str) -> None:
    if "subclass_label" in obs and "Subclass" not in obs:
        raise ScswError(
            f"{path} has the column 'subclass_label': it is SEA-AD's neurotypical reference "
            "atlas, which has no disease stages and other columns",
            expected="a file named like SEAAD_MTG_RNAseq_final-nuclei.<date>.h5ad",
        )
