"""ROSMAP single nuclei of Mathys 2019 (Synapse syn18485175): a folder of text files.

The clinical table gives each donor's Braak stage and CERAD score but no ADNC, which stays
missing; it cannot be derived without the Thal phase.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy import io, sparse

from scsw.cohort import coding
from scsw.cohort.cell_types import MATHYS_2019_CLASSES, classes
from scsw.cohort.columns import Columns
from scsw.cohort.counts import check_shape
from scsw.cohort.fields import cell_fields, donor_fields
from scsw.cohort.genes import gene_frame
from scsw.cohort.source_cohort import SourceCohort, assemble
from scsw.cohort.sources import ROSMAP_ENSEMBL, input_files
from scsw.errors import ScswError
from scsw.files import require

CANDIDATES = {
    "donor_id": ("projid",),
    "cell_type": ("broad.cell.type",),
    "supertype": ("Subcluster",),
    "sex": ("msex",),
    "age_death": ("age_death",),
    "pmi": ("pmi",),
    "apoe_genotype": ("apoe_genotype",),
    "braak": ("braaksc",),
    "cerad": ("ceradsc",),
    "cognition": ("cogdx",),
}
CARRIED = ("pre.cluster", "individualID")

SEX = {"0": "female", "1": "male"}
# ceradsc runs from 1 = definite to 4 = no AD; ours from none to frequent.
CERAD = {"1": 3, "2": 2, "3": 1, "4": 0}
# 1 none; 2, 3 mild impairment; 4, 5 Alzheimer's dementia; 6 other dementia.
COGNITION = {"1": 0, "2": 1, "3": 1, "4": 2, "5": 2, "6": 2}

REGION = "prefrontal cortex, Brodmann area 10"
ADVICE = "use the filtered count matrix as downloaded, not a normalised one"


def read(
    path: str, columns: dict[str, str] | None = None, clinical: str | None = None
) -> SourceCohort:
    """Read the folder of Mathys 2019.

    Parameters
    ----------
    path
        The folder.
    columns
        Column names in place of `CANDIDATES`, of the cell metadata or the clinical table.
    clinical
        Clinical table, if it is not ``ROSMAP_clinical.csv`` in the folder.

    Raises
    ------
    ScswError
        If a file is missing or does not have this layout.
    """
    if not require(path).is_dir():
        raise ScswError(f"{path} is not a folder", expected="the folder of Mathys 2019")
    files = [require(file) for file in input_files("rosmap", path, clinical)]
    matrix_file, symbols_file, cells_file, clinical_file = files[0], files[1], files[-2], files[-1]
    cells = _read_cells(cells_file)
    donors = _read_clinical(clinical_file)
    found = Columns(
        _joined(cells, donors, columns, clinical_file),
        CANDIDATES,
        columns,
        f"{cells_file} with {clinical_file.name}",
        CARRIED,
    )
    found.need("donor_id")
    found.need("cell_type")
    genes = _read_genes(symbols_file, Path(path) / ROSMAP_ENSEMBL)
    matrix = _read_matrix(matrix_file)
    check_shape(matrix.shape[::-1], len(cells), len(genes), str(matrix_file))
    counts = sparse.csr_matrix(matrix.T)
    return assemble(counts, genes, _coded(found), found, where=str(matrix_file), advice=ADVICE)


def _coded(found: Columns) -> dict[str, pd.Series]:
    cell_type = found.text("cell_type")
    return {
        **cell_fields(found),
        **donor_fields(found, SEX),
        "donor_id": found.table["donor_id"],
        "cell_type": cell_type,
        "cell_class": classes(cell_type, MATHYS_2019_CLASSES),
        "region": pd.Series(REGION, index=cell_type.index),
        "braak": found.decoded("braak", coding.braak, -1, "0 to 6"),
        "cerad": found.decoded("cerad", coding.choice(CERAD), -1, "1 to 4"),
        "cognition": found.decoded("cognition", coding.choice(COGNITION), -1, "1 to 6"),
    }


def _read_cells(path: Path) -> pd.DataFrame:
    """Read the tab-separated metadata; index = TAG, the barcode."""
    cells = _read_text_table(path, "\t")
    if "TAG" not in cells:
        raise ScswError(
            f"{path} has no column TAG; its columns are {', '.join(cells.columns[:20])}",
            expected="a tab-separated table with TAG, projid, broad.cell.type",
            fix="check that the file is separated by tabs"
            if cells.shape[1] == 1
            else "use the file as downloaded",
        )
    return cells.set_index("TAG")


def _read_clinical(path: Path) -> pd.DataFrame:
    """Read the clinical table; index = projid padded to 8 digits."""
    donors = _read_text_table(path, ",")
    if "projid" not in donors:
        raise ScswError(
            f"{path} has no column projid; its columns are {', '.join(donors.columns[:20])}",
            expected="the comma-separated table ROSMAP_clinical.csv",
            fix="check that the file is separated by commas"
            if donors.shape[1] == 1
            else "use the file as downloaded",
        )
    donors.index = pd.Index(padded_projid(donors["projid"]), dtype=object)
    if donors.index.has_duplicates:
        twice = sorted(set(donors.index[donors.index.duplicated()]))
        raise ScswError(
            f"projid {', '.join(twice[:5])} occurs more than once in {path}",
            expected="one row per participant",
        )
    return donors.drop(columns="projid")


def padded_projid(projid: pd.Series) -> pd.Series:
    """Return ROSMAP's participant number as 8 digits, from text or number, padded or not.

    Raises
    ------
    ScswError
        If a value is no such number.
    """
    return coding.decoded(
        projid,
        lambda value: f"{coding.integer(0, 99_999_999)(value):08d}",
        missing="",
        field="donor_id",
        expected="a number of up to 8 digits",
    )


def _joined(
    cells: pd.DataFrame, donors: pd.DataFrame, columns: dict[str, str] | None, clinical: Path
) -> pd.DataFrame:
    """Give each cell its donor's clinical row, and ``donor_id``."""
    override = {key: name for key, name in (columns or {}).items() if key == "donor_id"}
    candidates = {"donor_id": CANDIDATES["donor_id"]}
    key = Columns(cells, candidates, override, "the cell metadata").need("donor_id")
    donor = padded_projid(key)
    unknown = sorted(set(donor) - set(donors.index) - {""})
    if unknown:
        raise ScswError(
            f"{len(unknown)} of {donor.nunique()} donors have no row in {clinical}, "
            f"such as projid {', '.join(unknown[:5])}",
            expected="a clinical row for each donor of the cells",
            fix="use the complete clinical table, or name it under `clinical:`",
        )
    new = donors[[name for name in donors.columns if name not in cells.columns]]
    rows = new.reindex(donor.to_numpy()).set_axis(cells.index)
    return pd.concat([cells, rows], axis=1).assign(donor_id=donor.to_numpy())


