"""Which candidate of one model corresponds to which of another, and how surely."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from scsw.biology.ranking import ranked_genes, view_scores

MIN_SHARED_GENES = 10
MATCHED_NULL = (
    "permutation of the gene labels of cohort b with the matching done again, largest Spearman "
    "of the matched pairs, one-sided"
)
FIXED_NULL = (
    "permutation of the gene labels of cohort b for the pairs matched on read_in, largest "
    "Spearman of the pairs, one-sided"
)


def profiles(gene_scores: pd.DataFrame, view: str) -> pd.DataFrame:
    """Return the z-scores of one view as genes × candidates, candidates in sorted order.

    The z-scores are oriented as in `ranking.ranked_genes`. Candidates without scores, or with the
    same score for all genes, have no profile to compare and are left out. So are those scored on
    fewer than half of the genes, since only genes scored in all candidates are compared.
    """
    columns = {}
    for candidate, own in gene_scores[gene_scores["view"].eq(view)].groupby("candidate_id"):
        ranked = ranked_genes(view_scores(own, view, candidate), view)
        if ranked["z"].nunique() > 1:
            columns[str(candidate)] = ranked.set_index("gene")["z"]
    table = pd.DataFrame(columns).sort_index()
    return table.loc[:, table.notna().mean().ge(0.5)]


def match_candidates(
    a: pd.DataFrame, b: pd.DataFrame, *, permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Pair the candidates of two models one to one by their gene profiles.

    The pairs are those of the linear sum assignment with the largest total Spearman over the
    shared genes. Under the null the genes of `b` are relabelled, for all candidates at once, the
    assignment is done again, and the largest Spearman of its pairs is kept; so both the
    choice of partners and the number of pairs are in the null. p = (1 + number of relabellings
    with a value at least as large) / (1 + permutations): one-sided, since profiles are oriented
    and agreement is a positive correlation.

    Parameters
    ----------
    a, b
        Profiles from `profiles`, genes × candidates.
    permutations
        Number of relabellings.
    rng
        Source of the relabellings.

    Returns
    -------
    pandas.DataFrame
        ``candidate_a, candidate_b, n_genes, spearman, p``; empty if there are fewer than
        `MIN_SHARED_GENES` genes with a score in all candidates.
    """
    ranks_a, ranks_b, n_genes = _shared_ranks(a, b)
    if not n_genes:
        return _no_pairs()
    observed = ranks_a.T @ ranks_b
    rows, columns = linear_sum_assignment(observed, maximize=True)
    null = np.empty(permutations)
    for index in range(permutations):
        permuted = ranks_a.T @ ranks_b[rng.permutation(n_genes)]
        null[index] = permuted[linear_sum_assignment(permuted, maximize=True)].max()
    pairs = {"candidate_a": a.columns[rows], "candidate_b": b.columns[columns]}
    return _tested(pairs, n_genes, observed[rows, columns], null)


def correlate_pairs(
    a: pd.DataFrame,
    b: pd.DataFrame,
    pairs: pd.DataFrame,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Correlate given pairs on another view, on which they were not chosen.

    The null is as in `match_candidates`, without a new assignment. Returns the same columns.
    """
    known = pairs["candidate_a"].isin(a.columns) & pairs["candidate_b"].isin(b.columns)
    pairs = pairs[known]
    ranks_a, ranks_b, n_genes = _shared_ranks(a[pairs["candidate_a"]], b[pairs["candidate_b"]])
    if not n_genes:
        return _no_pairs()
    null = np.empty(permutations)
    for index in range(permutations):
        permuted = ranks_b[rng.permutation(n_genes)]
        null[index] = np.einsum("gk,gk->k", ranks_a, permuted).max()
    observed = np.einsum("gk,gk->k", ranks_a, ranks_b)
    return _tested(pairs[["candidate_a", "candidate_b"]], n_genes, observed, null)


def shared_genes(a: pd.DataFrame, b: pd.DataFrame) -> pd.Index:
    """Return the genes, sorted, that have a score in all candidates of both models."""
    both = a.shape[1] and b.shape[1]
    return a.dropna().index.intersection(b.dropna().index, sort=True) if both else pd.Index([])


def _shared_ranks(a: pd.DataFrame, b: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the `unit_ranks` over shared genes, genes × candidates, and the number of genes."""
    shared = shared_genes(a, b)
    if len(shared) < MIN_SHARED_GENES:
        return np.empty((0, 0)), np.empty((0, 0)), 0
    return unit_ranks(a.loc[shared]), unit_ranks(b.loc[shared]), len(shared)


def unit_ranks(values: pd.DataFrame | pd.Series) -> np.ndarray:
    """Return ranks along the first axis, centred and of unit length (zeros if all are equal).

    The product of two such vectors is Spearman's rho.
    """
    ranks = rankdata(np.asarray(values, dtype=float), axis=0)
    centred = ranks - ranks.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)


def _tested(pairs: object, n_genes: int, observed: np.ndarray, null: np.ndarray) -> pd.DataFrame:
    # Rounding keeps the last digits, which depend on the number of threads, out of the result.
    rho = np.round(observed, 10)
    as_large = (np.round(null, 10)[:, None] >= rho[None, :]).sum(axis=0)
    table = pd.DataFrame(pairs).reset_index(drop=True)
    return table.assign(n_genes=n_genes, spearman=rho, p=(1 + as_large) / (1 + len(null)))


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=["candidate_a", "candidate_b", "n_genes", "spearman", "p"])
