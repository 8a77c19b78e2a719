"""What to look at before a verdict is believed: controls, models, seeds, other cohorts."""

from __future__ import annotations

from typing import Any

from scsw.report.sections import controls, finetuning, pruning, replication


def checks(n: dict[str, Any]) -> list[dict[str, str]]:
    """Return one line per check: its ``name``, what the run says, and the ``section`` to read.

    Parameters
    ----------
    n
        The content of ``numbers.json``.
    """
    of = n["sections"]
    told = {
        "controls": ("Controls", controls.in_short(of["controls"])),
        "finetuning": ("Models", finetuning.in_short(of["finetuning"])),
        "pruning": ("Seeds", pruning.in_short(of["pruning"])),
        "replication": ("Other cohorts", replication.in_short(of["replication"])),
    }
    return [{"section": section, "name": x, "text": text} for section, (x, text) in told.items()]
