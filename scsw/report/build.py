"""Step `report`: figures, numbers, methods text and one HTML page for one cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scsw.files import require, whole, write_json, write_text
from scsw.provenance import recorded
from scsw.report import style
from scsw.report.figures import DRAW
from scsw.report.methods import methods_text
from scsw.report.names import figure_names
from scsw.report.numbers import collect
from scsw.report.page import page
from scsw.report.provenance_records import read_records
from scsw.report.summary import print_summary
from scsw.report.tables import input_files, read_tables

__all__ = ["print_summary", "report"]


def report(
    cohort_dir: str | Path,
    out: str | Path,
    *,
    config: dict[str, Any],
    cohort: str,
    replication_dir: str | Path | None = None,
) -> None:
    """Write ``figures/``, ``report.html``, ``methods.md`` and ``numbers.json`` of a cohort.

    Figures are drawn from the tables alone; the prose uses only what ``numbers.json`` holds.

    Parameters
    ----------
    cohort_dir
        ``results/<run>/<cohort>`` with the tables of docs/outputs.md.
    out
        Folder to write into; mostly the same one.
    config
        The run's config with all defaults, from `scsw.settings.validate_config`.
    cohort
        Name of the cohort.
    replication_dir
        ``results/<run>/replication``; None with one cohort.

    Raises
    ------
    ScswError
        If a table that every run makes is missing or lacks a column. Tables that a run may
        leave out are told of in the report.
    """
    cohort_dir, out = require(cohort_dir), Path(out)
    inputs = input_files(cohort_dir, config, cohort, replication_dir)
    with recorded("report", out, inputs=inputs, parameters={}) as record:
        tables = read_tables(
            cohort_dir, config=config, cohort=cohort, replication_dir=replication_dir
        )
        record["simulated"] = tables.simulated
        records = read_records(cohort_dir, config, cohort)
        numbers = collect(tables, records)
        with whole(out / "figures") as folder:
            drawn = {}
            with style.applied():
                for name in figure_names(config, cohort):
                    figure = DRAW[name](tables)
                    style.save_figure(figure, name, folder, tables.simulated)
                    if figure.get_label() != style.PLACARD:
                        drawn[name] = folder / f"{name}.svg"
            html = page(tables, numbers, records, drawn)
        write_json(numbers, out / "numbers.json")
        write_text(methods_text(numbers), out / "methods.md")
        write_text(html, out / "report.html")
