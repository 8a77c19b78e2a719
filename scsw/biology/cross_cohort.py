"""One model of one cohort compared with one of another: genes, pathways, stages, spikes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

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
from scsw.biology.spike_agreement import acquired_agreement, profile_rows
from scsw.biology.stage_agreement import slope_rows


@dataclass(frozen=True)
class Model:
    """The tables of one fine-tuned model.

    Attributes
    ----------
    cohort, seed
        Whose it is.
    start
        `spike_agreement.start_digest`: models of the same one began with the same weights.
    gene_scores
        Rows over all cells of ``gene_scores.parquet``, read-in and write-out.
    stages
        Tested primary-measure rows of ``stages.parquet``.
    verdicts
        ``candidate_id, rank, causal``.
    spikes, profiles
        Rows over all cells of ``spikes.parquet``; ``profiles.parquet``.
    """

    cohort: str
    seed: int
    start: str
    gene_scores: pd.DataFrame
    stages: pd.DataFrame
    verdicts: pd.DataFrame
    spikes: pd.DataFrame
    profiles: pd.DataFrame

    def causal(self, candidates: pd.Series) -> np.ndarray:
        """Tell which candidates have a causal verdict."""
        judged = self.verdicts.set_index("candidate_id")["causal"].astype(bool)
        return candidates.map(judged).eq(True).to_numpy()

    def among_best(self, candidates: pd.Series, n: int) -> np.ndarray:
        """Tell which candidates are among the best `n`, or causal."""
        ranks = self.verdicts.set_index("candidate_id")["rank"]
        return candidates.map(ranks).le(n).to_numpy() | self.causal(candidates)

    def slopes(self) -> pd.DataFrame:
        """Return the stage slopes of the contribution, a positive one for one that grows.

        A slope is multiplied by the sign of its candidate's mean read-in score.
        """
        sign = {
            name: orientation(view_scores(own, "read_in", name))
            for name, own in self.gene_scores.groupby("candidate_id")
        }
        known = self.stages[self.stages["candidate_id"].isin(sign)]
        signs = known["candidate_id"].map(sign).astype(float)
        slopes = known[["candidate_id", "cell_class", "stage", "beta", "p"]]
        return slopes.assign(beta=signs * slopes["beta"])


def compare_spikes(
    a: Model,
    b: Model,
    *,
    spike_ratio: float,
    permutations: int,
    seed: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """Compare coordinates where the models share a start, gene profiles of units otherwise."""
    if a.start == b.start:
        limits = {"spike_ratio": spike_ratio, "permutations": permutations, "rng": rng}
        rows, by = acquired_agreement(a.spikes, b.spikes, **limits), "coordinates"
    else:
        rows = profile_rows(a.profiles, b.profiles, seed=seed, draws=permutations)
        by = "gene profiles"
    for row in rows:
        yield row | {"by": by, "shared_start": a.start == b.start}


def compare_genes(
    a: Model, b: Model, *, permutations: int, rng: np.random.Generator
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
    table = pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)
    shared = a.start == b.start
    return table.assign(
        shared_start=shared,
        same_coordinate=shared & table["candidate_a"].eq(table["candidate_b"]),
        causal_a=a.causal(table["candidate_a"]),
        causal_b=b.causal(table["candidate_b"]),
    )


def compare_pathways(
    a: Model,
    b: Model,
    pairs: pd.DataFrame,
    libraries: Mapping[str, Library],
    enrich_settings: SimpleNamespace,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Correlate −log10 p of the ORA of read-in over the sets that both of a pair are tested on.

    ORA is done as in the step `enrich`, here for every pair of which one is a candidate that is
    enriched there. Pairs in which a candidate leads with no gene, and libraries without a set of
    testable size, have no rows.
    """
    tables = []
    n = enrich_settings.max_candidates
    best = a.among_best(pairs["candidate_a"], n) | b.among_best(pairs["candidate_b"], n)
    for pair in pairs[best].itertuples():
        table = agreement_by_library(
            gene_list(a.gene_scores, pair.candidate_a, libraries, enrich_settings),
            gene_list(b.gene_scores, pair.candidate_b, libraries, enrich_settings),
            permutations=permutations,
            rng=rng,
        )
        if len(table):
            names = {"candidate_a": pair.candidate_a, "candidate_b": pair.candidate_b}
            tables.append(table.assign(**names, null=PATHWAY_NULL))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def compare_slopes(a: Model, b: Model, pairs: pd.DataFrame) -> pd.DataFrame:
    """Compare the stage slopes of the contribution wherever both cohorts were tested."""
    return slope_rows(a.slopes(), b.slopes(), pairs)
