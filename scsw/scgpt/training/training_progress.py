"""How far training is: a moving bar on a terminal; a log file has the lines of the evaluations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scsw.scgpt.training.training_run import TrainingRun


@contextlib.contextmanager
def training_progress(run: TrainingRun, shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Show step, loss, tokens per second and time left while the block runs.

    Parameters
    ----------
    run
        The run, looked at whenever it is told of a step.
    shown
        Whether this process shows anything.

    Yields
    ------
    callable
        Takes the loss of the last step.
    """
    console = Console()
    if not (shown and console.is_terminal):
        yield lambda loss: None
        return
    numbers = TextColumn(
        "step {task.completed:,.0f} of {task.total:,.0f}  loss {task.fields[loss]:.3f}  "
        "{task.fields[speed]:,.0f} tokens/s"
    )
    times = (TimeElapsedColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(BarColumn(), numbers, *times, console=console) as bar:
        nothing = {"loss": float("nan"), "speed": 0.0}
        task = bar.add_task("", total=run.steps, completed=run.step, **nothing)

        def tell(loss: float) -> None:
            bar.update(task, completed=run.step, loss=loss, speed=run.tokens / run.seconds)

        yield tell
