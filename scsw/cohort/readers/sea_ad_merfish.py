"""SEA-AD's spatial files, measured by MERFISH (h5ad): 140 genes with the places of the cells.

Raw counts stand in ``layers["raw"]``; ``X`` is log2(CPM per cell volume + 1). 40 blank probes,
which measure the noise, stand among the genes and are dropped. The donors are SEA-AD's, and so are
the words for their stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from anndata.io import read_elem

from scsw.cohort import coding
from scsw.cohort.columns import Columns
from scsw.cohort.count_matrix import Reordered
from scsw.cohort.counts import check_shape
from scsw.cohort.fields import TRUTH
from scsw.cohort.genes import gene_frame
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import h5ad_matrix, readable
from scsw.cohort.h5ad import members, open_h5ad, read_columns
from scsw.cohort.readers import sea_ad
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.errors import ScswError

CANDIDATES = {**sea_ad.CANDIDATES, "batch": ("Section", "Specimen Barcode")}
# Depth and layer are known in the annotated strip of a section alone.
CARRIED = (*sea_ad.CARRIED, "Specimen Barcode", "Normalized depth from pia", "Layer annotation")
# Places in the section turned upright, as measured, and of the chosen cells of all sections.
COORDINATES = ("spatial", "X_spatial_raw", "X_selected_cell_spatial_tiled")
BLANK = "Blank-"
COUNTS = "layers/raw"

ADVICE = "SEA-AD's MERFISH files keep raw counts in layers['raw']: use the released file"

TITLE = "SEA-AD MERFISH (Gabitto et al. 2024)"
LAYOUT = "an h5ad file with layers['raw'] and obs columns 'Donor ID', 'Section' and 'Subclass'"


def recognise(seen: Glimpse) -> str | None:
    """Say how a file shows that it is SEA-AD's spatial one, or return None."""
    if "Donor ID" in seen.obs and seen.obs & {"Subclass", "Supertype"} and sea_ad.is_merfish(seen):
        if "Section" in seen.obs:
            return "its obs has the columns 'Donor ID' and 'Section'"
        return "its obs has the column 'Donor ID' and its genes end in blank probes"
    return None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the file to open."""
    return [str(path)]


def read(request: Request) -> SourceCohort:
    """Read a spatial file.

    Raises
    ------
    ScswError
        If the file does not have this layout.
    """
    with open_h5ad(request.path) as file:
        found = Columns.of_h5ad(file, CANDIDATES, request, CARRIED)
        found.need("donor_id")
        found.need("cell_type")
        var = read_columns(file, "var", ["gene_ids"])
        coordinates = _coordinates(file, len(found.table))
        _need_counts(file, request)
    is_gene = ~var.index.str.startswith(BLANK)
    key = request.counts or COUNTS
    every_probe = h5ad_matrix(request.path, key, f"{key} of {request.path}", ADVICE)
    check_shape(every_probe.shape, len(found.table), len(var), every_probe.where)
    mapped = var[is_gene]
    genes = gene_frame(mapped.index, mapped.get("gene_ids"), f"var of {request.path}")
    counts = Reordered(every_probe, np.flatnonzero(is_gene))
    used = found.decoded("used", coding.choice(TRUTH), True, "True or False").to_numpy(bool)
    coded = sea_ad.harmonised(found)
    if found.name("assay") is None:
        coded["assay"] = coding.constant("MERFISH", found.table.index)
    cohort = assemble(counts, genes, coded, found, [request.path], {"not_used": ~used})
    cohort.coordinates = coordinates
    cohort.not_for_training = (
        f"{len(genes)} genes, measured in the tissue by MERFISH, are too few to fine-tune a model "
        "on; they serve to show where in the tissue the mapped genes and the cell types lie."
    )
    return cohort


def _need_counts(file: h5py.File, request: Request) -> None:
    layers = members(file, "layers")
    if request.counts is None and "raw" not in layers:
        raise ScswError(
            f"{request.path} has no layers['raw']; its layers are {', '.join(layers) or 'none'}",
            expected="raw counts in layers['raw']",
            fix="use the released file, or name the matrix of raw counts with --counts",
        )


def _coordinates(file: h5py.File, n_cells: int) -> dict[str, np.ndarray]:
    """Read the places of the cells, each float, shape (cells, 2 or 3)."""
    there = [name for name in COORDINATES if name in members(file, "obsm")]
    if not there:
        raise ScswError(
            f"{file.filename} has no coordinates; its obsm holds "
            + (", ".join(members(file, "obsm")) or "nothing"),
            expected="one of " + ", ".join(COORDINATES),
            fix="use the released file",
        )
    places = {}
    for name in there:
        with readable(file.filename, f"obsm/{name}"):
            places[name] = np.asarray(read_elem(file["obsm"][name]), float)
        shape = places[name].shape
        if len(shape) != 2 or shape[0] != n_cells or shape[1] not in (2, 3):
            raise ScswError(
                f"obsm/{name} of {file.filename} has the shape {shape}",
                expected=f"2 or 3 coordinates for each of {n_cells} cells",
            )
    return places
