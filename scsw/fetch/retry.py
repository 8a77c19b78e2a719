"""Trying again after a broken connection, with growing pauses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from scsw.errors import ScswError
from scsw.fetch.remote import Interrupted

# Attempts in a row that bring nothing; one that brought bytes starts the count again, since a large
# file over a poor line is cut many times and still arrives.
TRIES = 6
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds

Result = TypeVar("Result")


def with_retries(attempt: Callable[[], Result], reached: Callable[[], int] = int) -> Result:
    """Call `attempt` until it is not interrupted.

    Parameters
    ----------
    attempt
        What to do; raises `Interrupted` where trying again may help.
    reached
        Tells how far the attempts have come (bytes).

    Raises
    ------
    ScswError
        After `TRIES` attempts in a row without progress.
    """
    failures, before = 0, reached()
    while True:
        try:
            return attempt()
        except Interrupted as error:
            failures, before = (1 if reached() > before else failures + 1), reached()
            if failures >= TRIES:
                raise ScswError(
                    f"{error}; tried {TRIES} times without getting further",
                    fix="check the connection and give the same command again; it goes on from "
                    "the bytes that have come",
                ) from error
            pause = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            print(f"{error}; trying again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)
