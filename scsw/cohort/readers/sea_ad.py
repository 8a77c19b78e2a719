"""SEA-AD single-nucleus files of the Allen Institute (h5ad).

Raw counts stand in ``layers["UMIs"]``; ``X`` is ln(UP10K + 1). Names of ``obs`` are as in the
public files. APOE is a genotype in files from 2024-02 on and a yes or no for the e4 allele
before; the latter tells no genotype and is carried as an original only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_types import SEA_AD_ALIASES, SEA_AD_BROAD, SEA_AD_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.count_matrix import CountMatrix
from scsw.cohort.fields import TRUTH, cell_fields, donor_fields
from scsw.cohort.find_counts import better_counts
from scsw.cohort.gene_order import one_gene_order
from scsw.cohort.genes import gene_frame
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import column_names, members, open_h5ad, read_columns, stack_tables
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.text_table import read_text_table
from scsw.errors import ScswError
from scsw.files import require

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


TITLE = "SEA-AD (Gabitto et al. 2024)"
LAYOUT = (
    "an h5ad file with layers['UMIs'] and obs columns 'Donor ID' and 'Subclass', or a folder of "
    "such files, one per donor"
)


def recognise(seen: Glimpse) -> str | None:
    """Say how a file shows that it is SEA-AD's, or return None."""
    if seen.is_folder:
        named = [name for name in seen.files if "SEAAD" in name and name.endswith(".h5ad")]
        return f"{len(named)} h5ad files with SEAAD in their names" if named else None
    if _is_reference_atlas(seen.obs):
        return "its obs has 'subclass_label' and its layers 'UMIs', as SEA-AD's reference atlas"
    if "Donor ID" in seen.obs and seen.obs & {"Subclass", "Supertype"} and not is_merfish(seen):
        return "its obs has the columns 'Donor ID' and 'Subclass'"
    return None


def is_merfish(seen: Glimpse) -> bool:
    """Tell whether a file is SEA-AD's spatial one."""
    marks = {"Section", "Specimen Barcode"}
    return bool(seen.obs & marks) or any(name.startswith("Blank-") for name in seen.genes)


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: the h5ad, or all of a folder; then the table of CPS."""
    parts = sorted(map(str, path.glob("*.h5ad"))) if path.is_dir() else [str(path)]
    return [*parts, *([tables["cps"]] if "cps" in tables else [])]


def read(request: Request) -> SourceCohort:
    """Read a SEA-AD file, or a folder of files of one donor each.

    Raises
    ------
    ScswError
        If a file does not have this layout, or the files of a folder differ in their genes.
    """
    paths = sorted(request.path.glob("*.h5ad")) if request.path.is_dir() else [request.path]
    if not paths:
        raise ScswError(f"{request.path} holds no h5ad file", expected=LAYOUT)
    parts = [_part(path, request) for path in paths]
    found = Columns(
        stack_tables([part.table for part in parts]),
        CANDIDATES,
        request.columns,
        parts[0].where if len(parts) == 1 else f"obs of the files in {request.path}",
        CARRIED,
        parts[0].present,
        request.values,
    )
    found.need("donor_id")
    found.need("cell_type")
    genes, counts = one_gene_order([(part.genes, part.counts) for part in parts])
    coded = harmonised(found)
    if "cps" in request.tables:
        coded["cps"] = with_cps(coded, request.tables["cps"])
    used = found.decoded("used", coding.choice(TRUTH), True, "True or False").to_numpy(bool)
    read_files = files(request.path, request.tables)
    cohort = assemble(counts, genes, coded, found, read_files, {"not_used": ~used})
    if lost := sorted({name for part in parts for name in part.table} - set(found.table)):
        cohort.warnings.append(
            f"Columns that only some of the {len(parts)} files have were not read: "
            f"{', '.join(lost)}."
        )
    return cohort


@dataclass(frozen=True)
class _Part:
    """One file: its annotation, the names of all its columns, its genes and counts."""

    table: pd.DataFrame
    present: list[str]
    where: str
    genes: pd.DataFrame
    counts: CountMatrix


def _part(path: Path, request: Request) -> _Part:
    with open_h5ad(path) as file:
        present = column_names(file, "obs")
        if _is_reference_atlas(present):
            raise _reference_atlas(path)
        candidates = [name for names in CANDIDATES.values() for name in names]
        table = read_columns(file, "obs", [*candidates, *request.columns.values(), *CARRIED])
        var = read_columns(file, "var")
        if request.counts is None and "UMIs" not in members(file, "layers"):
            raise ScswError(
                f"{path} has no layers['UMIs']; its layers are {members(file, 'layers') or 'none'}",
                expected="raw counts in layers['UMIs']",
                fix=better_counts(path, "layers/UMIs")
                or "use the release that holds this layer; for a file from CELLxGENE name the "
                "source `cellxgene`",
            )
    key = request.counts or "layers/UMIs"
    where = f"layers['UMIs'] of {path}" if request.counts is None else f"{key} of {path}"
    genes = gene_frame(var.index, var.get("gene_ids"), f"var of {path}")
    return _Part(table, present, f"obs of {path}", genes, h5ad_matrix(path, key, where, ADVICE))


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


def harmonised(found: Columns) -> dict[str, pd.Series]:
    """Decode the columns of SEA-AD's cells."""
    cell_type = subclass(found.text("cell_type"))
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


