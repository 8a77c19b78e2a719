"""The independent pieces of work of a calibration, and a pool of processes that does them.

Every piece writes one small table, whole or not at all, so that a run that is stopped goes on where
it was, and runs of different machines can be put together.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from scsw.errors import ScswError
from scsw.superweight.calibration.sizes import Sizes, sections


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes
    ----------
    name
        Stem of the table that it writes.
    function
        Name of the function in `scsw.superweight.calibration` that does it, with its module.
    arguments
        Its arguments between the folders and the settings.
    then
        Pieces that can start when this one is done.
    """

    name: str
    function: str
    arguments: tuple
    then: tuple[Unit, ...] = field(default=())


def null_units(sizes: Sizes, first: int, stop: int) -> list[Unit]:
    """Return the models from `first` to `stop` (without), each with its families."""
    return [
        Unit(
            f"models-{k}",
            "null_families.null_model",
            (k, sizes.cohort),
            tuple(
                Unit(f"null-{k}-{f}", "null_families.null_family", (k, f, sizes.members))
                for f in range(sizes.families)
            ),
        )
        for k in range(first, stop)
    ]


def power_units(sizes: Sizes, kinds: tuple[str, ...], first: int, stop: int) -> list[Unit]:
    """Return the implants from `first` to `stop` (without) of every strength, strengths in turn."""
    return [
        Unit(
            f"power-{kind}-{strength:g}-{i}",
            "implants.implanted_model",
            (kind, strength, i, sizes.cohort),
        )
        for kind in kinds
        for i in range(first, stop)
        for strength in sizes.strengths[kind]
    ]


def do_all(
    units: list[Unit],
    settings: dict[str, dict],
    work: Path,
    *,
    workers: int,
    minutes: float | None = None,
) -> int:
    """Do all pieces that are not done yet and return how many are left.

    Parameters
    ----------
    units
        The pieces.
    settings
        Of `scsw.superweight.calibration.sizes.settings`.
    work
        Folder for models and tables; a table of the folder ``done/`` is not made again.
    workers
        Processes.
    minutes
        No piece is begun later than this after the start.

    Raises
    ------
    ScswError
        If pieces failed; the others are done first.
    """
    started, done = time.monotonic(), work / "done"
    done.mkdir(parents=True, exist_ok=True)
    waiting, running, failed = deque(units), {}, []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while waiting or running:
            late = minutes is not None and time.monotonic() - started > 60 * minutes
            while waiting and len(running) < workers and not late:
                unit = waiting.popleft()
                if (done / f"{unit.name}.parquet").exists():
                    waiting.extend(unit.then)
                else:
                    running[pool.submit(_do, unit, settings, work)] = unit
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                unit = running.pop(future)
                if error := _error(future):
                    failed.append(f"{unit.name}: {error}")
                else:
                    waiting.extend(unit.then)
                print(f"{time.monotonic() - started:6.0f} s  {unit.name}  {error or 'done'}")
    left = sum(1 + len(unit.then) for unit in waiting)
    if failed:
        raise ScswError(
            f"{len(failed)} pieces failed: " + "; ".join(failed[:5]),
            fix=f"read their logs in {work / 'logs'}; the same command does what is left",
        )
    return left


def _error(future: Future) -> str:
    error = future.exception()
    return "" if error is None else f"{type(error).__name__}: {error}"


def _do(unit: Unit, settings: dict[str, dict], work: Path) -> None:
    """Do one piece in a process of the pool; what the steps print goes to a log."""
    from importlib import import_module

    module, name = unit.function.split(".")
    function = getattr(import_module(f"scsw.superweight.calibration.{module}"), name)
    log = work / "logs" / f"{unit.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        function(work, work / "done", *unit.arguments, sections(settings))


def one_thread_each() -> None:
    """Bind the processes of the pool, which inherit this, to one thread."""
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
