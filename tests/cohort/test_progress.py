"""How far a long step is, in a log and on a terminal."""

import re

import pytest
from rich.console import Console

from scsw.cohort import progress as module
from scsw.cohort.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_log_gets_a_line_now_and_then_with_the_time_left(clock, capsys):
    with progress("reading cells", 1000) as advance:
        for second in range(1, 101):
            clock.now = float(second)
            advance(5)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4  # of a hundred calls
    assert all(line.startswith("reading cells: ") for line in lines)
    done, total, minutes = re.search(r"([\d,]+) of ([\d,]+), about (\d+) min", lines[0]).groups()
    assert total == "1,000"
    left = (1000 - int(done)) / 5 / 60  # at 5 a second
    assert abs(int(minutes) - left) <= 1


def test_what_an_earlier_run_had_done_does_not_make_it_look_faster(clock, capsys):
    with progress("reading cells", 100_000, done=90_000) as advance:
        clock.now = 60.0
        advance(1000)
    (line,) = capsys.readouterr().err.splitlines()
    # 1,000 a minute, 9,000 to go.
    assert "91,000 of 100,000" in line and "about 9 min left" in line


def test_the_last_minute(clock, capsys):
    with progress("reading cells", 1000) as advance:
        clock.now = 60.0
        advance(900)
    assert "900 of 1,000, less than a minute left" in capsys.readouterr().err


def test_a_short_step_says_nothing(clock, capsys):
    with progress("reading cells", 10) as advance:
        clock.now = 1.0
        advance(10)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    def terminal(**given):
        return Console(force_terminal=True, width=100, **given)

    monkeypatch.setattr(module, "Console", terminal)
    with progress("reading cells", 10, done=4) as advance:
        advance(6)
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "reading cells" in shown and "10 of 10" in shown
