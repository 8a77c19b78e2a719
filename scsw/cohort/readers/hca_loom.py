"""Project matrices of the Human Cell Atlas's Data Coordination Platform (loom).

Counts stand genes × cells in ``matrix``, UMI-corrected by the pipeline Optimus. The files name
neither donors nor cell types. Each cell's library (``input_id``) leads to its donor through the
project's metadata manifest, a TSV from the portal (table ``donors``); cell types come from a table
of the authors' labels (table ``cells``). Files of the platform's first version name the donors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_labels import label_columns, with_labels
from scsw.cohort.cell_types import classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import TRUTH, cell_fields, donor_fields
from scsw.cohort.genes import gene_frame
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.h5_matrix import DenseCounts
from scsw.cohort.h5ad import open_h5ad
from scsw.cohort.loom import attribute_names, file_attributes, read_attributes
from scsw.cohort.readers import cellxgene, sea_ad
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.text_table import need_columns, read_text_table
from scsw.errors import ScswError
from scsw.files import require

BARCODES = ("cell_names", "CellID")  # the first are unique, with their library's number
SYMBOLS = ("Gene", "gene_names")
IDS = ("ensembl_ids", "Accession")
LIBRARY = "input_id"
MANIFEST_LIBRARY = "sequencing_process.provenance.document_id"
AGE, AGE_UNIT = "donor_organism.organism_age", "donor_organism.organism_age_unit"
SPECIES = "donor_organism.genus_species"

CANDIDATES = {
    "donor_id": (
        "donor_organism.biomaterial_core.biomaterial_id",
        "donor_organism.provenance.document_id",
        "donor_id",
    ),
    "cell_type": (
        "cell_type",
        "annotated_cell_identity.text",
        "annotated_cell_identity.ontology_label",
    ),
    "supertype": (),
    "region": ("specimen_from_organism.organ_part", "specimen_from_organism.organ"),
    "sex": ("donor_organism.sex",),
    "age_death": (),  # in years where the manifest says so
    "organism_age": (AGE,),
    "organism_age_unit": (AGE_UNIT,),
    "pmi": (),
    "apoe_genotype": (),
    "braak": (),
    "thal": (),
    "cerad": (),
    "adnc": (),
    "cognition": (),
    "cps": (),
    "is_reference": (),
    "is_cell": ("emptydrops_IsCell",),
    "doublet_score": (),
    "assay": ("library_preparation_protocol.library_construction_approach",),
    "batch": (LIBRARY,),
    "study": ("project.project_core.project_name",),
}
CARRIED = ("donor_organism.diseases", "specimen_from_organism.diseases")
SEX = {**cellxgene.SEX, "f": "female", "m": "male"}
_SEVERAL = "||"  # the platform joins the names of pooled donors with it

ADVICE = (
    "Optimus files keep counts in `matrix`; Smart-seq2 files hold TPM and estimated counts, which "
    "are no whole numbers and cannot be used"
)

TITLE = "Human Cell Atlas (Data Coordination Platform)"
LAYOUT = "a loom file (HDF5 with matrix, row_attrs and col_attrs)"


def recognise(seen: Glimpse) -> str | None:
    """Say how a file shows that it is a loom file, or return None."""
    marks = {"matrix", "row_attrs", "col_attrs"}
    return "it is an HDF5 file with " + ", ".join(sorted(marks)) if marks <= seen.keys else None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: the loom file, the labels of the cells, the manifest."""
    return [str(path), *(tables[role] for role in ("cells", "donors") if role in tables)]


def read(request: Request) -> SourceCohort:
    """Read a loom file with the tables that name its cells' types and donors.

    Raises
    ------
    ScswError
        If the file does not have this layout, is not human, or no donors or cell types are named.
    """
    with open_h5ad(request.path) as file:
        _need_loom(file)
        _need_human(file)
        cells, present = _cells(file, request)
        genes = _genes(file)
    found = Columns(
        cells,
        CANDIDATES,
        request.columns,
        f"col_attrs of {request.path}",
        CARRIED,
        present,
        request.values,
    )
    _need_donors(found, request)
    _need_types(found, request)
    key = request.counts or "matrix"
    counts = DenseCounts(request.path, key, f"{key} of {request.path}", ADVICE, genes_first=True)
    is_cell = found.decoded("is_cell", coding.choice(TRUTH), True, "True or False").to_numpy(bool)
    return assemble(
        counts,
        genes,
        _coded(found),
        found,
        files(request.path, request.tables),
        {"empty_droplet": ~is_cell},
    )


def _need_loom(file: h5py.File) -> None:
    if absent := [name for name in ("matrix", "row_attrs", "col_attrs") if name not in file]:
        raise ScswError(
            f"{file.filename} has no {absent[0]}; it holds {', '.join(sorted(file)) or 'nothing'}",
            expected=LAYOUT,
        )


def _need_human(file: h5py.File) -> None:
    species = file_attributes(file).get(SPECIES, "")
    if species and "homo sapiens" not in species.casefold():
        raise ScswError(f"{file.filename} is of {species}", expected="human cells (Homo sapiens)")


