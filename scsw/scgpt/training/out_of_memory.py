"""Work that is done again in smaller parts when a GPU's memory does not hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from scsw.errors import ScswError

_Found = TypeVar("_Found")


def in_parts(work: Callable[[int], _Found], n: int, cells: int) -> tuple[_Found, int]:
    """Do some work on a batch in `n` parts; out of memory, in twice as many, and so on.

    Parameters
    ----------
    work
        Called with the number of parts. It must be possible to begin it anew.
    n
        Parts of the first try.
    cells
        Cells of the batch, the most parts that it can have.

    Returns
    -------
    tuple
        What `work` returned, and the number of parts that did it.

    Raises
    ------
    torch.OutOfMemoryError
        If a single cell is too much.
    """
    while True:
        try:
            return work(n), n
        except torch.OutOfMemoryError:
            if n >= cells:
                raise
        # Out here the error is gone, and with it what its traceback held.
        torch.cuda.empty_cache()
        n = min(2 * n, cells)


def no_memory(error: torch.OutOfMemoryError) -> ScswError:
    """Return what to tell a user whose GPU is too small."""
    return ScswError(
        f"the GPU has too little memory: {str(error).splitlines()[0]}",
        fix="use compute.activation_checkpointing, a starting model with a lower "
        "model.max_seq_len, or a larger GPU; with finetune.weight_ecs, which needs all cells of a "
        "step at once, a lower batch_size",
    )
