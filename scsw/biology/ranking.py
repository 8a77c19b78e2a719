"""How the genes of one candidate are put in order: the one rule that every later table uses."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.errors import ScswError

VIEWS = ("read_in", "write_out")


def view_scores(gene_scores: pd.DataFrame, view: str, candidate: str) -> pd.DataFrame:
    """Return one candidate's rows of one view, over all cells, that have a z-score.

    Parameters
    ----------
    gene_scores
        Table ``gene_scores.parquet``.
    view
        ``read_in`` or ``write_out``.
    candidate
        Its ``candidate_id``.

    Raises
    ------
    ScswError
        If a gene has two rows.
    """
    rows = gene_scores[
        gene_scores["candidate_id"].eq(candidate)
        & gene_scores["view"].eq(view)
        & gene_scores["cell_type"].eq("all")
    ]
    scores = rows[np.isfinite(rows["z"].astype(float))]
    twice = scores.duplicated("gene")
    if twice.any():
        raise ScswError(
            f"gene {scores['gene'][twice].iloc[0]} has two {view} scores for {candidate}",
            expected="one score per candidate, gene and view over all cells",
        )
    return scores


def orientation(scores: pd.DataFrame) -> float:
    """Return the sign (+1 or −1) of a candidate's mean read-in score over genes.

    A read-in score is a mean of w·h. Where w is negative, the genes that drive the candidate
    most have the most negative scores, so their z-scores are turned round before ranking.
    """
    return -1.0 if scores["score"].mean() < 0 else 1.0


def ranked_genes(scores: pd.DataFrame, view: str) -> pd.DataFrame:
    """Put the genes of one candidate and view in order, strongest first.

    Parameters
    ----------
    scores
        Rows of `view_scores` for one candidate.
    view
        ``read_in``: by z × `orientation`, the largest first. Other views: by |z|.

    Returns
    -------
    pandas.DataFrame
        ``gene, z, place`` and the columns ``score, q`` where given; ``z`` is oriented for
        ``read_in`` and signed otherwise, ``place`` counts from 1. Ties are broken by
        gene name.
    """
    sign = orientation(scores) if view == "read_in" else 1.0
    table = scores.assign(z=sign * scores["z"].astype(float), gene=scores["gene"].astype(str))
    strength = table["z"] if view == "read_in" else table["z"].abs()
    table = table.assign(_order=-strength).sort_values(["_order", "gene"], kind="stable")
    kept = [name for name in ("gene", "z", "score", "q") if name in table.columns]
    return table[kept].assign(place=np.arange(1, len(table) + 1)).reset_index(drop=True)


def leading_genes(ranked: pd.DataFrame, view: str, top_genes: int) -> pd.Series:
    """Return which genes lead: the first `top_genes` of the order with a strength above zero.

    A candidate whose input is silent scores 0 for every gene and so leads with none.

    Parameters
    ----------
    ranked
        Table from `ranked_genes` of the same `view`.
    view
        ``read_in`` or ``write_out``.
    top_genes
        Most genes that may lead.
    """
    strength = ranked["z"] if view == "read_in" else ranked["z"].abs()
    return ranked["place"].le(top_genes) & strength.gt(0)


def strengths(z: pd.DataFrame, view: str) -> pd.DataFrame:
    """Return what a view ranks genes by: oriented z of ``read_in``, |z| of the other views."""
    return z if view == "read_in" else z.abs()
