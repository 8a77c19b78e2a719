"""The genes of an h5ad file of any origin: which names stand in ``var``, and under which column."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd

from scsw.cohort.count_matrix import CountMatrix, Reordered
from scsw.cohort.genes import gene_frame
from scsw.cohort.h5ad import members, read_columns
from scsw.errors import ScswError

SYMBOLS = (
    "feature_name", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "symbol", "SYMBOL",
    "hgnc_symbol",
)  # fmt: skip
IDS = (
    "gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl_gene_id", "ENSEMBL", "ensembl",
    "feature_id",
)  # fmt: skip
_KINDS, _GENES = "feature_types", "Gene Expression"


def genes_of_h5ad(file: h5py.File, key: str) -> pd.DataFrame:
    """Return the genes of a matrix.

    The index of ``var`` holds Ensembl ids or symbols; the other name is taken from the first
    column that usually holds it.

    Parameters
    ----------
    file
        The open file.
    key
        The matrix, such as ``X`` or ``raw/X``; the latter has genes of its own.

    Returns
    -------
    pandas.DataFrame
        The table of `scsw.cohort.genes.gene_frame`.

    Raises
    ------
    ScswError
        If the genes are those of another species.
    """
    where = f"{_table(file, key)} of {file.filename}"
    var = read_columns(file, "var", [*SYMBOLS, *IDS])
    own = read_columns(file, _table(file, key), [*SYMBOLS, *IDS])
    names = pd.Series(own.index, dtype=object)
    _refuse_other_species(names, where)
    if _share(names, r"ENSG\d{11}") > 0.5:
        return gene_frame(_column(own, var, SYMBOLS), names, where)
    are_numbers = _share(names, r"\d+$") == 1
    symbols, ids = _column(own, var, SYMBOLS) if are_numbers else names, _column(own, var, IDS)
    if ids is not None:
        _refuse_other_species(ids.astype(str), where)
    return gene_frame(symbols, ids, where)


def genes_alone(
    file: h5py.File, key: str, counts: CountMatrix, genes: pd.DataFrame
) -> tuple[CountMatrix, pd.DataFrame]:
    """Leave out what Cell Ranger measured beside genes: antibodies, peaks of open chromatin.

    An antibody often has the name of the gene whose protein it binds, and would be added to it.

    Parameters
    ----------
    file
        The open file.
    key
        The matrix.
    counts, genes
        Its counts, and the table of `genes_of_h5ad`.

    Returns
    -------
    tuple
        Both, less the other features.
    """
    kinds = read_columns(file, _table(file, key), [_KINDS])
    is_gene = kinds[_KINDS].astype(str).to_numpy() == _GENES if _KINDS in kinds else np.array([])
    if is_gene.all() or not is_gene.any():  # another column of that name, if none is
        return counts, genes
    return Reordered(counts, np.flatnonzero(is_gene)), genes[is_gene].reset_index(drop=True)


def _table(file: h5py.File, key: str) -> str:
    return "raw/var" if key.startswith("raw/") and "var" in members(file, "raw") else "var"


def _column(own: pd.DataFrame, var: pd.DataFrame, names: tuple[str, ...]) -> pd.Series | None:
    """Return the first column there is; `var` may hold names that the matrix's own table lacks."""
    for name in names:
        if name in own:
            return own[name]
        if name in var:
            return var[name][~var.index.duplicated()].reindex(own.index)
    return None


def _share(names: pd.Series, pattern: str) -> float:
    return float(names.str.match(pattern).mean()) if len(names) else 0.0


def _refuse_other_species(names: pd.Series, where: str) -> None:
    """Raise if the Ensembl ids are not human, such as ENSMUSG00000019969."""
    if _share(names, r"ENS[A-Z]{2,6}G\d{11}") > 0.5:
        raise ScswError(
            f"{where} names genes of another species, such as {names.iloc[0]}",
            expected="human genes, as symbols or Ensembl ids (ENSG…)",
        )
