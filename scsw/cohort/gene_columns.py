"""From the genes of a source to the columns of ``cohort.h5ad``."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.counts import sum_columns
from scsw.cohort.qc import QcLog
from scsw.cohort.vocabulary import MATCHED_BY


def unique_genes(genes: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Give genes numbers that those of one symbol share.

    Parameters
    ----------
    genes
        ``symbol, ensembl_id, from_table``, one row per column of the source's counts.

    Returns
    -------
    tuple
        Number of each gene, shape (genes,); the unique genes in that order. The first one's
        Ensembl id stands for those it is added up with. A symbol that is not the source's own but
        the gene table's unites nothing: the source told these genes apart.
    """
    names = genes["symbol"].mask(genes["from_table"], genes["ensembl_id"])
    groups, _ = pd.factorize(names)
    return groups, genes[~names.duplicated()].reset_index(drop=True)


def token_columns(matched: pd.DataFrame, log: QcLog) -> tuple[np.ndarray, pd.DataFrame]:
    """Give each matched gene the column of its token, in the order of token ids.

    Parameters
    ----------
    matched
        The table of `scsw.cohort.vocabulary.match_genes`.
    log
        Gets the genes that no token has, and those that share one.

    Returns
    -------
    tuple
        Column of each gene, −1 if it has none, shape (genes,); and ``var``: ``symbol,
        ensembl_id, token_id``, one row per column, index = symbol.
    """
    known = matched["token_id"] >= 0
    log.add("genes", "vocabulary", len(known), (~known).sum(), "genes that the vocabulary knows")
    # Where genes meet in one token, the Ensembl id of the one matched in the surest way stands.
    way = matched.loc[known, "matched_by"].map({name: n for n, name in enumerate(MATCHED_BY)})
    ranked = matched[known].assign(way=way).sort_values(["token_id", "way"], kind="stable")
    first = ranked.drop_duplicates("token_id").set_index("token", drop=False)
    merged = int(known.sum()) - len(first)
    log.add("genes", "same_token", known.sum(), merged, "counts of one token are added up")
    columns = np.full(len(matched), -1)
    columns[known] = np.searchsorted(first["token_id"], matched.loc[known, "token_id"])
    var = pd.DataFrame(
        {
            "symbol": first["token"],
            "ensembl_id": first["ensembl_id"],
            "token_id": first["token_id"].astype(np.int64),
        }
    )
    var.index.name = None
    return columns, var


def select(counts: sparse.csr_matrix, columns: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    """Take genes to their columns; genes of one column are added up, those without are dropped.

    Parameters
    ----------
    counts
        Cells × genes, sorted indices.
    columns
        Column of each gene, −1 to drop it, shape (genes,).
    n_columns
        Number of columns of the result.

    Returns
    -------
    scipy.sparse.csr_matrix
        Cells × columns, int32, sorted indices.
    """
    known = np.flatnonzero(columns >= 0)
    if len(np.unique(columns[known])) < len(known):
        return sum_columns(counts[:, known], columns[known], n_columns)
    # By gene, a gene is taken as one piece; turning the matrix twice also sorts in linear time.
    return counts.tocsc()[:, known[np.argsort(columns[known])]].tocsr()