def subclass(names: pd.Series) -> pd.Series:
    """Spell SEA-AD's subclasses alike; other names stay."""
    return coding.mapped(names, lambda name: SEA_AD_ALIASES.get(name, name))


def with_cps(coded: Mapping[str, pd.Series], path: str) -> pd.Series:
    """Fill each cell's continuous pseudo-progression score from a table of donors.

    SEA-AD gives the score in its MTG files of 2024, and beside the ten regions of 2026 in a table
    that calls the donor's ``CPS_Global``; it is a measure of the donor.

    Parameters
    ----------
    coded
        ``donor_id`` and ``cps`` of the cells.
    path
        An h5ad of SEA-AD's MTG, or a CSV or TSV with its two columns, such as
        ``Global_and_Local_CPS.<date>.csv``.

    Raises
    ------
    ScswError
        If the table lacks a column, names none of the donors, or gives one donor two scores.
    """
    donor_column, scores = CANDIDATES["donor_id"][0], (*CANDIDATES["cps"], "CPS_Global")
    if h5py.is_hdf5(require(path)):
        with open_h5ad(path) as file:
            table = read_columns(file, "obs", [donor_column, *scores])
    else:
        table = read_text_table(path)
    score_column = next((name for name in scores if name in table), scores[0])
    if absent := [name for name in (donor_column, score_column) if name not in table]:
        raise ScswError(
            f"{path} has no column {absent[0]!r}; its columns are {', '.join(table.columns[:20])}",
            expected=f"{donor_column!r} and {scores[0]!r} or {scores[1]!r}",
        )
    score = coding.decoded(
        table[score_column], coding.number(0, 1), missing=np.nan, field="cps", expected="0 to 1"
    )
    by_donor = score.groupby(coding.text(table[donor_column]).astype(str)).agg(["min", "max"])
    if len(two := by_donor.index[by_donor["min"] < by_donor["max"]]):
        raise ScswError(f"{path} gives donor {two[0]!r} several scores", expected="one per donor")
    donors = coded["donor_id"]
    scores = {name: by_donor["max"].get(name, np.nan) for name in donors.cat.categories}
    if np.isnan(list(scores.values())).all():
        raise ScswError(
            f"{path} has a score for none of the cohort's donors, such as "
            + ", ".join(donors.cat.categories[:3]),
            expected="the same donor ids",
        )
    return coded["cps"].fillna(donors.astype(object).map(scores).astype(float))


def _is_reference_atlas(columns: Collection[str]) -> bool:
    return "subclass_label" in columns and "Subclass" not in columns


def _reference_atlas(path: Path) -> ScswError:
    return ScswError(
        f"{path} has the column 'subclass_label': it is SEA-AD's neurotypical reference "
        "atlas, which has no disease stages and other columns",
        expected="a file named like SEAAD_MTG_RNAseq_final-nuclei.<date>.h5ad",
    )
