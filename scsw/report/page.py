"""The HTML page: one file, no network, readable on a phone and on paper."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from scsw.report import limits, words
from scsw.report.captions import caption
from scsw.report.checks import checks
from scsw.report.methods import methods_blocks
from scsw.report.names import AD_GENES, model_label
from scsw.report.provenance_records import Records
from scsw.report.sections import SECTIONS
from scsw.report.tables import Tables

_FOLDER = Path(__file__).parent
BIOMARKER_ROWS = 20


def page(t: Tables, numbers: dict[str, Any], records: Records, figures: dict[str, Path]) -> str:
    """Return the report as one HTML text.

    Parameters
    ----------
    t
        Tables, for the report's own tables.
    numbers
        The content of ``numbers.json``; all prose comes from it.
    records
        Provenance, for the last section.
    figures
        Path of each SVG figure that is shown. One that only says why there is nothing to draw
        is not: the section's own text says it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (words.count, words.amount, words.effect, words.percent, words.span):
        environment.filters[write.__name__] = write
    return environment.get_template("template.html").render(
        n=numbers,
        models=_models(numbers),
        sections=[_section(t, numbers, name, figures) for name in SECTIONS],
        checks=checks(numbers),
        limits=limits.sentences(numbers),
        verdicts=_rows(t.verdicts.sort_values(["seed", "rank"])),
        biomarkers=_rows(_first_and_named(t.biomarkers)),
        n_biomarkers=len(t.biomarkers),
        methods=methods_blocks(numbers)[1:],
        records=records,
    )


def _first_and_named(biomarkers: pd.DataFrame) -> pd.DataFrame:
    """Return the first genes, and the known AD genes wherever they stand."""
    first = np.arange(len(biomarkers)) < BIOMARKER_ROWS
    return biomarkers[first | biomarkers["gene"].isin(AD_GENES)]


def _models(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    models = numbers["verdict"]["models"]
    return [model | {"label": model_label("real", model["seed"])} for model in models]


def _section(t: Tables, numbers: dict[str, Any], name: str, figures: dict[str, Path]) -> dict:
    title, module = SECTIONS[name]
    section = {
        "name": name,
        "title": title,
        "reading": module.reading(numbers["sections"][name]),
        "figure": None,
    }
    if name in figures:
        section["figure"] = {
            "number": list(figures).index(name) + 1,
            "image": _inlined(figures[name]),
            "points": _width(figures[name]),
            "caption": caption(name, t.config | {"simulated": t.simulated}),
        }
    return section


def _inlined(path: Path) -> str:
    """Return an SVG as a data URI. As an image it cannot disturb the page or run anything."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _width(path: Path) -> float:
    """Return the width of an SVG in points; matplotlib writes it into the root element."""
    return float(re.search(r'<svg [^>]*?width="([0-9.]+)pt"', path.read_text("utf-8"))[1])


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
