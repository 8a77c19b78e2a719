"""How far a download is: a moving bar on a terminal, a line every tenth in a log file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextlib.contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Tell on standard error how far the block is.

    Yields
    ------
    callable
        Takes the number of bytes that have come so far.
    """
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        yield _lines(console, name, total)
        return
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn()]
    columns += [TransferSpeedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(name, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(console: Console, name: str, total: int) -> Callable[[int], None]:
    told: int | None = None

    def advance(done: int) -> None:
        nonlocal told
        tenth = 10 * done // max(total, 1)
        if tenth != told:
            told = tenth
            line = f"{name}: {decimal(done)} of {decimal(total)} ({100 * done // max(total, 1)} %)"
            console.print(line, markup=False, highlight=False)

    return advance
