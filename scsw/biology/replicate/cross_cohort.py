"""One model of one cohort compared with one of another: genes, pathways, stages, spikes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.enrich.calibration_controls import Controls
from scsw.biology.gene_sets import Library
from scsw.biology.ranking import orientation, view_scores
from scsw.biology.replicate.matching import (
    FIXED_NULL,
    MATCHED_NULL,
    correlate_pairs,
    match_candidates,
    profiles,
    shared_genes,
    unit_ranks,
)
from scsw.biology.replicate.pathway_agreement import NULL as PATHWAY_NULL
from scsw.biology.replicate.pathway_agreement import agreement_by_library, gene_list
from scsw.biology.replicate.spike_agreement import acquired_agreement, profile_rows
from scsw.biology.replicate.stage_agreement import slope_rows
from scsw.biology.unit_matching import READ_IN_NULL, WRITE_OUT_NULL, unit_level_p
from scsw.files import stacked


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
    controls
        Gene scores of hidden units and edits like the candidates.
    """

    cohort: str
    seed: int
    start: str
    gene_scores: pd.DataFrame
    stages: pd.DataFrame
    verdicts: pd.DataFrame
    spikes: pd.DataFrame
    profiles: pd.DataFrame
    controls: Controls

    def causal(self, candidates: pd.Series) -> np.ndarray:
        """Tell which candidates have a causal verdict."""
        judged = self.verdicts.set_index("candidate_id")["causal"].astype(bool)
        return candidates.map(judged).eq(True).to_numpy()

    def among_best(self, candidates: pd.Series, n: int) -> np.ndarray:
        """Tell which candidates are among the best `n`, or causal."""
        ranks = self.verdicts.set_index("candidate_id")["rank"]
        return candidates.map(ranks).le(n).to_numpy() | self.causal(candidates)

    def signs(self) -> dict[str, float]:
        """Return the sign of each candidate's mean read-in score."""
        return {
            str(name): orientation(view_scores(own, "read_in", name))
            for name, own in self.gene_scores.groupby("candidate_id")
        }

    def stand_ins(self, z: pd.DataFrame, view: str) -> list[np.ndarray]:
        """Return the ranks of each candidate and its controls, for `unit_level_p`.

        Parameters
        ----------
        z
            Profiles of the candidates, genes × candidates, without a missing value.
        view
            Their view. Controls are scored as for a positive weight; their write-out is turned.
        """
        genes, signs, found = list(z.index), self.signs(), []
        for name in z.columns:
            own = self.controls.z(name, view, genes, nearest=True)
            own = own[np.isfinite(own).all(axis=1)]
            own = own if view == "read_in" else own * signs[name]
            found.append(unit_ranks(np.column_stack([z[name], own.T])))
        return found

    def slopes(self) -> pd.DataFrame:
        """Return the stage slopes of the contribution, a positive one for one that grows.

        A slope is multiplied by the sign of its candidate's mean read-in score.
        """
        sign = self.signs()
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
    tables = []
    pairs = None
    for view, null in (("read_in", MATCHED_NULL), ("write_out", FIXED_NULL)):
        z = [profiles(model.gene_scores, view) for model in (a, b)]
        if pairs is None:
            found = pairs = match_candidates(*z, **limits)
        else:
            found = correlate_pairs(*z, pairs, **limits)
        found = _beside_units(found, a, b, z, view, **limits)
        tables.append(found.assign(view=view, null=null))
    table = stacked(tables)
    shared = a.start == b.start
    return table.assign(
        shared_start=shared,
        same_coordinate=shared & table["candidate_a"].eq(table["candidate_b"]),
        causal_a=a.causal(table["candidate_a"]),
        causal_b=b.causal(table["candidate_b"]),
    )


def _beside_units(
    pairs: pd.DataFrame,
    a: Model,
    b: Model,
    z: Sequence[pd.DataFrame],
    view: str,
    *,
    permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Add ``n_controls, unit_p, unit_null``: the pairs beside units or edits like theirs."""
    rematch = view == "read_in"
    # As in the matching: all candidates on read-in, those of the pairs on write-out.
    names = [list(table.columns) for table in z]
    if not rematch:
        names = [list(pairs[f"candidate_{side}"]) for side in "ab"]
    if pairs.empty:
        return pairs.assign(n_controls=0, unit_p=np.nan, unit_null="")
    z = [table[own] for table, own in zip(z, names, strict=True)]
    genes = shared_genes(*z)
    stand_ins = [
        model.stand_ins(own.loc[genes], view) for model, own in zip((a, b), z, strict=True)
    ]
    places = np.column_stack(
        [
            [own.index(name) for name in pairs[f"candidate_{side}"]]
            for own, side in zip(names, "ab", strict=True)
        ]
    )
    p = unit_level_p(*stand_ins, places, rematch=rematch, draws=permutations, rng=rng)
    null = (READ_IN_NULL if rematch else WRITE_OUT_NULL) if np.isfinite(p).all() else ""
    n = min(own.shape[1] - 1 for side in stand_ins for own in side)
    return pairs.assign(n_controls=n, unit_p=p, unit_null=null)


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
