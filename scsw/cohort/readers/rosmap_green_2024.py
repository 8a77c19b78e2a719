"""ROSMAP single nuclei of Green 2024 and Fujita 2024 (DLPFC): Seurat objects or one h5ad.

The release (Synapse syn53366818) is a folder of h5Seurat files, each of some cell types:
``astrocytes``, ``cux2+``, ``cux2-``, ``inhibitory``, ``microglia``, ``oligodendroglia`` and
``vascular.niche``. The same nuclei went round as ``p400_qced_shareable.h5ad``. A table
``cell-annotation.csv`` beside them, if there is one, names the nuclei that were analysed: its types
and donors are taken, and nuclei that it does not name are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort import coding, rosmap_clinical
from scsw.cohort.cell_table import joined_cell_table
from scsw.cohort.cell_types import GREEN_ALIASES, GREEN_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.count_matrix import CountMatrix
from scsw.cohort.counts import check_shape
from scsw.cohort.fields import TRUTH, cell_fields
from scsw.cohort.gene_union import all_genes
from scsw.cohort.genes import gene_frame
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix
from scsw.cohort.h5ad import column_names, open_h5ad, read_columns, stack_tables
from scsw.cohort.h5ad_genes import genes_of_h5ad
from scsw.cohort.h5seurat import meta_data_columns, read_features, read_meta_data, seurat_counts
from scsw.cohort.request import Request
from scsw.cohort.rosmap_clinical import (
    CLINICAL,
    beside,
    clinical_fields,
    donor_names,
    with_clinical,
)
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.errors import ScswError
from scsw.files import require

CANDIDATES = {
    "donor_id": ("individualID", "projid"),
    "cell_type": ("cell.type", "subset"),
    "supertype": ("state",),
    "batch": ("libraryBatch", "batch"),
    "doublet_score": ("doublet.score",),
    "is_doublet": ("is.doublet.df",),
    **rosmap_clinical.CANDIDATES,
}
CARRIED = ("subset", "cell.type.prob", "individualID", "projid")
# What is taken of each; clinical columns that they may hold are not. In the h5ad `cell.type` is a
# first guess, which `subset` replaced.
OBS = ("projid", "subset", "state", "cell.type.prob", "is.doublet.df", "doublet.score", "batch")
META_DATA = (*OBS, "individualID", "cell.type")
LABELS = ("individualID", "cell.type", "state", "libraryBatch", "batch")

REGION = "dorsolateral prefrontal cortex"
ADVICE = "raw counts stand in assays/RNA/counts of the h5Seurat files, and in X of the h5ad"

SHARED = "p400_qced_shareable.h5ad"
# The first of these that stands beside the counts; the releases differ in the donors they keep.
ANNOTATIONS = tuple(
    f"cell-annotation{release}.csv{end}"
    for release in ("", ".n437", ".n424", ".full-atlas")
    for end in ("", ".gz")
)
CELL_NAMES = ("barcode", "cell")

TITLE = "ROSMAP (Green et al. 2024; Fujita et al. 2024)"
LAYOUT = (
    "an h5Seurat file with meta.data columns 'state' and 'individualID', a folder of such files, "
    f"or {SHARED} with obs columns 'projid', 'subset' and 'state', beside {CLINICAL} (Green 2024)"
)


def recognise(seen: Glimpse) -> str | None:
    """Say how a file or folder shows that it is this source, or return None."""
    if seen.is_folder:
        named = [name for name in seen.files if _is_seurat(name)]
        if named:
            return f"the folder holds {len(named)} h5Seurat files"
        return f"the folder holds {SHARED}" if SHARED in seen.files else None
    donor = next((name for name in CANDIDATES["donor_id"] if name in seen.meta_data), None)
    if donor and "state" in seen.meta_data:
        return f"its meta.data has the columns 'state' and {donor!r}"
    has_marks = seen.obs >= {"projid", "subset", "state"}
    return "its obs has the columns 'projid', 'subset' and 'state'" if has_marks else None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: counts, annotation if there is one, clinical table."""
    folder = path if path.is_dir() else path.parent
    found = [str(folder / name) for name in ANNOTATIONS if (folder / name).exists()]
    annotation = [tables["cells"]] if "cells" in tables else found[:1]
    clinical = tables.get("clinical", str(folder / CLINICAL))
    return [*map(str, _counts_files(path)), *annotation, clinical]


