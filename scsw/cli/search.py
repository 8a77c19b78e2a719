"""The search, in one job or in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scsw.cli.app import Arm, Cohort, Model, Out, Seed, Settings, app, sections


@app.command()
def search(
    model: Model,
    cohort: Cohort,
    out: Out,
    start: Annotated[
        Path | None, typer.Option(help="Folder that fine-tuning started from.")
    ] = None,
    screen: Annotated[
        Path | None,
        typer.Option(help="Folder of `scsw search-screen` and `scsw search-slopes`."),
    ] = None,
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
) -> None:
    """Search a model for super-weight-like parameters on the discovery donors."""
    settings, compute = sections(config, "search", "compute")
    from scsw.superweight.search.search import search as run

    given = {"settings": settings, "compute": compute, "start": start, "screened": screen}
    run(model, cohort, out, **given, arm=arm, seed=seed)


@app.command()
def search_screen(model: Model, cohort: Cohort, out: Out, config: Settings = None) -> None:
    """Do the part of a search that the slopes of `scsw search-slopes` need."""
    settings, compute = sections(config, "search", "compute")
    from scsw.superweight.search.search_shards import search_screen as run

    run(model, cohort, out, settings=settings, compute=compute)


@app.command()
def search_slopes(
    model: Model,
    cohort: Cohort,
    screen: Annotated[Path, typer.Option(help="Folder of `scsw search-screen`.")],
    config: Settings = None,
    shard: Annotated[int, typer.Option(help="Which of search.shards.")] = 0,
) -> None:
    """Take the slopes of one shard's weights, for `scsw search --screen`."""
    settings, compute = sections(config, "search", "compute")
    from scsw.superweight.search.search_shards import search_slopes as run

    run(model, cohort, screen, settings=settings, compute=compute, shard=shard)
