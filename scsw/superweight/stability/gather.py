"""Step `gather`: a cohort's tables over the seeds of the real arm and over its arms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scsw.errors import ScswError
from scsw.files import read_table, require, stacked, write_table
from scsw.provenance import recorded
from scsw.superweight.stability.profile_agreement import profile_agreement
from scsw.superweight.stability.stability import (
    HIDDEN,
    SITES,
    candidate_stability,
    spike_stability,
    spike_summary,
    start_names,
)

SPIKES = (
    "cohort arm seed block site channel group_by group n_tokens ratio stability top_gene "
    "start_ratio"
).split()


def gather_cohort(
    real: Mapping[int, str | Path],
    controls: Mapping[tuple[str, int], str | Path],
    out: str | Path,
    *,
    one_start: bool,
    checkpoint: bool,
    spike_ratio: float,
    seed: int = 0,
    simulated: bool = False,
) -> None:
    """Write a cohort's tables: those of its models joined, and what they have in common.

    ``verdicts``, ``performance``, ``pathways``, ``stages``, ``change_points`` and
    ``stage_order`` are joined; ``stability``,
    ``spike_stability``, ``spike_summary`` and ``profile_agreement`` compare the models.

    Parameters
    ----------
    real
        Folder ``results/<run>/<cohort>/real/<seed>`` by seed.
    controls
        Folder of each control arm by ``(arm, seed)``; those that were fine-tuned give rows of
        ``performance``, all give rows of ``verdicts``.
    out
        The cohort's folder.
    one_start
        Whether the models of all seeds began with the same weights. Only then does a coordinate
        mean the same in each.
    checkpoint
        Whether these were a checkpoint's.
    spike_ratio
        A channel of at least this ratio spikes.
    seed
        Seed of the draws that gene profiles are compared with.
    simulated
        Whether the cohort is simulated; for the provenance.
    """
    out = Path(out)
    folders = [Path(f) for f in [*real.values(), *controls.values()]]
    own = [Path(f) for f in real.values()]
    sources = {
        "verdicts": [f / "prune" / "verdicts.parquet" for f in folders],
        "performance": [p for f in folders if (p := f / "model" / "performance.parquet").exists()],
        "pathways": [f / "enrich" / "pathways.parquet" for f in own],
    }
    for name in ("stages", "change_points", "stage_order"):
        sources[name] = [f / "stages" / f"{name}.parquet" for f in own]
    searched = {("real", number): Path(f) for number, f in real.items()}
    searched |= {model: Path(f) for model, f in controls.items()}
    read = sources | {
        "spikes": [f / "search" / "spikes.parquet" for f in searched.values()],
        "candidates": [f / "search" / "candidates.parquet" for f in own],
        "profiles": [f / "search" / "profiles.parquet" for f in own],
        "other_inputs": [f / "search" / "other_inputs.parquet" for f in own],
    }
    inputs = {f"{name}{i}": p for name, paths in read.items() for i, p in enumerate(paths)}
    parameters = {
        "one_start": one_start,
        "checkpoint": checkpoint,
        "spike_ratio": spike_ratio,
        "seed": seed,
    }
    cohorts = {name for path in sources["verdicts"] for name in read_table(path)["cohort"]}
    if len(cohorts) > 1:
        raise ScswError(
            f"the folders are of several cohorts: {', '.join(sorted(cohorts))}",
            expected="the models of one cohort",
            fix="gather each cohort by itself; `scsw replicate` compares them",
        )
    with recorded("gather", out, inputs=inputs, parameters=parameters, simulated=simulated):
        for name, paths in sources.items():
            write_table(stacked([read_table(path) for path in paths]), out / f"{name}.parquet")
        spikes = pd.concat([_spikes(path) for path in read["spikes"]], ignore_index=True)
        candidates = stacked([read_table(path) for path in read["candidates"]])
        profiles = {
            number: read_table(Path(f) / "search" / "profiles.parquet")
            for number, f in real.items()
        }
        starts = start_names(list(searched), one_start=one_start, checkpoint=checkpoint)
        tables = {
            "stability": candidate_stability(
                candidates,
                spikes[spikes["arm"] == "real"],
                stacked([read_table(path) for path in read["other_inputs"]]),
                rule=spike_ratio,
                n_seeds=len(real),
                one_start=one_start,
            ),
            "spike_stability": spike_stability(spikes, rule=spike_ratio, starts=starts),
            "spike_summary": spike_summary(spikes, rule=spike_ratio, starts=starts),
            "profile_agreement": profile_agreement(
                profiles, cohort=str(spikes["cohort"].iloc[0]), one_start=one_start, seed=seed
            ),
        }
        for name, table in tables.items():
            write_table(table, out / f"{name}.parquet")


def _spikes(path: Path) -> pd.DataFrame:
    """Read a model's spikes at the sites that are compared; the whole table can be large."""
    return pd.read_parquet(
        require(path), columns=SPIKES, filters=[("site", "in", [*SITES, HIDDEN])]
    )