def read(request: Request) -> SourceCohort:
    """Read the counts of one file, or of all h5Seurat files of a folder, and join the donors.

    Raises
    ------
    ScswError
        If a file is missing or does not have this layout.
    """
    names = files(require(request.path), request.tables)
    counts_files = _counts_files(request.path)
    if not counts_files:
        raise ScswError(f"{request.path} holds no h5Seurat file and no {SHARED}", expected=LAYOUT)
    tables = [beside(name, "cells") for name in names[len(counts_files) : -1]]
    parts = [_part(path, request) for path in counts_files]
    found = _annotation(parts, tables, beside(names[-1], "clinical"), request)
    found.need("cell_type")
    genes, counts = all_genes([(part.genes, part.counts) for part in parts])
    cohort = assemble(counts, genes, _coded(found), found, names, _excluded(found))
    fewest = min(len(part.genes) for part in parts)
    if fewest < len(genes):
        cohort.warnings.append(
            f"The {len(parts)} files name {len(genes)} genes together, one of them only {fewest}; "
            "a gene that a file lacks counts 0 there."
        )
    return cohort


@dataclass(frozen=True)
class _Part:
    """One file: its annotation, the names of all its columns, its genes and counts."""

    cells: pd.DataFrame
    present: list[str]
    where: str
    genes: pd.DataFrame
    counts: CountMatrix


def _part(path: Path, request: Request) -> _Part:
    with open_h5ad(path) as file:
        is_seurat = "assays" in file
    part = (_seurat_part if is_seurat else _h5ad_part)(path, request)
    check_shape(part.counts.shape, len(part.cells), len(part.genes), part.counts.where)
    return part


def _seurat_part(path: Path, request: Request) -> _Part:
    key = request.counts or "assays/RNA/counts"
    cells = read_meta_data(path, [*META_DATA, *request.columns.values()])
    with open_h5ad(path) as file:
        present = meta_data_columns(file)
    features = read_features(path, key.split("/")[1] if key.startswith("assays/") else "RNA")
    genes = gene_frame(features, None, f"features of {path}")
    counts = seurat_counts(path, key, ADVICE, len(features))
    return _Part(cells, present, f"meta.data of {path}", genes, counts)


def _h5ad_part(path: Path, request: Request) -> _Part:
    key = request.counts or "X"
    with open_h5ad(path) as file:
        cells = read_columns(file, "obs", [*OBS, *request.columns.values()])
        present = column_names(file, "obs")
        genes = genes_of_h5ad(file, key)
    counts = h5ad_matrix(path, key, f"{key} of {path}", ADVICE)
    return _Part(cells, present, f"obs of {path}", genes, counts)


def _annotation(
    parts: list[_Part], tables: list[Path], clinical: Path, request: Request
) -> Columns:
    """Join the files' own columns, those of cell-annotation.csv, and the clinical rows."""
    cells, where = stack_tables([part.cells for part in parts]), parts[0].where
    if len(parts) > 1:
        where = f"meta.data of the files in {request.path}"
    for table in tables:
        wanted = [*LABELS, *request.columns.values()]
        labels = joined_cell_table(table, cells.index, CELL_NAMES, wanted)
        cells = pd.DataFrame({**cells, **labels}, index=cells.index, copy=False)
        where += f" with {table.name}"
    present = list(dict.fromkeys([*parts[0].present, *cells.columns]))
    donor = donor_names(cells, CANDIDATES["donor_id"], request, where, present)
    cells = with_clinical(cells, donor, clinical)
    return Columns(cells, CANDIDATES, request.columns, where, CARRIED, present, request.values)


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = coding.mapped(found.text("cell_type"), lambda name: GREEN_ALIASES.get(name, name))
    return {
        **cell_fields(found),
        **clinical_fields(found),
        "donor_id": found.table["donor_id"],
        "cell_type": cell_type,
        "cell_class": classes(cell_type, GREEN_CLASSES),
        "region": coding.constant(REGION, cell_type.index),
    }


def _excluded(found: Columns) -> dict[str, np.ndarray]:
    """Name the doublets, and first the nuclei without a type, which often lack a donor too."""
    doublet = found.decoded("is_doublet", coding.choice(TRUTH), False, "True or False")
    return {
        "no_cell_type": coding.is_missing(found.text("cell_type")),
        "doublet": doublet.to_numpy(bool),
    }


def _counts_files(path: Path) -> list[Path]:
    """Return the file, or those of a folder: its h5Seurat files, else the shared h5ad."""
    if not path.is_dir():
        return [path]
    seurat = sorted(file for file in path.iterdir() if _is_seurat(file.name))
    return seurat or list(path.glob(SHARED))


def _is_seurat(name: str) -> bool:
    return name.casefold().endswith(".h5seurat")
