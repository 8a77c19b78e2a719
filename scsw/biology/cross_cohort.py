"""One pair of cohorts compared: candidates' genes, pathways and stage slopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.biology.gene_sets import Library
from scsw.biology.matching import (
    FIXED_NULL,
    MATCHED_NULL,
    correlate_pairs,
    match_candidates,
    profiles,
)
from scsw.biology.pathway_agreement import NULL as PATHWAY_NULL
from scsw.biology.pathway_agreement import agreement_by_library, gene_list
from scsw.biology.ranking import orientation, view_scores
from scsw.biology.tables import benjamini_hochberg

STAGE_NULL = "one-sided OLS t-test in cohort b, direction from cohort a"


@dataclass(frozen=True)
class Cohort:
    """One cohort's tables for the model of its first seed, real arm."""

    name: str
    seed: int
    gene_scores: pd.DataFrame
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
    libraries: Mapping[str, Library],
    enrich_settings: SimpleNamespace,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Correlate −log10 p of the ORA of read-in over the sets that both of a pair are tested on.

    ORA is done as in the step `enrich`, here for every pair. Pairs in which a candidate leads
    with no gene, and libraries without a set of testable size, have no rows.
    """
    tables = []
    for pair in pairs.itertuples():
        table = agreement_by_library(
            gene_list(a.gene_scores, pair.candidate_a, libraries, enrich_settings),
            gene_list(b.gene_scores, pair.candidate_b, libraries, enrich_settings),
            permutations=permutations,
            rng=rng,
        )
        if len(table):
            names = {"candidate_a": pair.candidate_a, "candidate_b": pair.candidate_b}
            tables.append(table.assign(**names, null=PATHWAY_NULL))
    return _with_q(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), a, b)


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