def _cells(file: h5py.File, request: Request) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of the cells that may be used, index = barcode; and all there are."""
    wanted = {*(name for names in CANDIDATES.values() for name in names), *CARRIED}
    wanted |= {*request.columns.values(), LIBRARY} - {""}
    present = attribute_names(file, "col_attrs")
    barcodes = [name for name in BARCODES if name in present]
    if not barcodes:
        raise ScswError(
            f"col_attrs of {file.filename} names no cells; it holds {', '.join(present[:60])}",
            expected=" or ".join(BARCODES),
        )
    names = read_attributes(file, "col_attrs", barcodes)
    cells = read_attributes(file, "col_attrs", wanted)
    indices = [pd.Index(coding.text(names[name]).astype(str), dtype=object) for name in barcodes]
    cells = pd.DataFrame({n: cells[n].array for n in cells}, index=indices[0], copy=False)
    # What holds for the whole file holds for each cell; several values are joined by commas.
    for name, value in file_attributes(file).items():
        if name in wanted and name not in cells and "," not in value:
            cells[name] = coding.constant(value, cells.index).array
    if "cells" in request.tables:
        path = request.tables["cells"]
        cells = with_labels(cells, path, wanted, indices[1:])
        present = [*present, *label_columns(path)]
    if "donors" in request.tables:
        cells = _with_donors(cells, Path(request.tables["donors"]), wanted)
    return cells, list(dict.fromkeys([*present, *cells.columns]))


def _with_donors(cells: pd.DataFrame, path: Path, wanted: Iterable[str]) -> pd.DataFrame:
    """Give each cell the manifest's row of its library."""
    if LIBRARY not in cells:
        raise ScswError(
            f"the loom file does not say which library each cell is of, so that {path} cannot be "
            "joined",
            expected=f"the column attribute {LIBRARY}",
        )
    key = MANIFEST_LIBRARY
    # A row per sequence file; a library has several.
    rows = read_text_table(require(path), _separator(path), [key, *wanted]).drop_duplicates()
    need_columns(rows, [key], path, "the project's metadata manifest as the portal gives it (TSV)")
    rows = rows[rows[key] != ""].set_index(key)
    if rows.index.has_duplicates:
        raise _differing(rows, path)
    library = coding.text(cells[LIBRARY])
    libraries = library.cat.categories
    if unknown := sorted(set(libraries) - set(rows.index) - {""}):
        raise ScswError(
            f"{len(unknown)} of {len(libraries)} libraries have no row in {path}, such as "
            + ", ".join(unknown[:3]),
            expected=f"each {LIBRARY} of the loom file in its column {key}",
            fix="use the manifest of this project, with all its files",
        )
    rows = rows.astype("category")
    place = rows.index.get_indexer(libraries)[library.cat.codes]
    new = {name: rows[name].array.take(place, allow_fill=True) for name in rows}
    kept = {name: cells[name].array for name in cells if name not in new}
    return pd.DataFrame({**kept, **new}, index=cells.index, copy=False)


def _separator(path: Path) -> str:
    return "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"


def _differing(rows: pd.DataFrame, path: Path) -> ScswError:
    library = rows.index[rows.index.duplicated()][0]
    own = rows.loc[library]
    name = next(name for name in rows if own[name].nunique() > 1)
    values = ", ".join(sorted(own[name].unique())[:3])
    return ScswError(
        f"{path} gives library {library} several values of {name}: {values}",
        expected="one value per library",
    )


def _genes(file: h5py.File) -> pd.DataFrame:
    table = read_attributes(file, "row_attrs", [*SYMBOLS, *IDS])
    symbols, ids = (
        next((coding.text(table[name]).astype(str) for name in names if name in table), None)
        for names in (SYMBOLS, IDS)
    )
    where = f"row_attrs of {file.filename}"
    if symbols is None and ids is None:
        raise ScswError(
            f"{where} names no genes; it holds "
            + (", ".join(attribute_names(file, "row_attrs")) or "nothing"),
            expected="one of " + ", ".join([*SYMBOLS, *IDS]),
        )
    return gene_frame(symbols, ids, where)


def _need_donors(found: Columns, request: Request) -> None:
    if found.find("donor_id") is None:
        raise ScswError(
            f"{request.path} does not name the donors of its cells",
            expected=f"the project's metadata manifest (TSV), which leads from each {LIBRARY} to "
            "its donor",
            fix="download it from the project's page on the portal and name it with --donor-table "
            "(in the config: `donor_table:`); if each library is of another donor, name "
            f"--donor-column {LIBRARY}; a column of the table of labels serves as well",
        )


def _need_types(found: Columns, request: Request) -> None:
    if found.find("cell_type") is not None:
        return
    if "cells" in request.tables:
        found.need("cell_type")
    raise ScswError(
        f"{request.path} does not name the types of its cells",
        expected="a CSV or TSV with the barcodes in the first column and a column 'cell_type', "
        "such as the authors' labels (contributor-generated matrices on the portal)",
        fix="name it with --cell-table (in the config: `cell_table:`)",
    )


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    coded = {
        **cell_fields(found),
        **donor_fields(found, SEX),
        **sea_ad.neuropathology(found),
        "cell_type": cell_type,
        "cell_class": classes(cell_type),
    }
    coded["donor_id"] = coding.mapped(
        coded["donor_id"], lambda name: "" if _SEVERAL in name else name
    )
    return coded if found.name("age_death") else coded | {"age_death": _age(found)}


def _age(found: Columns) -> pd.Series:
    """Read ages in years; other units and ranges, such as "40-44", tell no age."""
    age, unit = found.text("organism_age"), found.text("organism_age_unit")
    years = coding.mapped(age, _years).to_numpy(float)
    in_years = coding.mapped(unit, lambda name: name.casefold() in ("year", "years", "")).to_numpy(
        bool
    )
    return pd.Series(np.where(in_years, years, np.nan), index=age.index)


def _years(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)( years?)?", age.casefold())
    return float(match[1]) if match else np.nan
