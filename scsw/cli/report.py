"""The report, and looking into results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from scsw.cli.app import Input, app
from scsw.settings import parse_settings, validate_config


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
