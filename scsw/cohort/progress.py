"""How far a long step is, and how long it will still take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# A log file gets a line this often at most, a terminal a moving bar.
_SECONDS = 30.0


@contextlib.contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Tell on standard error how far the block is.

    Parameters
    ----------
    what
        What is done, such as ``"reading nuclei"``.
    total
        Number of things.
    done
        Number that an earlier, interrupted call had done; the time left is reckoned without them.

    Yields
    ------
    callable
        Takes the number of further things that are done.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        share = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        name = TextColumn("{task.description}")
        with Progress(name, BarColumn(), share, *times, console=console) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda n: bar.advance(task, n)
        return
    yield _Lines(console, what, total, done).advance


class _Lines:
    """Progress as lines of a log file."""

    def __init__(self, console: Console, what: str, total: int, done: int) -> None:
        self._console, self._what, self._total = console, what, total
        self._begun_at = self._done = done
        self._begun = self._told = time.monotonic()

    def advance(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._told < _SECONDS:
            return
        self._told = now
        rate = (self._done - self._begun_at) / (now - self._begun)
        left = (self._total - self._done) / rate / 60
        self._console.print(f"{self._what}: {self._done:,} of {self._total:,}, {_told(left)} left")


def _told(minutes: float) -> str:
    return "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
