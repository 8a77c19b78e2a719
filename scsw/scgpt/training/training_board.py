"""The TensorBoard log of a run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def training_board(
    folder: Path | None, step: int
) -> Iterator[Callable[[int, str, Mapping[str, float]], None]]:
    """Open the log of a run; without a folder nothing is logged.

    Parameters
    ----------
    folder
        Where the log is. What a run before left there is removed, unless this one goes on.
    step
        Steps that are done; what was logged after them, before an interruption, is forgotten.

    Yields
    ------
    callable
        Takes the step, the name of the split, and numbers by name.
    """
    if folder is None:
        yield lambda step, split, numbers: None
        return
    from torch.utils.tensorboard import SummaryWriter  # an extra

    if step == 0:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
    with SummaryWriter(str(folder), purge_step=step + 1 if step else None) as writer:

        def log(step: int, split: str, numbers: Mapping[str, float]) -> None:
            for name, value in numbers.items():
                if not math.isnan(value):
                    writer.add_scalar(f"{name}/{split}", value, step)

        yield log
