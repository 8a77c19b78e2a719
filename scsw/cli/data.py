"""Cohorts, checkpoints and gene sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from scsw.cli.app import (
    Column,
    Input,
    Model,
    Out,
    Seed,
    Settings,
    Simulated,
    Work,
    app,
    checkpoint,
    sections,
)
from scsw.settings import check, parse_settings, schema


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
    from scsw.cohort.simulation.simulate import simulate as run

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
    asked = {"columns": parse_settings(columns, "--columns")}
    asked["values"] = parse_settings(values, "--values")
    rules = schema()["properties"]["cohorts"]["items"]["properties"]
    for key, given in asked.items():
        check(given, rules[key], f"--{key}")
    if settings.vocabulary == "checkpoint" and model.checkpoint:
        # A checkpoint that cannot be used must not show only after the cohort was read.
        from scsw.scgpt.checkpoint.inspect import require_trainable

        require_trainable(model.checkpoint)
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
        columns=asked["columns"] | named,
        values=asked["values"],
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
def gene_sets(
    library: Annotated[str, typer.Argument(help="Name of a library at Enrichr.")],
    out: Annotated[Path, typer.Option(help="GMT file to write.")],
    organism: Annotated[str, typer.Option(help="Such as Human or Mouse.")] = "Human",
) -> None:
    """Download a gene-set library with gseapy, for enrich.gene_sets; needs the network."""
    from scsw.biology.enrich.gene_set_download import download_gene_sets as run

    run(library, out, organism=organism)
