"""Morabito 2021 (GSE174367): a file of Cell Ranger and a table of its cells.

``Tangle.Stage`` is the Braak stage. ``Plaque.Stage`` (None, Stage A to C) is Braak's staging of
amyloid, which maps to neither the Thal phase nor the CERAD score, so it is carried as an original
only. So is ``Diagnosis``, which is no ADNC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_table import joined_cell_table
from scsw.cohort.cell_types import MORABITO_2021_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import cell_fields, donor_fields
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.tenx_h5 import read_tenx
from scsw.errors import ScswError
from scsw.files import require

CANDIDATES = {
    "donor_id": ("SampleID",),
    "cell_type": ("Cell.Type",),
    "supertype": ("cluster", "Cluster"),
    "batch": ("Batch",),
    "sex": ("Sex",),
    "age_death": ("Age",),
    "pmi": ("PMI",),
    "apoe_genotype": (),
    "braak": ("Tangle.Stage",),
}
CARRIED = ("Diagnosis", "Plaque.Stage", "RIN")
BARCODE = "Barcode"

SEX = {"F": "female", "M": "male"}
REGION = "prefrontal cortex, Brodmann areas 9 and 46"
ADVICE = "use the filtered feature-barcode matrix as downloaded, not a normalised one"

# Public names. GEO puts the series before them and other tools the sample, so files are told by
# how their names end. The series holds chromatin accessibility of the same donors too.
COUNTS = "GSE174367_snRNA-seq_filtered_feature_bc_matrix.h5"
CELLS = "GSE174367_snRNA-seq_cell_meta.csv.gz"
_COUNTS_END = (".h5",)
_CELLS_END = ("cell_meta.csv", "cell_meta.csv.gz")
_OTHER = ("atac", "peak")

TITLE = "Morabito et al. 2021"
LAYOUT = "a 10x h5 file with a table *cell_meta.csv.gz beside it, or their folder (Morabito 2021)"


def recognise(seen: Glimpse) -> str | None:
    """Say how a file or folder shows that it is this one, or return None."""
    if seen.is_folder:
        tables = _named(seen.files, _CELLS_END)
        counts = _named(seen.files, _COUNTS_END)
        return f"the folder holds {counts[0]} and {tables[0]}" if tables and counts else None
    is_tenx = "matrix" in seen.keys and "row_attrs" not in seen.keys  # loom files have both
    if not is_tenx or seen.is_h5ad:
        return None
    tables = _named((file.name for file in seen.path.parent.iterdir()), _CELLS_END)
    return f"it is a file of Cell Ranger with {tables[0]} beside it" if tables else None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: the counts, the table of cells.

    Raises
    ------
    ScswError
        If a folder holds several files of counts.
    """
    is_file = path.is_file() or path.name.endswith(_COUNTS_END)
    counts = path if is_file else _in_folder(path, _COUNTS_END, COUNTS)
    cells = tables.get("cells") or _in_folder(counts.parent, _CELLS_END, CELLS)
    return [str(counts), str(cells)]


def read(request: Request) -> SourceCohort:
    """Read the two files; cells that the table lacks are left out.

    Raises
    ------
    ScswError
        If a file is missing or does not have this layout.
    """
    names = files(request.path, request.tables)
    counts_file, cells_file = (require(name) for name in names)
    tenx = read_tenx(counts_file, ADVICE)
    candidates = [name for names in CANDIDATES.values() for name in names]
    wanted = [*candidates, *CARRIED, *request.columns.values()]
    cells = joined_cell_table(cells_file, tenx.barcodes, (BARCODE,), wanted, ",")
    found = Columns(
        cells, CANDIDATES, request.columns, str(cells_file), CARRIED, values=request.values
    )
    found.need("donor_id")
    found.need("cell_type")
    coded = _coded(found)
    # Asked for first: cells that the table lacks have no donor either.
    untyped = {"no_cell_type": coding.is_missing(coded["cell_type"])}
    return assemble(tenx.counts, tenx.genes, coded, found, names, untyped)


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    return {
        **cell_fields(found),
        **donor_fields(found, SEX),
        "braak": found.decoded("braak", coding.braak, -1, "Stage 0 to Stage 6"),
        "cell_type": cell_type,
        "cell_class": classes(cell_type, MORABITO_2021_CLASSES),
        "region": coding.constant(REGION, cell_type.index),
    }


def _in_folder(folder: Path, ends: tuple[str, ...], public: str) -> Path:
    """Find the file of RNA that is named so; the public name if there is none."""
    found = _named((file.name for file in folder.glob("*")), ends)
    if len(found) > 1 and ends == _COUNTS_END:
        raise ScswError(
            f"{folder} holds several h5 files: {', '.join(found[:5])}",
            expected="one file of gene expression",
            fix="name the file itself in place of its folder",
        )
    return folder / (found[0] if found else public)


def _named(names: Iterable[str], ends: tuple[str, ...]) -> list[str]:
    ours = (n for n in names if n.endswith(ends) and not any(o in n.casefold() for o in _OTHER))
    return sorted(ours)
