"""``python -m scsw.superweight.calibration``: see docs/calibration.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
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

STORED = Path("docs/calibration")
TABLES = ("models", "searched", "null", "power")
KEYS = {
    "models": ["model"],
    "searched": ["model"],
    "null": ["model", "family"],
    "power": ["kind", "strength", "number"],
}


def run(given: argparse.Namespace) -> None:
    """Do one part, or a slice of it, and write its tables."""
    one_thread_each()
    started = time.monotonic()
    sizes = SMALL if given.small else WHOLE
    if given.settings:
        filled = read_json(given.settings)[given.part]
    else:
        filled = settings(sizes, given.part)
    first, stop = given.slice or (0, sizes.models if given.part == "null" else sizes.implants)
    if given.part == "null":
        units = null_units(sizes, first, stop)
    else:
        units = power_units(sizes, given.kinds or tuple(sizes.strengths), first, stop)
    work = given.work or Path(tempfile.mkdtemp(prefix="calibration-"))
    failure = None
    try:
        left = do_all(units, filled, work, workers=given.workers, minutes=given.minutes)
    except ScswError as error:
        failure, left = error, -1
    counts = gather([work / "done"], given.out)
    record = {
        "part": given.part,
        "slice": [first, stop],
        "workers": given.workers,
        "left": left,
        "rows": counts,
        "wall_seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sum(os.times()[2:4]), 1),
        "python": sys.version.split()[0],
        "torch": _version("torch"),
    }
    write_json(record, given.out / f"run-{given.part}-{first}-{stop}.json")
    print(record)
    if failure:
        raise failure


def gather(folders: list[Path], out: Path) -> dict[str, int]:
    """Put the tables of all pieces together and return the number of rows of each."""
    counts = {}
    for name in TABLES:
        files = sorted(file for folder in folders for file in folder.glob(f"{name}-*.parquet"))
        files += [file for folder in folders for file in folder.glob(f"{name}.parquet")]
        if files:
            table = pd.concat([read_table(file) for file in files], ignore_index=True)
            table = table.sort_values(KEYS[name], kind="stable", ignore_index=True)
            write_table(table, out / f"{name}.parquet")
            counts[name] = len(table)
    return counts


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _slice(text: str) -> tuple[int, int]:
    first, _, stop = text.partition(":")
    return int(first), int(stop)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m scsw.superweight.calibration")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="do a part and write its tables")
    one.add_argument("--part", choices=["null", "power"], required=True)
    one.add_argument("--out", type=Path, required=True, help="folder for the tables")
    one.add_argument(
        "--work", type=Path, help="folder for models and pieces; a stopped run goes on"
    )
    one.add_argument("--workers", type=int, default=os.cpu_count())
    one.add_argument("--minutes", type=float, help="begin nothing later than this")
    one.add_argument("--slice", type=_slice, help="models or implants, first:stop")
    one.add_argument("--kinds", nargs="+", help="kinds of implants")
    one.add_argument("--small", action="store_true", help="the subset that a test reruns")
    one.add_argument("--settings", type=Path, help="JSON of the command `settings`")
    two = commands.add_parser("settings", help="write the settings, for `run`")
    two.add_argument("--out", type=Path, default=STORED / "settings.json")
    given = parser.parse_args()
    if given.command == "run":
        given.kinds = tuple(given.kinds or ())
        run(given)
    else:
        write_json({part: settings(WHOLE, part) for part in ("null", "power")}, given.out)


if __name__ == "__main__":
    try:
        main()
    except ScswError as error:
        sys.exit(f"Error: {error}")
