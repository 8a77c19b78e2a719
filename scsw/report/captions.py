"""Figure captions: one text for Snakemake's own report and for ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2

from scsw.files import require

_BESIDE_PACKAGE = Path(__file__).with_name("captions")  # in an installed wheel
_IN_REPOSITORY = Path(__file__).parents[2] / "workflow" / "report"


def caption(name: str, config: dict[str, Any]) -> str:
    """Return the caption of a figure as one paragraph of plain text.

    The files are Jinja2 templates because Snakemake renders them as such, with a `snakemake`
    object that has the run's config.
    """
    folder = _BESIDE_PACKAGE if _BESIDE_PACKAGE.is_dir() else _IN_REPOSITORY
    source = require(folder / f"{name}.rst").read_text(encoding="utf-8")
    text = jinja2.Template(source).render(snakemake=SimpleNamespace(config=config))
    return " ".join(text.split())
