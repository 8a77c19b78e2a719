"""``python -m scsw.superweight.calibration``: see docs/calibration.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from scsw.errors import ScswError
from scsw.files import read_json, read_table, write_json, write_table
from scsw.superweight.calibration.sizes import SMALL, WHOLE, settings
from scsw.superweight.calibration.work_units import (
    do_all,
    null_units,
    one_thread_each,
    power_units,
)

PAGE = Path("docs/calibration.md")
STORED = Path("docs/calibration")
PARTS = ("null", "power")
KEYS = {
    "models": ["model"],
    "searched": ["model", "candidate_id"],
    "null": ["model", "family", "candidate_id"],
    "power": ["kind", "strength", "number"],
}


def run(given: argparse.Namespace) -> None:
    """Do one part, or a slice of it, and write its tables."""
    one_thread_each()
    started = time.monotonic()
    sizes = SMALL if given.small else WHOLE
    known = read_json(given.settings) if given.settings else {}
    filled = known.get(given.part) or settings(sizes, given.part)
    first, stop = given.slice or (0, sizes.models if given.part == "null" else sizes.implants)
    kinds = tuple(given.kinds or sizes.strengths)
    if given.part == "null":
        units = null_units(sizes, first, stop)
    else:
        units = power_units(sizes, kinds, first, stop)
    work = given.work or Path(tempfile.mkdtemp(prefix="calibration-"))
    failure, left = None, None
    try:
        left = do_all(units, filled, work, workers=given.workers, minutes=given.minutes)
    except ScswError as error:
        failure = error
    record = {
        "part": given.part,
        "slice": [first, stop],
        "workers": given.workers,
        "left": left,
        "rows": gather([work / "done"], given.out),
        "wall_seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sum(os.times()[2:4]), 1),
        "python": sys.version.split()[0],
        "torch": version("torch"),
    }
    if given.part == "power":
        record["kinds"] = list(kinds)
    suffix = "-".join([given.part, *given.kinds, str(first), str(stop)])
    write_json(record, given.out / f"run-{suffix}.json")
    print(record)
    if failure:
        raise failure


def gather(folders: list[Path], out: Path) -> dict[str, int]:
    """Put the tables of all pieces together and return the number of rows of each."""
    counts = {}
    for name, keys in KEYS.items():
        files = [f for folder in folders for f in folder.glob(f"{name}*.parquet")]
        if files:
            table = pd.concat([read_table(file) for file in sorted(files)], ignore_index=True)
            table = table.drop_duplicates(keys).sort_values(keys, ignore_index=True)
            write_table(table, out / f"{name}.parquet")
            counts[name] = len(table)
    return counts


def report() -> None:
    """Draw the figure of the stored tables and write their numbers into the page."""
    from scsw.superweight.calibration.figure import write
    from scsw.superweight.calibration.page import fill_in, write_summaries

    prune = settings(WHOLE, "null")["prune"]
    write_summaries(STORED, prune["n_controls"])
    write(STORED, prune["n_controls"], prune["min_effect"])
    fill_in(PAGE, STORED)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m scsw.superweight.calibration")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="do a part and write its tables")
    one.add_argument("--part", choices=PARTS, required=True)
    one.add_argument("--out", type=Path, default=STORED, help="folder for the tables")
    one.add_argument("--work", type=Path, help="folder for models; a stopped run goes on")
    one.add_argument("--workers", type=int, default=os.cpu_count())
    one.add_argument("--minutes", type=float, help="begin nothing later than this")
    one.add_argument("--slice", type=_slice, help="models or implants, first:stop")
    one.add_argument("--kinds", nargs="+", default=[], help="kinds of implants")
    one.add_argument("--small", action="store_true", help="the subset that a test reruns")
    one.add_argument("--settings", type=Path, help="JSON of the command `settings`")
    commands.add_parser("settings", help="write the settings, for `run` without the schema")
    commands.add_parser("report", help="draw the figure and fill in the page")
    both = commands.add_parser("gather", help="put the tables of several runs together")
    both.add_argument("folders", nargs="+", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        run(given)
    elif given.command == "gather":
        gather([*given.folders, STORED], STORED)
    elif given.command == "report":
        report()
    else:
        write_json({part: settings(WHOLE, part) for part in PARTS}, STORED / "settings.json")


def _slice(text: str) -> tuple[int, int]:
    first, _, stop = text.partition(":")
    return int(first), int(stop)


if __name__ == "__main__":
    try:
        main()
    except ScswError as error:
        sys.exit(f"Error: {error}")
