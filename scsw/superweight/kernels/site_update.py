"""What `site_pass` has found in a batch, added to the statistics of a site."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from scsw.superweight.kernels.nvrtc import Kernel
from scsw.superweight.kernels.site_pass import Chunks

_THREADS, _LANES = 512, 32
_MOST_SHARED = 48 * 1024  # any GPU has that: enough for 10,000 cells
# The statistics in the order in which the kernel takes them.
_STATE = (
    "max max_cell max_token top powers zeros group_max group_sum group_tokens kind_max kind_sum "
    "kind_tokens"
).split()


def site_update(
    state: Mapping[str, Tensor],
    chunks: Chunks,
    groups: tuple[Tensor, Tensor],
    lengths: Tensor,
    n_kinds: Tensor,
    n_before: int,
    *,
    moments: bool,
    special: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add a batch to the statistics, in place.

    Parameters
    ----------
    state
        The sums of `SiteStatistics`.
    chunks
        What `site_pass` found.
    groups
        The group of each cell in each grouping, shape (groupings, cells), and the number of each
        grouping's first group, shape (groupings, 1); int64.
    lengths
        Real tokens of each cell, int64, shape (cells,).
    n_kinds
        Number of special tokens and of others, int64, shape (2,).
    n_before
        Cells of earlier batches.
    moments, special
        As for `SiteStatistics`.

    Returns
    -------
    tuple of torch.Tensor
        The fields of `NewMaxima`.
    """
    cells, n_chunks, channels = chunks.largest.shape
    n_groupings, n_groups = len(groups[1]), len(state["group_tokens"])
    device = chunks.largest.device
    new = torch.empty(channels, dtype=torch.bool, device=device)
    cell, token = torch.empty(2, channels, dtype=torch.int64, device=device)
    numbers = (len(chunks.parts), n_groupings, n_groups, n_before, int(moments), int(special))
    blocks = -(-channels // _LANES) * (1 + n_groups) + cells
    _kernel(device, channels)(
        (blocks, 1),
        _THREADS,
        _THREADS * 16 + (cells + 1) * 4,
        *chunks,
        *groups,
        lengths,
        n_kinds,
        *(state[name] for name in _STATE),
        *(new, cell, token),
        *(cells, n_chunks, *numbers),
    )
    return new, cell, token


@cache
def _kernel(device: torch.device, channels: int) -> Kernel:
    source = Path(__file__).with_name("site_update.cu").read_text(encoding="utf-8")
    macros = {"CHANNELS": channels, "THREADS": _THREADS}
    return Kernel(source, "site_update", macros, device, _MOST_SHARED)
