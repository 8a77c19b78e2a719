"""The program `scsw`, the options that its commands share, and how it ends."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer
from rich.console import Console

from scsw.errors import ScswError
from scsw.settings import parse_settings, schema, section_settings

_FULL = (errno.ENOSPC, errno.EDQUOT)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Super-weight-like control points of scGPT models fine-tuned on Alzheimer's cohorts.",
)
checkpoint = typer.Typer(
    no_args_is_help=True, help="Published scGPT models: get one, or look into a folder."
)
app.add_typer(checkpoint, name="checkpoint")

Input = Annotated[Path, typer.Argument(help="File or folder to read.")]
Cohort = Annotated[Path, typer.Option(help="cohort.h5ad, as `scsw preprocess` writes it.")]
Model = Annotated[Path, typer.Argument(help="scGPT folder.")]
Out = Annotated[Path, typer.Option(help="What to write.")]
Candidates = Annotated[Path, typer.Option(help="candidates.parquet of `scsw search`.")]
ControlScores = Annotated[
    Path | None, typer.Option(help="Folder of `scsw map` with the controls' scores.")
]
Settings = Annotated[
    str | None,
    typer.Option(help='Config file, or JSON such as \'{"search": {"max_candidates": 10}}\'.'),
]
Arm = Annotated[str, typer.Option(help="Arm of the run, written into the tables.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed.")]
Column = Annotated[str | None, typer.Option(help="Column to read in place of the layout's own.")]
Work = Annotated[
    Path | None, typer.Option(help="Folder for temporary files; by default beside the output.")
]
Simulated = Annotated[bool, typer.Option("--simulated", help="Say so in the provenance.")]


def sections(config: str | None, *names: str) -> list[SimpleNamespace]:
    """Read some sections of a config, and bind the CPU threads before torch or numpy load."""
    given = parse_settings(config)
    known = schema()["properties"]
    if unknown := sorted(set(given) - set(known)):
        raise ScswError(
            f"unknown config sections: {', '.join(unknown)}",
            expected="some of " + ", ".join(sorted(known)),
            fix='give settings by section, such as {"search": {"max_candidates": 10}}',
        )
    found = [section_settings(name, given.get(name)) for name in names]
    threads = str(section_settings("compute", given.get("compute")).cpu_threads)
    for library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = threads
    return found


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit status 2."""
    code = 0
    # As Ctrl-C: what a command was writing is removed before it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:
        message = error if isinstance(error, ScswError) else _of_the_machine(error)
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {message}", style="bold red", markup=False
        )
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are written and closed by now. A short process on a busy machine aborts in about
    # one of 15 runs while pyarrow's starting threads are torn down, so nothing is torn down.
    os._exit(code)


def _of_the_machine(error: Exception) -> ScswError:
    """Say in one message what disk or memory refused.

    Raises
    ------
    Exception
        Again, if it tells no reason of the operating system's. HDF5 tells one in its text.
    """
    error = _full_disk(error) or error
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # torch's
        return ScswError(
            f"the memory of this machine does not suffice ({error})",
            fix="lower the sizes in the config, or use a machine with more memory",
        )
    told = re.search(r"name = '([^']*)'.*errno = (\d+)", str(error), re.DOTALL)
    number = int(told[2]) if told else getattr(error, "errno", None)
    if number is None:
        raise error
    names = (getattr(error, "filename", None), told and told[1])
    return ScswError(
        f"{next(filter(None, names), 'a file')}: {os.strerror(number)}",
        fix="make room on the disk, or name another folder for results and temporary files"
        if number in _FULL
        else "check the path and the rights to read and write there",
    )


def _full_disk(error: BaseException | None) -> BaseException | None:
    """Return the error of a full disk that a library stumbled over while it closed its file."""
    while error and getattr(error, "errno", None) not in _FULL:
        error = error.__context__
    return error
