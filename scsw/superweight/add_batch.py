"""Adds a batch to the statistics of a site."""

from __future__ import annotations

import torch
from torch import Tensor

from scsw.superweight.histogram import flat_tokens


def add_batch(
    state: dict[str, Tensor],
    x: Tensor,
    real: Tensor,
    special: Tensor | None,
    groups: Tensor | None,
    n_before: int,
    moments: bool,
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Return the state with a batch added, and where its new maxima are.

    One function without loops, so that a compiler can make it few passes over `x`.

    Parameters
    ----------
    state
        The sums and maxima that `SiteStatistics` keeps; not changed.
    x
        Activations, shape (cells, tokens, channels).
    real, special
        True at real tokens and at those that are no gene; bool, shape (cells, tokens). Without
        `special` the two kinds are not told apart.
    groups
        Groups of the cells, numbered through all groupings; int64, shape (groupings, cells).
    n_before
        Cells of earlier batches.
    moments
        Whether sums of powers are kept.

    Returns
    -------
    tuple
        The new state, and the fields of `NewMaxima`.
    """
    state, size = dict(state), torch.where(real[..., None], x.float().abs(), 0.0)
    largest = size.amax(1)
    best, cell = largest.max(0)
    channels = torch.arange(x.shape[2], device=x.device)
    token = size[cell, :, channels].argmax(1)
    new = (best > state["max"]) | best.isnan()  # what is no number must not be lost
    state["max"] = torch.where(new, best, state["max"])
    state["max_cell"] = torch.where(new, cell + n_before, state["max_cell"])
    state["max_token"] = torch.where(new, token, state["max_token"])
    state["top"] = state["top"] + (largest.argmax(1)[:, None] == channels).sum(0)
    total = size.sum(1, dtype=torch.float64) if moments else None
    if moments:
        state |= _moments(state, flat_tokens(x, real), total, real)
    if groups is not None:
        state |= _by_group(state, largest, total, groups, real.sum(1))
    if special is not None:
        state |= _by_kind(state, flat_tokens(x, real), flat_tokens(special[..., None], real), real)
    return state, (new, cell, token)


def _moments(state: dict[str, Tensor], x: Tensor, total: Tensor, real: Tensor) -> dict[str, Tensor]:
    square = x * x
    sums = [each.sum(0, dtype=torch.float64) for each in (x, square, square * x, square * square)]
    n_padding = len(x) - real.sum()
    return {
        "powers": state["powers"] + torch.stack([*sums, total.sum(0)]),
        "zeros": state["zeros"] + (x == 0).sum(0) - n_padding,
    }


def _by_kind(
    state: dict[str, Tensor], x: Tensor, special: Tensor, real: Tensor
) -> dict[str, Tensor]:
    """Return the state's sums over special tokens and over the others."""
    size, n = x.abs(), special.sum()
    parts = torch.where(special, size, 0.0), torch.where(special, 0.0, size)
    largest = torch.stack([part.amax(0) for part in parts])
    added = torch.stack([part.sum(0, dtype=torch.float64) for part in parts])
    return {
        "kind_max": torch.maximum(state["kind_max"], largest),
        "kind_sum": state["kind_sum"] + added,
        "kind_tokens": state["kind_tokens"] + torch.stack([n, real.sum() - n]),
    }


def _by_group(
    state: dict[str, Tensor], largest: Tensor, total: Tensor | None, groups: Tensor, n: Tensor
) -> dict[str, Tensor]:
    """Return the state's sums by group, `groups` being all groupings', (groupings, cells)."""
    wide = groups.flatten()[:, None].expand(-1, largest.shape[1])
    numbers = torch.arange(len(state["group_tokens"]), device=groups.device)
    # A product, since adding in place by index would make a GPU wait.
    member = (groups[None] == numbers[:, None, None]).any(1)
    found = {
        "group_max": state["group_max"].scatter_reduce(
            0, wide, largest.repeat(len(groups), 1), "amax", include_self=True
        ),
        "group_tokens": state["group_tokens"] + (member * n).sum(1),
    }
    if total is not None:
        found["group_sum"] = state["group_sum"] + member.double() @ total
    return found
