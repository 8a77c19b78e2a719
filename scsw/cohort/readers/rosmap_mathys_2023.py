"""ROSMAP single nuclei of Mathys 2023 (427 donors): an h5ad of counts with tables beside it.

The h5ad (Synapse syn52392369) holds raw counts as floats and no labels. Those stand in ``meta.tsv``
of the UCSC Cell Browser, by cell name; it names the donors by ``Individual``, which the table of
individuals (syn21323366) calls ``subject`` and translates into ``individualID`` of the clinical
table. The same nuclei come as nine .rds files too, which only R reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from scsw.cohort import coding, rosmap_clinical
from scsw.cohort.cell_table import joined_cell_table
from scsw.cohort.cell_types import MATHYS_2023_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import cell_fields
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import column_names, open_h5ad, read_columns
from scsw.cohort.h5ad_genes import genes_of_h5ad
from scsw.cohort.request import Request
from scsw.cohort.rosmap_clinical import (
    CLINICAL,
    LEAVE_OUT,
    beside,
    blank_missing,
    clinical_fields,
    donor_names,
    read_clinical,
    with_donor_rows,
)
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.text_table import header, need_columns, read_text_table
from scsw.errors import ScswError
from scsw.files import require

CANDIDATES = {
    "donor_id": ("Individual",),
    "cell_type": ("Major_Cell_Type",),
    "supertype": ("Cell_Type",),
    "batch": ("batch",),
    **rosmap_clinical.CANDIDATES,
}
CARRIED = ("Dataset", "individual_ID", "projid")
# What is taken from obs and from the table of cells; their clinical columns, if any, are not.
OBS = ("batch", "individual_ID")
LABELS = ("Individual", "Major_Cell_Type", "Cell_Type", "Dataset")

REGION = "prefrontal cortex"
ADVICE = "PFC427_raw_data.h5ad holds raw counts in X: use it as downloaded"

COUNTS = "PFC427_raw_data.h5ad"
CELLS, CELL_NAME = "meta.tsv", "cellName"
DONORS = "MIT_ROSMAP_Multiomics_individual_metadata.csv"
TABLES = {"cells": CELLS, "donors": DONORS, "clinical": CLINICAL}

TITLE = "ROSMAP (Mathys et al. 2023)"
LAYOUT = (
    f"{COUNTS} (obs columns 'bc', 'batch' and 'individual_ID') beside {CELLS}, {DONORS} and "
    f"{CLINICAL}, or the folder of these files (Mathys 2023)"
)
_OTHER_COUNTS = (".h5ad", ".h5", ".h5seurat", ".loom", ".mtx", ".mtx.gz")


def recognise(seen: Glimpse) -> str | None:
    """Say how a file or folder shows that it is this source, or return None."""
    if seen.is_folder:
        if COUNTS in seen.files:
            return f"the folder holds {COUNTS}"
        has_others = any(name.casefold().endswith(_OTHER_COUNTS) for name in seen.files)
        objects = [] if has_others else _r_objects(seen.files)
        return f"the folder holds {len(objects)} .rds files" if objects else None
    if _r_objects([seen.path.name]):
        return "its name ends in .rds"
    has_marks = seen.obs >= {"bc", "batch", "individual_ID"}
    return "its obs has the columns 'bc', 'batch' and 'individual_ID'" if has_marks else None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: counts, table of cells, table of individuals, clinical table."""
    counts = path / COUNTS if path.is_dir() else path
    return [
        str(counts),
        *(tables.get(role, str(counts.parent / name)) for role, name in TABLES.items()),
    ]


