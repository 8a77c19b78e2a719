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
    bounds = share_bounds(len(batch.lengths), n)
    return [cells_of(batch, a, b) for a, b in bounds if b > a]


def share_bounds(cells: int, n: int) -> list[tuple[int, int]]:
    """Return the first cell of each of `n` shares of a batch and the one after its last."""
    ends = np.linspace(0, cells, n + 1).round().astype(int).tolist()
    return list(pairwise(ends))


def cells_of(batch: PackedBatch, start: int, stop: int) -> PackedBatch:
    """Return the cells from `start` up to `stop` of a batch that lies on the CPU."""
    first = sum(batch.lengths[:start])
    last = first + sum(batch.lengths[start:stop])
    hidden = torch.searchsorted(batch.hidden, torch.tensor([first, last])).tolist()
    return replace(
        batch,
        cells=batch.cells[start:stop],
        lengths=batch.lengths[start:stop],
        offsets=batch.offsets[start : stop + 1] - first,
        genes=batch.genes[first:last],
        values=batch.values[first:last],
        target=batch.target[first:last],
        hidden=batch.hidden[slice(*hidden)] - first,
        labels=batch.labels[start:stop],
        batch_labels=batch.batch_labels[start:stop],
    )
