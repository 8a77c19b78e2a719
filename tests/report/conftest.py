from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scsw.report.build import report
from tests.report.tables import Run, Shape, write_run

NASTY_TYPES = ('<b onclick="alert(1)">L5 & L6</b>', "Astrocyte <1>", "OPC & VLMC")
NASTY_WARNING = "Ages are <script>alert('x')</script> & \"odd\"."


@dataclass(frozen=True)
class Report:
    """A written report and what it was made from."""

    run: Run
    out: Path
    html: str
    numbers: dict[str, Any]


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Report:
    """The whole report of two fine-tuned models, four control arms and two cohorts."""
    shape = Shape(
        verdicts={0: "causal, constant"},
        cohorts=("simcohort", "other"),
        spatial="go on",
        type_names=NASTY_TYPES,
        warnings=(NASTY_WARNING,),
    )
    run = write_run(tmp_path_factory.mktemp("written"), shape)
    out = tmp_path_factory.mktemp("out") / "report"
    report(run.folder, out, config=run.config, cohort=run.cohort, replication_dir=run.replication)
    numbers = json.loads((out / "numbers.json").read_text())
    return Report(run, out, (out / "report.html").read_text(), numbers)
