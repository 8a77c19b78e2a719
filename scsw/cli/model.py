"""The model: start, implant, fine-tuning."""

from __future__ import annotations

from typing import Annotated

import typer

from scsw.cli.app import Arm, Cohort, Model, Out, Seed, Settings, Work, app, sections


@app.command()
def init(
    cohort: Cohort,
    out: Out,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ignore the checkpoint's weights.")
    ] = False,
    config: Settings = None,
    seed: Seed = 0,
) -> None:
    """Write the starting model: a checkpoint's weights, or fresh ones."""
    (model,) = sections(config, "model")
    from scsw.scgpt.init import init as run

    run(cohort, out, model=model, seed=seed, fresh=fresh)


@app.command()
def implant(
    start: Model,
    cohort: Cohort,
    out: Out,
    kind: Annotated[str, typer.Option(help="implanted_constant or implanted_informative.")],
    config: Settings = None,
    seed: Seed = 0,
) -> None:
    """Make one scalar extreme before fine-tuning (positive control)."""
    (compute,) = sections(config, "compute")
    from scsw.superweight.controls.implant import implant as run

    run(start, cohort, out, kind=kind, compute=compute, seed=seed)


@app.command()
def finetune(
    start: Model,
    cohort: Cohort,
    out: Out,
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
    work: Work = None,
) -> None:
    """Fine-tune scGPT: masked expression, cell embedding, cell type."""
    settings, compute = sections(config, "finetune", "compute")
    from scsw.scgpt.finetune import finetune as run

    run(start, cohort, out, settings=settings, compute=compute, arm=arm, seed=seed, work=work)
