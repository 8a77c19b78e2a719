"""The batches of a fine-tuning run, prepared ahead of the optimiser."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader, Dataset

from scsw.errors import ScswError
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.training_cells import TrainingCells

# Batches that a worker prepares ahead: enough to bridge the read of some blocks.
_AHEAD = 8


def training_batches(
    training: TrainingCells, start: int = 0, *, workers: int = 0, pin_memory: bool = False
) -> Iterator[PackedBatch]:
    """Yield the batch of each optimiser step from a given one on.

    The batches do not depend on the number of workers, and none of torch's global random numbers
    is used up. Close the iterator (``contextlib.closing``) when it is left before its end: the
    workers then end at once.

    Parameters
    ----------
    training
        The cells; `TrainingCells.batch` says what a step's batch is.
    start
        Step to begin with.
    workers
        Processes that prepare batches ahead; with 0 each is made when it is asked for.
    pin_memory
        Whether batches are handed out in page-locked memory, for a GPU.

    Raises
    ------
    ScswError
        What `TrainingCells.batch` raises, in a worker or not.
    """
    if not workers:
        for step in range(start, training.steps):
            batch = training.batch(step)
            yield batch.pin_memory() if pin_memory else batch
        return
    batches = _from_workers(training, start, workers, pin_memory)
    # An exiting process asks its workers to end, which they ignore, and waits for them.
    atexit.register(batches.close)
    try:
        yield from batches
    finally:
        atexit.unregister(batches.close)


def loader_workers(compute: SimpleNamespace, device: torch.device) -> int:
    """Return how many processes prepare batches: what the config says, else 1 for a GPU, or 0."""
    given = compute.loader_workers
    return given if given is not None else int(device.type == "cuda")


def _from_workers(
    training: TrainingCells, start: int, workers: int, pin_memory: bool
) -> Iterator[PackedBatch]:
    loader = DataLoader(
        _Steps(training),
        batch_size=None,
        sampler=range(start, training.steps),
        num_workers=workers,
        prefetch_factor=_AHEAD,
        pin_memory=pin_memory,
        worker_init_fn=_ignore_signals,
        # Without one of its own the loader draws from torch's, and dropout after a resumed step
        # would not be that of an uninterrupted run.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, ScswError):
            raise batch
        yield batch


class _Steps(Dataset):
    """Batches by optimiser step, for the loader's processes."""

    def __init__(self, training: TrainingCells) -> None:
        self._training = training

    def __getitem__(self, step: int) -> PackedBatch | ScswError:
        try:
            return self._training.batch(step)
        except ScswError as error:  # the loader would add a traceback to what it says
            return error


def _ignore_signals(_worker: int) -> None:
    """Leave it to the main process to end in good order when a whole job is asked to."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
