"""Gene names: Ensembl ids without version, symbols and other names from the shipped tables."""

from __future__ import annotations

import functools
import gzip
import re

import pandas as pd

from scsw.cohort import coding
from scsw.errors import ScswError
from scsw.resources import resource

GENE_TABLE = "genes.csv.gz"
FORMER_SYMBOLS = "former_symbols.csv.gz"
GENE_ALIASES = "gene_aliases.csv.gz"

# How far a kind of name is from the gene's symbol of today. Two names are as far apart as the sum,
# which is 3 or more if one of them is an alias, and only then.
NAME_DISTANCE = {"symbol": 0, "previous": 1, "alias": 3}

# "C1ORF112", as files spell it whose names were all made upper-case. Apart from small RNAs no other
# symbol has lower-case letters. Nothing else is compared without case: App is a gene of the mouse.
_UPPER_ORF = re.compile(r"\bC(\d+|X|Y)ORF(?=\d)")


@functools.cache
def symbol_by_ensembl_id() -> dict[str, str]:
    """Return the shipped gene table: Ensembl id without version to symbol."""
    with gzip.open(resource(GENE_TABLE), "rt", encoding="utf-8") as lines:
        return dict(line.split(",", 2)[:2] for line in lines)


def current_symbols(ensembl_ids: pd.Series) -> pd.Series:
    """Return the gene table's symbol of each Ensembl id; "" if it has none."""
    table = symbol_by_ensembl_id()
    return pd.Series([table.get(i, "") for i in ensembl_ids], ensembl_ids.index, dtype=object)


@functools.cache
def former_symbol_by_ensembl_id() -> dict[str, str]:
    """Return the shipped former symbols: Ensembl id without version to GENCODE 38's symbol.

    Holds a gene only if that symbol was no other gene's, and is no gene's today.
    """
    return {ensembl_id: symbol for ensembl_id, symbol in _rows(FORMER_SYMBOLS)}


@functools.cache
def ensembl_id_by_symbol() -> dict[str, str]:
    """Return the gene table the other way: symbol to Ensembl id, of symbols with one id."""
    ids = pd.Series(symbol_by_ensembl_id()).reset_index()
    ids.columns = ["ensembl_id", "symbol"]
    return ids.drop_duplicates("symbol", keep=False).set_index("symbol")["ensembl_id"].to_dict()


@functools.cache
def gene_by_name() -> dict[str, tuple[str, str]]:
    """Return what each gene's names mean: name to today's symbol and kind of name.

    The kind is ``symbol``, ``previous`` or ``alias``. A name that two genes share is not there.
    """
    genes = {alias: (symbol, kind) for alias, symbol, kind in _rows(GENE_ALIASES)}
    symbols = {symbol for symbol, _ in genes.values()} | set(symbol_by_ensembl_id().values())
    return genes | {symbol: (symbol, "symbol") for symbol in symbols}


def genes_named(names: pd.Series) -> pd.DataFrame:
    """Find the gene that each name means.

    Returns
    -------
    pandas.DataFrame
        ``symbol`` (today's) and ``kind`` (a key of `NAME_DISTANCE`), both "" if the name is
        unknown or two genes'; the index of `names`.
    """
    genes = gene_by_name()
    spelt = [name if name in genes else _UPPER_ORF.sub(r"C\1orf", name) for name in names]
    found = [genes.get(name, ("", "")) for name in spelt]
    return pd.DataFrame(found, names.index, ["symbol", "kind"], dtype=object)


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
    if not given:
        raise ScswError(
            f"{where} names its genes by numbers alone",
            expected="gene symbols or Ensembl ids as its index, or in a column such as gene_name",
            fix="set adata.var_names to the gene names before the file is written",
        )
    blank = pd.Series([""] * len(given[0]), dtype=object)
    symbol = blank if symbols is None else _texts(symbols)
    ids = blank if ensembl_ids is None else without_version(_texts(ensembl_ids))
    symbol = _with_dashes(symbol)
    # A list of symbols may hold the ids of some genes that have a symbol: these are found by it.
    named = current_symbols(without_version(symbol))
    is_id = (ids == "") & (named != "") & (named != without_version(symbol))
    ids, symbol = ids.mask(is_id, without_version(symbol)), symbol.mask(is_id, "")
    in_table = current_symbols(ids)
    from_table = (symbol == "") & (in_table != "")
    symbol = without_version(symbol.mask(from_table, in_table))
    symbol = symbol.mask(symbol == "", ids)
    if (symbol == "").any():
        raise ScswError(
            f"{int((symbol == '').sum())} genes of {where} have neither symbol nor id",
            expected="a gene symbol or an Ensembl id for each gene",
        )
    return pd.DataFrame(
        {
            "symbol": symbol.astype(object),
            "ensembl_id": ids.astype(object),
            "from_table": from_table,
        }
    )


def _with_dashes(symbols: pd.Series) -> pd.Series:
    """Mend symbols whose dash R made a dot, such as MT.ND1; clones such as AC245041.2 stay."""
    known = gene_by_name().keys()
    dashed = symbols.str.replace(".", "-", regex=False)
    is_made = (dashed != symbols) & ~symbols.isin(known) & dashed.isin(known)
    return symbols.mask(is_made, dashed)


def _rows(name: str) -> list[list[str]]:
    """Read a shipped table, less its header."""
    with gzip.open(resource(name), "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split(",") for line in lines][1:]


def _texts(names: pd.Series | pd.Index) -> pd.Series:
    return coding.text(pd.Series(names).reset_index(drop=True)).astype(object)
