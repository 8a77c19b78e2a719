"""One pair of cohorts compared: candidates' genes, pathways and stage slopes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from scsw.biology.matching import (
    FIXED_NULL,
    MATCHED_NULL,
    correlate_pairs,
    match_candidates,
    profiles,
    unit_ranks,
)
from scsw.biology.ranking import orientation, view_scores
from scsw.biology.tables import benjamini_hochberg

PATHWAY_NULL = (
    "permutation of the set labels within the library, one-sided; ora of read_in, pairs matched "
    "on read_in"
)
STAGE_NULL = "one-sided OLS t-test in cohort b, direction from cohort a"


@dataclass(frozen=True)
class Cohort:
    """One cohort's tables for the model of its first seed, real arm."""

    name: str
    seed: int
    gene_scores: pd.DataFrame
    pathways: pd.DataFrame
    stages: pd.DataFrame


def compare_genes(
    a: Cohort, b: Cohort, *, permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Pair the candidates on read-in and correlate the pairs on write-out too."""
    limits = {"permutations": permutations, "rng": rng}
    read_in = match_candidates(
        profiles(a.gene_scores, "read_in"), profiles(b.gene_scores, "read_in"), **limits
    )
    write_out = correlate_pairs(
        profiles(a.gene_scores, "write_out"),
        profiles(b.gene_scores, "write_out"),
        read_in,
        **limits,
    )
    tables = [
        read_in.assign(view="read_in", null=MATCHED_NULL),
        write_out.assign(view="write_out", null=FIXED_NULL),
    ]
    table = pd.concat(tables).assign(seed_a=a.seed, seed_b=b.seed)
    return _with_q(table, a, b)


def compare_pathways(
    a: Cohort,
    b: Cohort,
    pairs: pd.DataFrame,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Correlate −log10 p over the sets that both candidates of a pair were tested on.

    The test is `scipy.stats.permutation_test` of the pairings, one-sided: agreement is a positive
    correlation. A pair with the same p in all sets gets NaN.
    """
    ora_a, ora_b = (_ora(cohort.pathways) for cohort in (a, b))
    rows = []
    for pair in pairs.itertuples():
        both = ora_a[ora_a["candidate_id"].eq(pair.candidate_a)].merge(
            ora_b[ora_b["candidate_id"].eq(pair.candidate_b)], on=["library", "gene_set"]
        )
        for library, sets in both.groupby("library"):
            rho, p = _rank_agreement(sets["p_x"], sets["p_y"], permutations, rng)
            rows.append(
                {"candidate_a": pair.candidate_a, "candidate_b": pair.candidate_b}
                | {"library": library, "n_sets": len(sets), "spearman": rho, "p": p}
            )
    return _with_q(pd.DataFrame(rows).assign(null=PATHWAY_NULL), a, b)


def compare_stages(a: Cohort, b: Cohort, pairs: pd.DataFrame) -> pd.DataFrame:
    """Compare the stage slopes of the contribution wherever both cohorts were tested.

    A slope is multiplied by the sign of its candidate's mean read-in score, so that a positive
    one means that the contribution grows with the stage, whatever the sign of the weight.
    p is one-sided in cohort b, for the direction seen in cohort a.
    """
    keys = ["cell_class", "stage"]
    rows = []
    for pair in pairs.itertuples():
        slopes = _slopes(a, pair.candidate_a).merge(_slopes(b, pair.candidate_b), on=keys)
        rows.append(slopes.assign(candidate_a=pair.candidate_a, candidate_b=pair.candidate_b))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    if len(table):
        same = np.sign(table["beta_x"]) == np.sign(table["beta_y"])
        p = np.where(same, table["p_y"] / 2, 1 - table["p_y"] / 2)
        table = table.assign(
            beta_a=table["beta_x"], beta_b=table["beta_y"], same_sign=same, p=p, null=STAGE_NULL
        )
    return _with_q(table, a, b)


def _ora(pathways: pd.DataFrame) -> pd.DataFrame:
    chosen = pathways["view"].eq("read_in") & pathways["method"].eq("ora")
    return pathways.loc[chosen, ["candidate_id", "library", "gene_set", "p"]]


def _rank_agreement(
    p_a: pd.Series, p_b: pd.Series, permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    # The rank of −log10 p is the rank of −p, also where p is too small to be told from 0.
    unit_a, unit_b = unit_ranks(-p_a), unit_ranks(-p_b)
    if not unit_a.any() or not unit_b.any():
        return float("nan"), float("nan")
    result = permutation_test(
        (unit_a,),
        lambda x, axis: np.sum(x * unit_b, axis=axis),
        permutation_type="pairings",
        alternative="greater",
        vectorized=True,
        n_resamples=permutations,
        batch=500,
        rng=rng,
    )
    return float(np.round(result.statistic, 10)), float(result.pvalue)


def _slopes(cohort: Cohort, candidate: str) -> pd.DataFrame:
    table = cohort.stages
    chosen = (
        table["candidate_id"].eq(candidate)
        & table["measure"].eq("contribution")
        & table["status"].eq("tested")
    )
    sign = orientation(view_scores(cohort.gene_scores, "read_in", candidate))
    slopes = table.loc[chosen, ["cell_class", "stage", "beta", "p"]]
    return slopes.assign(beta=sign * slopes["beta"])


def _with_q(table: pd.DataFrame, a: Cohort, b: Cohort) -> pd.DataFrame:
    if table.empty:
        return table
    return table.assign(cohort_a=a.name, cohort_b=b.name, q=benjamini_hochberg(table["p"]))
