"""Grubman 2019 (GSE138852): a table of counts, genes × cells, and one of its cells.

Nuclei of two people were pooled in each library and not told apart, so a donor of this cohort is
a pool, named at the end of its cells' names: ``AAACCTGGTAGAAAGG_AD5_AD6``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from scsw.cohort import coding
from scsw.cohort.cell_types import GRUBMAN_2019_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.dense_text import DenseText
from scsw.cohort.fields import cell_fields
from scsw.cohort.genes import gene_frame
from scsw.cohort.glimpse import Glimpse
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.text_table import need_columns, read_text_table
from scsw.errors import ScswError
from scsw.files import require

POOL = "pool"  # made of the cells' names
CANDIDATES = {
    "donor_id": (POOL,),
    "batch": (POOL,),
    "cell_type": ("oupSample.cellType",),
    "supertype": ("oupSample.subclustID",),
}
CARRIED = ("oupSample.batchCond",)

DOUBLET = "doublet"
UNTYPED = (DOUBLET, "unID")
REGION = "entorhinal cortex"
ADVICE = "use the counts as downloaded, not normalised ones"

# GEO puts the series before the names.
COUNTS, CELLS = "GSE138852_counts.csv.gz", "GSE138852_covariates.csv.gz"
_COUNTS_END = ("counts.csv", "counts.csv.gz")
_CELLS_END = ("covariates.csv", "covariates.csv.gz")
_POOL_OF_CELL = re.compile(r"_((?:AD|Ct)\d+(?:[_-](?:AD|Ct)\d+)*)$", re.IGNORECASE)

TITLE = "Grubman et al. 2019"
LAYOUT = "a folder with *counts.csv.gz and *covariates.csv.gz, or the former (Grubman 2019)"
POOLED = (
    "Nuclei of two people were pooled in each library: a donor of this cohort, such as {}, is a "
    "pool of both, and its split and its statistics over donors go by pool."
)


def recognise(seen: Glimpse) -> str | None:
    """Say how a file or folder shows that it is this one, or return None."""
    if not seen.is_folder and not seen.path.name.endswith(_COUNTS_END):
        return None
    names = seen.files if seen.is_folder else [f.name for f in seen.path.parent.iterdir()]
    counts, tables = _named(names, _COUNTS_END), _named(names, _CELLS_END)
    if not counts or not tables:
        return None
    if seen.is_folder:
        return f"the folder holds {counts[0]} and {tables[0]}"
    return f"it is named {seen.path.name} with {tables[0]} beside it"


def files(path: Path, tables: Mapping[str, str]) -> list[str]:
    """Name the files to open: the counts, the table of cells."""
    is_file = path.is_file() or path.name.endswith(_COUNTS_END)
    counts = path if is_file else _in_folder(path, _COUNTS_END, COUNTS)
    return [
        str(counts),
        str(tables.get("cells") or _in_folder(counts.parent, _CELLS_END, CELLS)),
    ]


def read(request: Request) -> SourceCohort:
    """Read the two files; cells without a type, and doublets, are left out.

    Raises
    ------
    ScswError
        If a file is missing or does not have this layout.
    """
    names = files(request.path, request.tables)
    counts_file, cells_file = (require(name) for name in names)
    counts = DenseText(counts_file, ADVICE)
    cells = _read_cells(cells_file, counts.barcodes)
    found = Columns(
        cells, CANDIDATES, request.columns, str(cells_file), CARRIED, values=request.values
    )
    if found.name("donor_id") == POOL and not any(cells[POOL].cat.categories):
        raise ScswError(
            f"no cell of {counts_file} names its pool: the first is {counts.barcodes[0]!r}",
            expected="names that end in the pool, such as AAACCTGGTAGAAAGG_AD5_AD6",
            fix="use the counts as downloaded",
        )
    coded = _coded(found)
    is_doublet = coding.mapped(found.need("cell_type"), DOUBLET.__eq__).to_numpy(bool)
    genes = gene_frame(counts.symbols, None, str(counts_file))
    cohort = assemble(counts, genes, coded, found, names, {"doublet": is_doublet})
    if found.name("donor_id") == POOL:
        example = next(name for name in coded["donor_id"].cat.categories if name)
        cohort.warnings.append(POOLED.format(example))
    return cohort


def _coded(found: Columns) -> dict[str, pd.Series]:
    found.need("cell_type")
    cell_type = coding.mapped(found.text("cell_type"), lambda t: "" if t in UNTYPED else t)
    return {
        **cell_fields(found),
        "cell_type": cell_type,
        # A neuron may be of either kind here: its class is other.
        "cell_class": classes(cell_type, GRUBMAN_2019_CLASSES),
        "region": coding.constant(REGION, cell_type.index),
    }


def _pool(cell: str) -> str:
    match = _POOL_OF_CELL.search(cell)
    return match.group(1).replace("-", "_") if match else ""


def _read_cells(path: Path, barcodes: pd.Index) -> pd.DataFrame:
    """Give each cell of the counts its row, missing if there is none, and its pool.

    The table is one of some thousand cells; its first column names them and has no name itself.
    """
    table = read_text_table(path, ",")
    what = "a comma-separated table of the cells with oupSample.batchCond, oupSample.cellType"
    need_columns(table, ["oupSample.batchCond"], path, what)
    table = table.set_index(table.columns[0]).astype("category")
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()]
        raise ScswError(f"{path} names {twice[0]!r} more than once", expected="one row per cell")
    if not table.index.isin(barcodes).any():
        raise ScswError(
            f"{path} names none of the {len(barcodes)} cells: it has names such as "
            f"{table.index[0]!r}, the counts such as {barcodes[0]!r}",
            expected="the table that belongs to these counts",
            fix="name it with --cell-table (in the config: `cell_table:`)",
        )
    pools = pd.Categorical([_pool(name) for name in barcodes])
    return table.reindex(barcodes).assign(**{POOL: pools})


def _in_folder(folder: Path, ends: tuple[str, ...], public: str) -> Path:
    found = _named((file.name for file in folder.glob("*")), ends)
    return folder / (found[0] if found else public)


def _named(names: Iterable[str], ends: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if name.endswith(ends))
