"""Genes, components, pathways, stages, other cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scsw.cli.app import (
    Arm,
    Candidates,
    Cohort,
    ControlScores,
    Input,
    Model,
    Out,
    Seed,
    Settings,
    Simulated,
    app,
    sections,
)
from scsw.errors import ScswError
from scsw.settings import parse_settings


@app.command("map")
def map_command(
    model: Model,
    cohort: Cohort,
    candidates: Candidates,
    out: Out,
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
) -> None:
    """Map candidates to genes and donors."""
    names = ("map", "statistics", "compute", "prune", "stages")
    settings, statistics, compute, prune, of_donors = sections(config, *names)
    from scsw.biology.map.map_genes import map_genes

    map_genes(
        model,
        cohort,
        candidates,
        out,
        settings=settings,
        statistics=statistics,
        compute=compute,
        max_cells_per_donor=prune.max_cells_per_donor,
        of_donors=of_donors,
        arm=arm,
        seed=seed,
    )


@app.command()
def components(
    model: Model,
    cohort: Cohort,
    candidates: Candidates,
    out: Out,
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
) -> None:
    """Score what attention heads and MLPs take up, and replace each by its mean."""
    names = ("map", "statistics", "compute", "prune", "enrich", "stages")
    settings, statistics, compute, prune, enrich, stages = sections(config, *names)
    from scsw.biology.components.components import components as run

    run(
        model,
        cohort,
        candidates,
        out,
        settings=settings,
        statistics=statistics,
        compute=compute,
        max_cells_per_donor=prune.max_cells_per_donor,
        top_genes=enrich.top_genes,
        stage_min_cells=stages.min_cells,
        arm=arm,
        seed=seed,
    )


@app.command()
def link_components(
    components: Input,
    activity: Annotated[Path, typer.Option(help="component_donors.parquet of the same step.")],
    donor_scores: Annotated[Path, typer.Option(help="donor_scores.parquet of `scsw map`.")],
    out: Out,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Test heads and MLPs against pathways and disease stages."""
    enrich, stages, statistics = sections(config, "enrich", "stages", "statistics")
    from scsw.biology.components.component_links import link_components as run

    run(
        components,
        activity,
        donor_scores,
        out,
        enrich=enrich,
        stages=stages,
        statistics=statistics,
        simulated=simulated,
    )


