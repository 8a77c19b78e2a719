"""Step `verdict`: what the effects of one model amount to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.files import CANDIDATE, read_json, read_table, require, write_table
from scsw.provenance import recorded
from scsw.superweight.pruning.metric_summary import metric_summary
from scsw.superweight.pruning.shards import check_complete, gather
from scsw.superweight.verdict.family_effects import family_effects
from scsw.superweight.verdict.judged_run import JudgedRun
from scsw.superweight.verdict.recovery import recovery_table, scores_of_sample
from scsw.superweight.verdict.statistics import EDIT
from scsw.superweight.verdict.verdict_tables import verdict_tables


def judge(
    shards: Sequence[str | Path],
    candidates: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    model: str | Path,
    spikes: str | Path,
    weights: str | Path,
    search: SimpleNamespace,
    prune: SimpleNamespace,
    statistics: SimpleNamespace,
) -> None:
    """Gather the shards of one model and write what they amount to.

    Written are ``effects.parquet``, ``verdicts.parquet``, ``pairs.parquet``, ``metrics.parquet``,
    ``recovery.parquet`` and ``family_effects.parquet``.

    Parameters
    ----------
    shards
        Effects written by `scsw.superweight.pruning.prune.prune`.
    candidates, cohort
        The frozen family and the cohort.
    out
        Folder for the tables.
    model
        The model's folder, for its cell types.
    spikes, weights
        ``spikes.parquet`` and ``weights.parquet`` of the search.
    search, prune, statistics
        Sections of the config.
    """
    cohort, out = require(cohort), Path(out)
    facts = cohort_facts(cohort)
    inputs = {"candidates": candidates, "cohort": cohort, "spikes": spikes, "weights": weights}
    inputs["labels"] = require(model) / "labels.json"
    with recorded(
        "verdict",
        out,
        inputs=inputs | {f"shard{i}": path for i, path in enumerate(shards)},
        parameters={**vars(search), **vars(prune), **vars(statistics)},
        seed=statistics.seed,
        simulated=facts["simulated"],
    ):
        effects = gather(shards)
        family = read_table(candidates, CANDIDATE)
        check_complete(effects, family, prune)
        frequencies = training_frequencies(cohort)
        run = JudgedRun(
            search,
            prune,
            statistics,
            n_donors=effects["donor_id"].nunique(),
            split_unit=facts["split_unit"],
            gaps=floor_gaps(effects, frequencies),
            n_cohort_donors=facts["n_donors"],
        )
        verdicts, pairs = verdict_tables(family, effects, run)
        sample = scores_of_sample(effects, spikes, weights)
        types = read_json(require(model) / "labels.json")
        donors = read_cohort(cohort, ["test"]).obs
        metrics = metric_summary(effects, types, donors, frequencies, run)
        tables = {
            "pairs": pairs,
            "metrics": metrics,
            "recovery": recovery_table(sample, seed=statistics.seed),
            "family_effects": family_effects(effects, run),
        }
        write_table(effects, out / "effects.parquet")
        write_table(verdicts, out / "verdicts.parquet")
        keys = dict(effects[["cohort", "arm", "seed"]].iloc[0])
        for name, table in tables.items():
            write_table(table, out / f"{name}.parquet", keys)


def training_frequencies(cohort: Path) -> pd.Series:
    """Return the share of each cell type among the training cells."""
    return read_cohort(cohort, ["train"]).obs["cell_type"].astype(str).value_counts(normalize=True)


def floor_gaps(effects: pd.DataFrame, frequencies: pd.Series) -> pd.Series:
    """Nats per cell from the intact NLL up to that of predicting the training frequencies.

    Returns
    -------
    pandas.Series
        One mean per donor.
    """
    first = effects[EDIT].iloc[0]
    one = effects[(effects[EDIT] == first).all(axis=1)]
    floor = -np.log(one["cell_type"].map(frequencies)) * one["n_cells"]
    sums = pd.DataFrame({"floor": floor, "intact": one["sum_nll_intact"], "n": one["n_cells"]})
    by_donor = sums.groupby(one["donor_id"]).sum()
    return (by_donor["floor"] - by_donor["intact"]) / by_donor["n"]
