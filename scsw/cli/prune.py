"""Pruning, quantisation, verdicts and control arms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scsw.cli.app import (
    Arm,
    Candidates,
    Cohort,
    Model,
    Out,
    Seed,
    Settings,
    Simulated,
    app,
    sections,
)


@app.command()
def prune(
    model: Model,
    cohort: Cohort,
    searched: Annotated[Path, typer.Option(help="Folder of `scsw search`.")],
    out: Out,
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
    shard: Annotated[int, typer.Option(help="Which of prune.shards.")] = 0,
) -> None:
    """Ablate candidates and their controls on the test donors."""
    search, settings, compute = sections(config, "search", "prune", "compute")
    from scsw.superweight.pruning.prune import prune as run

    keys = {"arm": arm, "seed": seed, "shard": shard}
    run(model, cohort, searched, out, search=search, settings=settings, compute=compute, **keys)


@app.command()
def quantize(
    model: Model,
    cohort: Cohort,
    candidates: Candidates,
    out: Out,
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
) -> None:
    """Round the weights of a model to integers, with and without holding out candidates."""
    settings, compute = sections(config, "quantize", "compute")
    from scsw.superweight.quantization.quantize import quantize as run

    run(model, cohort, candidates, out, settings=settings, compute=compute, arm=arm, seed=seed)


@app.command()
def verdict(
    shards: Annotated[list[Path], typer.Argument(help="Shards of `scsw prune`.")],
    candidates: Candidates,
    cohort: Cohort,
    model: Annotated[Path, typer.Option(help="Folder of the model, for its cell types.")],
    spikes: Annotated[Path, typer.Option(help="spikes.parquet of `scsw search`.")],
    weights: Annotated[Path, typer.Option(help="weights.parquet of `scsw search`.")],
    out: Out,
    config: Settings = None,
) -> None:
    """Give one verdict per candidate."""
    search, prune, statistics = sections(config, "search", "prune", "statistics")
    from scsw.superweight.verdict.verdicts import judge

    tables = {"model": model, "spikes": spikes, "weights": weights}
    rules = {"search": search, "prune": prune, "statistics": statistics}
    judge(shards, candidates, cohort, out, **tables, **rules)


@app.command()
def controls(
    folders: Annotated[list[Path] | None, typer.Argument(help="…/<arm>/<seed> folders.")] = None,
    out: Out = Path("controls.parquet"),
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Judge the control arms against what they must show."""
    (statistics,) = sections(config, "statistics")
    from scsw.superweight.controls.judge_controls import judge_controls

    arms = {f.parent.name: f for f in folders or []}
    judge_controls(arms, out, alpha=statistics.alpha, simulated=simulated)