@app.command()
def enrich(
    gene_scores: Input,
    candidates: Candidates,
    out: Out,
    controls: ControlScores = None,
    shards: Annotated[
        Path | None, typer.Option(help="Folder of all `scsw enrich-shard`, to be joined.")
    ] = None,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Test gene sets among the genes of each candidate, and among those of its controls."""
    (settings,) = sections(config, "enrich")
    from scsw.biology.enrich.enrich import enrich as run

    given = {"settings": settings, "controls": controls, "simulated": simulated}
    run(gene_scores, candidates, out, shards=shards, **given)


@app.command()
def enrich_shard(
    gene_scores: Input,
    candidates: Candidates,
    out: Out,
    controls: ControlScores = None,
    config: Settings = None,
    shard: Annotated[int, typer.Option(help="Which of enrich.shards.")] = 0,
    simulated: Simulated = False,
) -> None:
    """Do one shard of `scsw enrich`, which joins them with --shards."""
    (settings,) = sections(config, "enrich")
    from scsw.biology.enrich.enrich import enrich_shard as run

    given = {"settings": settings, "controls": controls, "simulated": simulated}
    run(gene_scores, candidates, out, shard=shard, **given)


@app.command()
def stages(
    donor_scores: Input,
    effects: Annotated[Path, typer.Option(help="effects.parquet of `scsw verdict`.")],
    thinned_effects: Annotated[Path, typer.Option(help="thinned_effects.parquet of `scsw map`.")],
    axis_scores: Annotated[Path, typer.Option(help="axis_scores.parquet of `scsw map`.")],
    candidates: Candidates,
    out: Out,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Test each candidate against disease stages, donors as units; order the axes along CPS."""
    settings, statistics = sections(config, "stages", "statistics")
    from scsw.biology.stages.stages import stages as run

    run(
        donor_scores,
        effects,
        thinned_effects,
        axis_scores,
        candidates,
        out,
        settings=settings,
        statistics=statistics,
        simulated=simulated,
    )


@app.command()
def gather(
    folders: Annotated[
        list[Path], typer.Argument(help="…/<arm>/<seed> folders, real and control.")
    ],
    out: Out,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Join a cohort's tables over seeds and arms."""
    model, settings, statistics = sections(config, "model", "search", "statistics")
    from scsw.superweight.stability.gather import gather_cohort

    if wrong := [str(f) for f in folders if not f.name.isdecimal()]:
        raise ScswError(f"not folders of one model: {wrong}", expected="…/<arm>/<seed>")
    real = {int(f.name): f for f in folders if f.parent.name == "real"}
    others = {(f.parent.name, int(f.name)): f for f in folders if f.parent.name != "real"}
    checkpoint = model.checkpoint is not None
    options = {
        "one_start": checkpoint or model.init_seed is not None,
        "checkpoint": checkpoint,
        "spike_ratio": settings.spike_ratio,
        "seed": statistics.seed,
        "simulated": simulated,
    }
    gather_cohort(real, others, out, **options)


@app.command()
def replicate(
    folders: Annotated[list[Path], typer.Argument(help="Folders of the cohorts.")],
    out: Out,
    seeds: Annotated[str, typer.Option(help="JSON: seeds of the real arm by cohort.")],
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Compare candidates, genes, pathways and stages across cohorts."""
    settings, enrich, search, statistics = sections(
        config, "replicate", "enrich", "search", "statistics"
    )
    from scsw.biology.replicate.replicate import replicate as run

    by_cohort = parse_settings(seeds)
    if missing := [folder.name for folder in folders if folder.name not in by_cohort]:
        raise ScswError(f"--seeds names no seeds of {missing}", expected='such as {"sea_ad": [0]}')
    cohorts = [(folder.name, folder, by_cohort[folder.name]) for folder in folders]
    run(
        cohorts,
        out,
        settings=settings,
        enrich_settings=enrich,
        spike_ratio=search.spike_ratio,
        alpha=statistics.alpha,
        simulated=simulated,
    )


@app.command()
def external(
    models: Annotated[list[Path], typer.Argument(help="…/real/<seed> folders of one cohort.")],
    donors: Annotated[Path, typer.Option(help="donors.tsv of that cohort.")],
    out: Out,
    cohorts: Annotated[
        str | None, typer.Option(help="JSON: cohort.h5ad by name of the other cohorts.")
    ] = None,
    bulks: Annotated[
        str | None, typer.Option(help="JSON: external.h5ad by name of bulk expression.")
    ] = None,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Test the candidates' genes against diagnosis in cohorts that the model never saw."""
    names = ("external", "enrich", "stages", "statistics", "map")
    settings, enrich, stages, statistics, mapped = sections(config, *names)
    from scsw.biology.external.external import external as run

    run(
        models,
        donors,
        out,
        cohorts=parse_settings(cohorts),
        bulks=parse_settings(bulks),
        settings=settings,
        enrich=enrich,
        stages=stages,
        min_test_donors=statistics.min_test_donors,
        matched_genes=mapped.matched_genes,
        simulated=simulated,
    )


@app.command()
def spatial(
    model: Model,
    cohort: Cohort,
    candidates: Candidates,
    tissue: Annotated[Path, typer.Option(help="spatial.h5ad of `scsw preprocess`.")],
    out: Out,
    name: Annotated[str, typer.Option(help="Name of the spatial data.")] = "merfish",
    config: Settings = None,
    arm: Arm = "real",
    seed: Seed = 0,
    simulated: Simulated = False,
) -> None:
    """Read out the intact and the pruned model on tissue cells of known place."""
    names = ("spatial", "stages", "compute", "enrich", "statistics")
    settings, stages, compute, enrich, statistics = sections(config, *names)
    from scsw.biology.spatial.spatial import spatial as run

    run(
        model,
        cohort,
        candidates,
        tissue,
        out,
        name=name,
        settings=settings,
        stages=stages,
        compute=compute,
        max_candidates=enrich.max_candidates,
        min_test_donors=statistics.min_test_donors,
        arm=arm,
        seed=seed,
        simulated=simulated,
    )


@app.command()
def biomarkers(
    gene_scores: Annotated[list[Path], typer.Argument(help="gene_scores.parquet of each seed.")],
    cohort_folder: Annotated[Path, typer.Option(help="Folder with the gathered tables.")],
    out: Out,
    replication: Annotated[Path | None, typer.Option(help="replication/genes.parquet.")] = None,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Rank genes by candidate, and write what each does and does not show."""
    settings, enrich, statistics = sections(config, "biomarkers", "enrich", "statistics")
    from scsw.biology.biomarkers.biomarkers import biomarkers as run

    tables = [cohort_folder / f"{name}.parquet" for name in ("pathways", "stages", "verdicts")]
    options = {"settings": settings, "enrich_settings": enrich, "alpha": statistics.alpha}
    run(gene_scores, *tables, replication, out, **options, simulated=simulated)
