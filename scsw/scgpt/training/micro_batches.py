"""A packed batch in parts, for several processes or for less memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from scsw.scgpt.tokens.packed import PackedBatch


def parts(batch: PackedBatch, n: int) -> list[PackedBatch]:
    """Return a batch as up to `n` batches of following cells; none of them is empty."""
    if n == 1 and batch.lengths:
        return [batch]
    ends = np.linspace(0, len(batch.lengths), n + 1).round().astype(int).tolist()
    return [cells_of(batch, a, b) for a, b in pairwise(ends) if b > a]


def share_bounds(lengths: list[int], n: int) -> list[tuple[int, int]]:
    """Return the first cell of each of `n` processes' shares and the one after its last.

    The shares have about as many tokens, so that no process waits long for another.
    """
    tokens = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    wanted = np.arange(n + 1) * (tokens[-1] / n)
    return list(pairwise(np.abs(tokens - wanted[:, None]).argmin(1).tolist()))


def cells_of(batch: PackedBatch, start: int, stop: int) -> PackedBatch:
    """Return the cells from `start` up to `stop` of a batch that lies on the CPU."""
    first = sum(batch.lengths[:start])
    last = first + sum(batch.lengths[start:stop])
    hidden = torch.searchsorted(batch.hidden, torch.tensor([first, last])).tolist()
    return replace(
        batch,
        cells=batch.cells[start:stop],
        lengths=batch.lengths[start:stop],
        offsets=_pinned_like(batch.offsets, batch.offsets[start : stop + 1] - first),
        genes=batch.genes[first:last],
        values=batch.values[first:last],
        target=batch.target[first:last],
        hidden=_pinned_like(batch.hidden, batch.hidden[slice(*hidden)] - first),
        labels=batch.labels[start:stop],
        batch_labels=batch.batch_labels[start:stop],
    )


def _pinned_like(original: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Return a new tensor in page-locked memory if the original was.

    From other memory the copy would wait until the GPU has done all that it was given before.
    """
    return made.pin_memory() if original.is_pinned() else made
