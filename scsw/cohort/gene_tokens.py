"""The tokens of a vocabulary that genes have by Ensembl id and by alias."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from scsw.cohort.genes import (
    NAME_DISTANCE,
    current_symbols,
    ensembl_id_by_symbol,
    former_symbol_by_ensembl_id,
    genes_named,
    symbol_by_ensembl_id,
)

# scGPT's census list tells genes of one symbol apart by "VAMP7_ENSG00000124333", and has
# "ENSG00000280249.1" for genes without symbol.
_CARRIED_ID = re.compile(r"(?:^|_)(ENSG\d{11})(?:\.\d+)?$")


def tokens_of_ids(ensembl_ids: pd.Series, vocabulary: dict[str, int]) -> pd.Series:
    """Return the token of each Ensembl id; "" if the vocabulary has none.

    The token that carries the id, else the id's former symbol, else its symbol today. The former
    one goes first since it is one gene's only, and a symbol of today may have been another gene's.
    """
    found = ((_CARRIED_ID.search(token), token) for token in vocabulary)
    carrying = {match[1]: token for match, token in found if match}
    former, current = former_symbol_by_ensembl_id(), symbol_by_ensembl_id()

    def token(ensembl_id: str) -> str:
        names = (table.get(ensembl_id) for table in (carrying, former, current))
        return next((name for name in names if name in vocabulary), "")

    return pd.Series([token(i) for i in ensembl_ids], ensembl_ids.index, dtype=object)


def tokens_of_aliases(genes: pd.DataFrame, vocabulary: dict[str, int]) -> pd.DataFrame:
    """Find a token that is another name of each gene.

    Parameters
    ----------
    genes
        ``symbol, ensembl_id``. Where the gene table knows the id, the symbol is not looked at.
    vocabulary
        Token to id.

    Returns
    -------
    pandas.DataFrame
        ``token`` ("" if none) and ``distance``: the sum of `NAME_DISTANCE` over the gene's name
        (0 if its id is known) and the token. A token that today's symbol leads to by way of its
        Ensembl id goes before one that HGNC names, a near one before a far one, then the first.
    """
    named = genes_named(genes["symbol"])
    current = current_symbols(genes["ensembl_id"])
    gene = named["symbol"].mask(current != "", current)
    distance = named["kind"].map(NAME_DISTANCE).mask(current != "", 0).fillna(0)

    of_id = tokens_of_ids(gene.map(ensembl_id_by_symbol()), vocabulary)
    of_names = _token_of_each_gene(vocabulary)
    token = of_id.mask(of_id == "", gene.map(of_names["token"]).fillna(""))
    distance += gene.map(of_names["distance"]).fillna(0).mask(of_id != "", 0)
    return pd.DataFrame({"token": token, "distance": distance.astype(int)})


def joins_another_gene(
    token: np.ndarray, ensembl_ids: pd.Series, distance: np.ndarray
) -> np.ndarray:
    """Tell which genes would join a gene in its token without being that gene.

    Parameters
    ----------
    token
        Token of each gene, "" for none, shape (genes,).
    ensembl_ids
        "" where unknown, shape (genes,).
    distance
        How closely the gene is linked to its token: 0 by symbol, 1 by Ensembl id, 2 and more by
        alias. The closest gene has it, or the first such one.

    Returns
    -------
    numpy.ndarray
        bool, shape (genes,): the ids differ, or one is unknown and an alias is among the names,
        which is no proof that two genes are one.
    """
    table = pd.DataFrame({"token": token, "id": ensembl_ids.to_numpy(), "distance": distance})
    closest = table[table["token"] != ""].sort_values("distance", kind="stable")
    closest = closest.drop_duplicates("token").reset_index().set_index("token")
    is_closest = table["token"].map(closest["index"]) == table.index
    id_of_closest = table["token"].map(closest["id"]).fillna("")
    known = (table["id"] != "") & (id_of_closest != "")
    by_alias = table["distance"] >= 2 + NAME_DISTANCE["alias"]
    another = np.where(known, table["id"] != id_of_closest, by_alias)
    return another & (table["token"] != "").to_numpy() & ~is_closest.to_numpy()


def _token_of_each_gene(vocabulary: dict[str, int]) -> pd.DataFrame:
    """Return ``token, distance`` of each gene that the vocabulary names, by symbol of today."""
    tokens = pd.Series(list(vocabulary), dtype=object)
    tokens = genes_named(tokens).assign(token=tokens).query("symbol != ''")
    tokens["distance"] = tokens["kind"].map(NAME_DISTANCE)
    tokens = tokens.sort_values("distance", kind="stable").drop_duplicates("symbol")
    return tokens.set_index("symbol")[["token", "distance"]]