def _read_genes(symbols_file: Path, ensembl_file: Path) -> pd.DataFrame:
    """Read the symbols, one a line, and their Ensembl ids where the folder has them."""
    symbols = pd.Series(_lines(symbols_file), dtype=object)
    ensembl = None
    if ensembl_file.exists():
        pairs = [line.split("\t") for line in _lines(ensembl_file)]
        if any(len(pair) != 2 for pair in pairs):
            raise ScswError(
                f"{ensembl_file} has a line that is not an Ensembl id, a tab and a symbol"
            )
        by_symbol = {symbol: name for name, symbol in reversed(pairs)}  # the first one stands
        ensembl = symbols.map(by_symbol).fillna("")
    return gene_frame(symbols, ensembl, str(symbols_file))


def _read_matrix(path: Path) -> sparse.coo_matrix:
    try:
        return sparse.coo_matrix(io.mmread(path))
    except (ValueError, OSError, EOFError, TypeError, OverflowError) as error:
        raise ScswError(
            f"{path} cannot be read as a Matrix Market file: {error}",
            expected="genes × cells in Matrix Market format",
            fix="download the file again",
        ) from error


def _read_text_table(path: Path, separator: str) -> pd.DataFrame:
    """Read every column as text, so that no code loses its zeros and "NA" stays visible."""
    try:
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise ScswError(f"{path} cannot be read as a table: {error}") from error


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines
