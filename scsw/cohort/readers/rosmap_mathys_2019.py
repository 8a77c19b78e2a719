"""ROSMAP single nuclei of Mathys 2019 (Synapse syn18485175): a folder of text files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scsw.cohort import coding, rosmap_clinical
from scsw.cohort.cell_types import MATHYS_2019_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.fields import cell_fields
from scsw.cohort.genes import gene_frame
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.matrix_market import MatrixMarket
from scsw.cohort.request import Request
from scsw.cohort.rosmap_clinical import CLINICAL, clinical_fields, donor_names, with_clinical
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.text_table import need_columns, read_text_table
from scsw.errors import ScswError
from scsw.files import require

CANDIDATES = {
    "donor_id": ("projid",),
    "cell_type": ("broad.cell.type",),
    "supertype": ("Subcluster",),
    **rosmap_clinical.CANDIDATES,
}
CARRIED = ("pre.cluster", "individualID")

REGION = "prefrontal cortex, Brodmann area 10"
ADVICE = "use the filtered count matrix as downloaded, not a normalised one"

# The folder as it comes from Synapse.
MATRIX = ("filtered_count_matrix.mtx", "filtered_count_matrix.mtx.gz")
GENES = "filtered_gene_row_names.txt"
ENSEMBL = "notfiltered_gene_row_names.txt"
CELLS = "filtered_column_metadata.txt"

TITLE = "ROSMAP (Mathys et al. 2019)"
LAYOUT = f"a folder with {MATRIX[0]} (Mathys 2019)"


def recognise(seen: Glimpse) -> str | None:
    """Say how a folder shows that it is this one, or return None."""
    marks = sorted(seen.files & {*MATRIX, CELLS})
    return f"the folder holds {marks[0]}" if marks else None


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: matrix, genes, Ensembl ids, cells, clinical table.

    The matrix may be gzipped and the Ensembl ids absent. Before the matrix exists (a cohort that
    is still to be simulated) the whole layout is named.
    """
    matrix = next((path / name for name in MATRIX if (path / name).exists()), path / MATRIX[0])
    names = [matrix, path / GENES]
    if (path / ENSEMBL).exists() or not matrix.exists():
        names.append(path / ENSEMBL)
    return [*map(str, names), str(path / CELLS), tables.get("clinical", str(path / CLINICAL))]


def read(request: Request) -> SourceCohort:
    """Read the folder of Mathys 2019.

    The clinical table is taken from the folder, unless the request names another.

    Raises
    ------
    ScswError
        If a file is missing or does not have this layout.
    """
    if not require(request.path).is_dir():
        raise ScswError(f"{request.path} is not a folder", expected="the folder of Mathys 2019")
    names = files(request.path, request.tables)
    matrix, symbols_file, *_, cells_file, clinical_file = (require(name) for name in names)
    cells = _read_cells(cells_file)
    donor = donor_names(cells, CANDIDATES["donor_id"], request, str(cells_file), list(cells))
    found = Columns(
        with_clinical(cells, donor, clinical_file),
        CANDIDATES,
        request.columns,
        f"{cells_file} with {clinical_file.name}",
        CARRIED,
        values=request.values,
    )
    found.need("donor_id")
    found.need("cell_type")
    genes = _read_genes(symbols_file, request.path / ENSEMBL)
    return assemble(MatrixMarket(matrix, ADVICE), genes, _coded(found), found, names)


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    return {
        **cell_fields(found),
        **clinical_fields(found),
        "donor_id": found.table["donor_id"],
        "cell_type": cell_type,
        "cell_class": classes(cell_type, MATHYS_2019_CLASSES),
        "region": coding.constant(REGION, cell_type.index),
    }


def _read_cells(path: Path) -> pd.DataFrame:
    """Read the tab-separated metadata; index = TAG, the barcode."""
    cells = read_text_table(path, "\t")
    what = "a tab-separated table with TAG, projid, broad.cell.type"
    need_columns(cells, ["TAG"], path, what)
    return cells.set_index("TAG")


def _read_genes(symbols_file: Path, ensembl_file: Path) -> pd.DataFrame:
    """Read the symbols, one a line, and their Ensembl ids where the folder has them."""
    symbols = pd.Series(_lines(symbols_file), dtype=object)
    ensembl = None
    if ensembl_file.exists():
        pairs = [line.split("\t") for line in _lines(ensembl_file)]
        if any(len(pair) != 2 for pair in pairs):
            raise ScswError(
                f"{ensembl_file} has a line that is not an Ensembl id, a tab and a symbol",
                fix="use the file as downloaded, or leave it out of the folder",
            )
        by_symbol = {symbol: name for name, symbol in reversed(pairs)}  # the first one stands
        ensembl = symbols.map(by_symbol).fillna("")
    return gene_frame(symbols, ensembl, str(symbols_file))


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ScswError(f"{path} is no UTF-8 text: {error}", fix="use it as downloaded") from error
    while lines and not lines[-1]:
        lines.pop()
    return lines
