"""Each candidate's channel followed through the later blocks, intact and pruned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scsw.superweight.ablate import ablate
from scsw.superweight.capture import capture
from scsw.superweight.evaluating import evaluating
from scsw.superweight.observe import by_cell

COLUMNS = "candidate block site amplitude rank amplitude_pruned rank_pruned".split()


def follow(
    model: nn.Module,
    batches: Iterable,
    candidates: pd.DataFrame,
    points: dict[str, tuple[nn.Module, str]],
    *,
    forward: Callable[[nn.Module, Any], Any],
    token_mask: Callable[[Any], Tensor],
) -> pd.DataFrame:
    """Measure the largest |x| of each candidate's output channel at later sites, with and without.

    Parameters
    ----------
    model, batches, forward, token_mask
        As for `find_candidates`.
    candidates
        Its table: ``module, block, row, column``.
    points
        Capture points ``{block}.{site}`` of the width of a block's output.

    Returns
    -------
    pandas.DataFrame
        One row per candidate (its position in the table), block from its own on, and site:
        ``amplitude`` and ``rank`` among the site's channels (1 is the largest), and the same with
        the candidate set to zero.
    """
    intact = _largest(model, batches, points, forward, token_mask)
    rows = []
    for number, candidate in enumerate(candidates.itertuples()):
        later = {n: p for n, p in points.items() if int(n.split(".")[0]) >= candidate.block}
        edit = [(candidate.module, candidate.row, candidate.column)]
        with ablate(model, edit, "zero"):
            pruned = _largest(model, batches, later, forward, token_mask)
        for name in later:
            block, site = name.split(".")
            before, after = (_place(x[name], candidate.row) for x in (intact, pruned))
            rows.append((number, int(block), site, *before, *after))
    return pd.DataFrame(rows, columns=COLUMNS)


def persistence(path: pd.DataFrame, onset: int, site: str) -> tuple[int, float]:
    """Tell how far a channel stays on top of a site.

    Parameters
    ----------
    path
        Rows of one candidate.
    onset
        The candidate's own block.
    site
        Which site is looked at.

    Returns
    -------
    int
        Last block up to which the channel is the largest of all, without a gap from the onset on;
        -1 if it is not the largest at its onset.
    float
        Share of the later blocks in which it is the largest; NaN for a candidate of the last block.
    """
    own = path[path["site"] == site].set_index("block")["rank"].sort_index()
    on_top = own[own.index >= onset] == 1
    later = on_top[on_top.index > onset]
    gaps = np.flatnonzero(~on_top.to_numpy())
    last = on_top.index[-1] if not gaps.size else on_top.index[gaps[0]] - 1
    return (int(last) if last >= onset else -1), float(later.mean()) if len(later) else np.nan


@torch.no_grad()
def _largest(model, batches, points, forward, token_mask) -> dict[str, np.ndarray]:
    """Return the largest |x| of each channel of each point over real tokens."""
    found: dict[str, Tensor] = {}
    real: Tensor | None = None

    def receive(name: str, x: Tensor) -> None:
        own = real.to(x.device)
        size = torch.where(own[..., None], by_cell(x, own, name).float().abs(), 0.0).amax((0, 1))
        found[name] = torch.maximum(found[name], size) if name in found else size

    with evaluating(model), capture(points, receive):
        for batch in batches:
            real = token_mask(batch)
            forward(model, batch)
    if set(found) != set(points):
        missing = sorted(set(points) - set(found))
        raise RuntimeError(f"no batch was seen at {missing}: are the hooks hidden, or no batches?")
    return {name: size.double().cpu().numpy() for name, size in found.items()}


def _place(sizes: np.ndarray, channel: int) -> tuple[float, int]:
    return float(sizes[channel]), int((sizes > sizes[channel]).sum()) + 1
