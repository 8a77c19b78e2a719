"""Gene names: Ensembl ids without version, symbols from the shipped gene table."""

from __future__ import annotations

import functools
import gzip

import pandas as pd

from scsw.cohort import coding
from scsw.errors import ScswError
from scsw.resources import resource

GENE_TABLE = "genes.csv.gz"


@functools.cache
def symbol_by_ensembl_id() -> dict[str, str]:
    """Return the shipped gene table: Ensembl id without version to symbol."""
    with gzip.open(resource(GENE_TABLE), "rt", encoding="utf-8") as lines:
        return dict(line.split(",", 2)[:2] for line in lines)


def current_symbols(ensembl_ids: pd.Series) -> pd.Series:
    """Return the gene table's symbol of each Ensembl id; "" if it has none."""
    table = symbol_by_ensembl_id()
    return pd.Series([table.get(i, "") for i in ensembl_ids], ensembl_ids.index, dtype=object)


def without_version(ensembl_ids: pd.Series) -> pd.Series:
    """Strip the version: ENSG00000142192.22 becomes ENSG00000142192; other texts stay."""
    return ensembl_ids.str.replace(r"^(ENSG\d{11})\.\d+(_PAR_Y)?$", r"\1", regex=True)


def gene_frame(
    symbols: pd.Series | pd.Index | None, ensembl_ids: pd.Series | pd.Index | None, where: str
) -> pd.DataFrame:
    """Build the table of a source's genes.

    A gene without a symbol takes the one of the shipped gene table, else its Ensembl id.

    Parameters
    ----------
    symbols, ensembl_ids
        One per gene; None where the source has no such names.
    where
        Name of the file for messages.

    Returns
    -------
    pandas.DataFrame
        ``symbol, ensembl_id`` (text; "" if unknown) and ``from_table`` (bool: the symbol is the
        gene table's, not the source's), index 0 to genes − 1.

    Raises
    ------
    ScswError
        If a gene has neither name.
    """
    given = [names for names in (symbols, ensembl_ids) if names is not None]
    blank = pd.Series([""] * len(given[0]), dtype=object)
    symbol = blank if symbols is None else coding.text(pd.Series(symbols).reset_index(drop=True))
    ids = blank if ensembl_ids is None else pd.Series(ensembl_ids).reset_index(drop=True)
    ids = without_version(coding.text(ids))
    in_table = current_symbols(ids)
    from_table = (symbol == "") & (in_table != "")
    symbol = without_version(symbol.mask(from_table, in_table))
    symbol = symbol.mask(symbol == "", ids)
    if (symbol == "").any():
        raise ScswError(f"{int((symbol == '').sum())} genes of {where} have neither symbol nor id")
    return pd.DataFrame(
        {
            "symbol": symbol.astype(object),
            "ensembl_id": ids.astype(object),
            "from_table": from_table,
        }
    )
