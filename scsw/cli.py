"""The command line: one sub-command per step of the workflow.

Imports that take seconds stand inside the commands, so that ``scsw --help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer
from rich.console import Console

from scsw.errors import ScswError
from scsw.settings import parse_settings, schema, section_settings, validate_config

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Super-weight-like control points of scGPT models fine-tuned on Alzheimer's cohorts.",
)
checkpoint = typer.Typer(
    no_args_is_help=True, help="Published scGPT models: get one, or look into a folder."
)
app.add_typer(checkpoint, name="checkpoint")

Input = Annotated[Path, typer.Argument(help="File or folder to read.")]
Cohort = Annotated[Path, typer.Option(help="cohort.h5ad, as `scsw preprocess` writes it.")]
Model = Annotated[Path, typer.Argument(help="scGPT folder.")]
Out = Annotated[Path, typer.Option(help="What to write.")]
Candidates = Annotated[Path, typer.Option(help="candidates.parquet of `scsw search`.")]
ControlScores = Annotated[
    Path | None, typer.Option(help="Folder of `scsw map` with the controls' scores.")
]
Settings = Annotated[
    str | None,
    typer.Option(help='Config file, or JSON such as \'{"search": {"max_candidates": 10}}\'.'),
]
Arm = Annotated[str, typer.Option(help="Arm of the run, written into the tables.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
Column = Annotated[str | None, typer.Option(help="Column to read in place of the layout's own.")]
Work = Annotated[
    Path | None, typer.Option(help="Folder for temporary files; by default beside the output.")
]
Simulated = Annotated[bool, typer.Option("--simulated", help="Say so in the provenance.")]


def sections(config: str | None, *names: str) -> list[SimpleNamespace]:
    """Read some sections of a config, and bind the CPU threads before torch or numpy load."""
    given = parse_settings(config)
    known = schema()["properties"]
    if unknown := sorted(set(given) - set(known)):
        raise ScswError(
            f"unknown config sections: {', '.join(unknown)}",
            expected="some of " + ", ".join(sorted(known)),
            fix='give settings by section, such as {"search": {"max_candidates": 10}}',
        )
    found = [section_settings(name, given.get(name)) for name in names]
    threads = str(section_settings("compute", given.get("compute")).cpu_threads)
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = threads
    return found


@app.command()
def simulate(
    out: Out,
    source: Annotated[str, typer.Option(help="sea_ad or rosmap.")] = "sea_ad",
    donors: int = 40,
    nuclei_per_donor: int = 48,
    genes: int = 2000,
    cell_types: int = 12,
    seed: Seed = 1,
) -> None:
    """Write a simulated cohort in a public file layout."""
    from scsw.cohort.simulate import simulate as run

    run(
        out,
        source=source,
        donors=donors,
        nuclei_per_donor=nuclei_per_donor,
        genes=genes,
        cell_types=cell_types,
        seed=seed,
    )


@app.command()
def fetch(
    address: Annotated[
        str, typer.Argument(help="s3://bucket/key, CELLxGENE dataset id, or Synapse id.")
    ],
    out: Annotated[str, typer.Option(help="File to write, or folder (ending in /).")],
    sha256: Annotated[str | None, typer.Option(help="sha256 the file must have.")] = None,
) -> None:
    """Get a cohort file from S3, CELLxGENE or Synapse, and check it."""
    from scsw.fetch.fetch import fetch as run

    run(address, out, sha256)


@checkpoint.command("get")
def checkpoint_get(
    address: Annotated[
        str,
        typer.Argument(
            help="whole-human, brain, hf:owner/repository[@revision][/subfolder], or "
            "gdrive:<folder id>."
        ),
    ],
    out: Annotated[Path, typer.Option(help="scGPT folder to write.")],
    sha256: Annotated[str | None, typer.Option(help="sha256 that best_model.pt must have.")] = None,
) -> None:
    """Get a published scGPT model from Hugging Face or Google Drive, and check it."""
    from scsw.fetch.checkpoint.get import get

    get(address, out, sha256)


@checkpoint.command("inspect")
def checkpoint_inspect(
    folder: Model,
    cohort: Annotated[
        Path | None, typer.Option(help="cohort.h5ad that the folder is to fit.")
    ] = None,
) -> None:
    """Print what a scGPT folder holds, which weights load, and whether it fits a cohort."""
    from scsw.scgpt.checkpoint.inspect import print_contents

    print_contents(folder, cohort)


@app.command()
def preprocess(
    path: Input,
    out: Out,
    source: Annotated[
        str, typer.Option(help="Layout of the files, or auto; docs/cohorts.md lists them.")
    ] = "auto",
    cohort: Annotated[str, typer.Option(help="Name of the cohort.")] = "cohort",
    clinical: Annotated[str | None, typer.Option(help="Clinical table (ROSMAP).")] = None,
    cell_table: Annotated[str | None, typer.Option(help="Table of the cells.")] = None,
    donor_table: Annotated[str | None, typer.Option(help="Table of the donors.")] = None,
    cps_table: Annotated[str | None, typer.Option(help="Donors' CPS (SEA-AD).")] = None,
    counts: Annotated[
        str | None, typer.Option(help="Matrix with the raw counts, such as layers/counts.")
    ] = None,
    donor_column: Column = None,
    cell_type_column: Column = None,
    region_column: Column = None,
    sex_column: Column = None,
    batch_column: Column = None,
    columns: Annotated[
        str | None, typer.Option(help='JSON: column by field, such as {"braak": "BraakStage"}.')
    ] = None,
    values: Annotated[
        str | None, typer.Option(help='JSON: values by field, such as {"sex": {"F": "female"}}.')
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Refuse sources that no model can be trained on.")
    ] = False,
    work: Work = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that compress; no result depends on them.")
    ] = None,
    config: Settings = None,
    simulated: Simulated = False,
) -> None:
    """Harmonise a cohort of any known source: quality control, vocabulary, donor split."""
    settings, model = sections(config, "preprocess", "model")
    from scsw.cohort.hdf5_chunks import THREADS_VARIABLE
    from scsw.cohort.preprocess import preprocess as run
    from scsw.cohort.request import Request

    if threads is not None:
        os.environ[THREADS_VARIABLE] = str(threads)

    named = {
        "donor_id": donor_column,
        "cell_type": cell_type_column,
        "region": region_column,
        "sex": sex_column,
        "batch": batch_column,
    }
    tables = {"clinical": clinical, "cells": cell_table, "donors": donor_table, "cps": cps_table}
    named = {field: column for field, column in named.items() if column is not None}
    request = Request(
        path,
        tables={role: table for role, table in tables.items() if table},
        columns=parse_settings(columns) | named,
        values=parse_settings(values),
        counts=counts,
    )
    run(
        path,
        out,
        cohort=cohort,
        source=source,
        settings=settings,
        request=request,
        checkpoint=model.checkpoint,
        simulated=simulated,
        work=work,
        training=training,
    )


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
    from scsw.biology.map_genes import map_genes

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
    from scsw.biology.components import components as run

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
    from scsw.biology.component_links import link_components as run

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
    from scsw.biology.enrich import enrich as run

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
    from scsw.biology.enrich import enrich_shard as run

    given = {"settings": settings, "controls": controls, "simulated": simulated}
    run(gene_scores, candidates, out, shard=shard, **given)


@app.command()
def gene_sets(
    library: Annotated[str, typer.Argument(help="Name of a library at Enrichr.")],
    out: Annotated[Path, typer.Option(help="GMT file to write.")],
    organism: Annotated[str, typer.Option(help="Such as Human or Mouse.")] = "Human",
) -> None:
    """Download a gene-set library with gseapy, for enrich.gene_sets; needs the network."""
    from scsw.biology.gene_set_download import download_gene_sets as run

    run(library, out, organism=organism)


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
    from scsw.biology.stages import stages as run

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
    from scsw.biology.replicate import replicate as run

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
    from scsw.biology.biomarkers import biomarkers as run

    tables = [cohort_folder / f"{name}.parquet" for name in ("pathways", "stages", "verdicts")]
    options = {"settings": settings, "enrich_settings": enrich, "alpha": statistics.alpha}
    run(gene_scores, *tables, replication, out, **options, simulated=simulated)


@app.command()
def report(
    cohort_folder: Input,
    config: Annotated[str, typer.Option(help="The whole run config: a file, or JSON.")],
    cohort: Annotated[str, typer.Option(help="Name of the cohort.")],
    out: Annotated[Path | None, typer.Option(help="By default the cohort's folder.")] = None,
    replication: Annotated[Path | None, typer.Option(help="Folder of the replication.")] = None,
) -> None:
    """Draw the figures and write the report of one cohort."""
    whole_config = validate_config(parse_settings(config))
    from scsw.report.build import report as run

    run(
        cohort_folder,
        out or cohort_folder,
        config=whole_config,
        cohort=cohort,
        replication_dir=replication,
    )


@app.command()
def summary(run_folder: Input) -> None:
    """Print where the reports of a run are, their verdicts and the outcome of their controls."""
    from scsw.report.summary import print_summary

    print_summary(run_folder)


@app.command()
def table(
    path: Input, rows: Annotated[int | None, typer.Option(help="Only the first rows.")] = None
) -> None:
    """Print a table as TSV."""
    from scsw.files import read_table

    found = read_table(path)
    found = found if rows is None else found.head(rows)
    try:
        found.to_csv(sys.stdout, sep="\t", index=False)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command("check-config")
def check_config(config: Annotated[str, typer.Argument(help="Config file, or JSON.")]) -> None:
    """Check a run config and print it with all defaults filled in."""
    print(json.dumps(validate_config(parse_settings(config)), indent=2))


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit status 2."""
    code = 0
    try:
        app()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except ScswError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {error}", style="bold red", markup=False
        )
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are written and closed by now. A short process on a busy machine aborts in about
    # one of 15 runs while pyarrow's starting threads are torn down, so nothing is torn down.
    os._exit(code)


if __name__ == "__main__":
    main()
