"""Prints what a run found, without drawing anything."""

from __future__ import annotations

from pathlib import Path

from scsw.errors import ScswError
from scsw.files import read_json, require
from scsw.report.names import COMPARED


def print_summary(folder: str | Path) -> None:
    """Print the path of each report, its verdict sentence and how its control arms came out.

    Parameters
    ----------
    folder
        Folder of one cohort's report, or of a run with several.

    Raises
    ------
    ScswError
        If there is no report.
    """
    folder = require(folder)
    reports = [folder / "report.html"] if (folder / "report.html").exists() else []
    reports = reports or sorted(folder.glob("*/report.html"))
    if not reports:
        raise ScswError(
            f"{folder} holds no report.html",
            expected="the folder of a finished run, results/<run>",
            fix="let the run finish first",
        )
    for report in reports:
        print(report)
        numbers = read_json(report.with_name("numbers.json"))
        print(numbers["verdict_sentence"])
        for arm in numbers["sections"]["controls"]["arms"]:
            passed = {True: "as expected", False: "NOT AS EXPECTED", None: "undecided"}
            how = "for comparison" if arm["arm"] in COMPARED else passed[arm["passed"]]
            print(f"  control “{arm['label']}”, {how}: {arm['outcome']}")