def read(request: Request) -> SourceCohort:
    """Read the counts and join their labels and donors.

    Nuclei that the table of cells does not name were left out by the authors, and are here.

    Raises
    ------
    ScswError
        If a file is missing, does not have this layout, or is an .rds file.
    """
    objects = _r_objects(_names(require(request.path)))
    names = files(request.path, request.tables)
    if objects and (request.path.is_file() or not Path(names[0]).exists()):
        raise _only_for_r(request.path, objects)
    counts_file = require(names[0])
    tables = [beside(name, role) for name, role in zip(names[1:], TABLES, strict=True)]
    key = request.counts or "X"
    with open_h5ad(counts_file) as file:
        genes = genes_of_h5ad(file, key)
    found = _annotation(counts_file, *tables, request)
    found.need("cell_type")
    counts = h5ad_matrix(counts_file, key, f"{key} of {counts_file}", ADVICE)
    # Named first, so that such nuclei are counted as unlabelled, not as without a donor.
    unlabelled = {"no_cell_type": coding.is_missing(found.text("cell_type"))}
    cohort = assemble(counts, genes, _coded(found), found, names, unlabelled)
    if objects:
        cohort.warnings.append(
            f"{len(objects)} .rds files beside {COUNTS} were not read: R alone reads them."
        )
    return cohort


def _annotation(
    counts_file: Path, cells_file: Path, donors_file: Path, clinical_file: Path, request: Request
) -> Columns:
    """Join obs, labels and clinical rows."""
    overrides = request.columns.values()
    with open_h5ad(counts_file) as file:
        obs = read_columns(file, "obs", [*OBS, *overrides])
        present = column_names(file, "obs")
    labels = joined_cell_table(cells_file, obs.index, [CELL_NAME], [*LABELS, *overrides], "\t")
    present += header(cells_file, "\t")
    cells = pd.DataFrame({**obs, **labels}, index=obs.index, copy=False)
    where = f"obs of {counts_file} with {cells_file.name}"
    subject = donor_names(cells, CANDIDATES["donor_id"], request, where, present)
    donors = read_clinical(clinical_file, key="individualID")
    cells = with_donor_rows(cells, _individuals(subject, donors_file), donors, clinical_file)
    return Columns(cells, CANDIDATES, request.columns, where, CARRIED, present, request.values)


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    return {
        **cell_fields(found),
        **clinical_fields(found),
        "donor_id": found.table["donor_id"],
        "cell_type": cell_type,
        "cell_class": classes(cell_type, MATHYS_2023_CLASSES),
        "region": coding.constant(REGION, cell_type.index),
    }


def _individuals(subject: pd.Series, path: Path) -> pd.Series:
    """Return the individualID of each cell's donor, "" if it is not known."""
    ids = _individual_ids(path)
    named = set(subject.cat.categories) - {""}
    if unknown := sorted(named - set(ids)):
        raise ScswError(
            f"{len(unknown)} of {len(named)} donors are no subject with an individualID in "
            f"{path}, such as {', '.join(unknown[:5])}",
            expected="a row for each donor of the cells",
            fix="use the complete table, or name it with --donor-table (in the config: "
            "`donor_table:`); " + LEAVE_OUT,
        )
    return coding.mapped(subject, lambda name: ids.get(name, ""))


def _individual_ids(path: Path) -> dict[str, str]:
    """Read the individualID of each subject; the table repeats a subject for each of its assays."""
    table = read_text_table(path, ",")
    need_columns(table, ["subject", "individualID"], path, f"the comma-separated table {DONORS}")
    pairs = table[["subject", "individualID"]].apply(lambda names: blank_missing(names).astype(str))
    pairs = pairs[(pairs != "").all(axis=1)].drop_duplicates()
    if len(twice := pairs[pairs["subject"].duplicated()]):
        raise ScswError(
            f"{path} gives subject {twice['subject'].iloc[0]!r} several individualIDs",
            expected="one per subject",
        )
    return dict(zip(pairs["subject"], pairs["individualID"], strict=True))


def _names(path: Path) -> list[str]:
    return [file.name for file in path.iterdir()] if path.is_dir() else [path.name]


def _r_objects(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.casefold().endswith(".rds"))


def _only_for_r(path: Path, objects: list[str]) -> ScswError:
    more = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
    held = f"holds {objects[0]}{more}" if path.is_dir() else "is an R object"
    return ScswError(
        f"{path} {held}: .rds files can be read in R only",
        expected=f"an h5ad file; of Mathys 2023, {COUNTS} (Synapse syn52392369), which holds the "
        "same nuclei",
        fix="download the h5ad, or read the objects in R and write them as h5ad",
    )
