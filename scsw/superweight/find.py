"""The core of the search: weights of a down-projection that make an activation spike.

It knows nothing of scGPT: any module, any batches, any list of linear layers. The method follows
Yu et al. 2024 (arXiv:2411.07191) with two changes that a ReLU, post-norm model needs: spikes are
measured against the median of their site, and the weight behind a spike is found by the share of
the sum that it makes, not by matching the positions of input and output spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from scsw.superweight.ablate import ablate
from scsw.superweight.norms import norms_around
from scsw.superweight.observe import HIDDEN, Observation, linear, observe, oriented_weight
from scsw.superweight.split_sums import split_sums

COLUMNS = (
    "module block row column weight weight_z site spike_ratio hidden_ratio contribution "
    "residual_share mean_input found_by iteration batch cell token"
).split()


def find_candidates(
    model: nn.Module,
    batches: Iterable,
    down_projections: list[str],
    *,
    forward: Callable[[nn.Module, Any], Any],
    token_mask: Callable[[Any], Tensor],
    sums: list[str | None] | None = None,
    spike_ratio: float = 20.0,
    min_share: float = 0.1,
    max_iterations: int = 10,
    max_candidates: int = 20,
    first: Observation | None = None,
) -> pd.DataFrame:
    """Find the weights that make activations spike, best first.

    Each round records every output channel of every down-projection where its |value| is largest
    over real tokens, and where that of its sum with the residual is, and splits both sums into the
    terms ``weight[r, c] * h[c]``, bias and residual. The columns that carry at least `min_share`
    of the sum of absolute terms are candidates. In the next round they are set to zero, since one
    weight can mask another; the loop ends when no channel reaches `spike_ratio` medians of its site
    through such a weight. The first round also returns the best channels below that rule, so that
    the family is full and a null result can be tested.

    Parameters
    ----------
    model
        Any module; it is run in eval mode. Afterwards it is bit-identical, and in its own mode.
    batches
        Batches of cells, the same each time; an iterator that can be walked only once is kept in
        memory.
    down_projections
        Names of linear modules (``torch.nn.Linear`` or Hugging Face's ``Conv1D``), each of which a
        forward pass runs once; ``block`` is the position in this list.
    forward
        Runs the model on a batch.
    token_mask
        Returns True at real tokens, bool, shape (cells, tokens).
    sums
        For each block the name of the module whose input is residual + output, a norm; None for a
        block leaves its residual out. By default these norms are found from the order in which
        modules run.
    spike_ratio
        Stop rule: largest |x| over the site's median |x|.
    min_share, max_iterations, max_candidates
        See above; the rounds end after `max_iterations` at the latest.
    first
        What the first round sees, if `observe` was called already, with moments.

    Returns
    -------
    pandas.DataFrame
        ``module, block, row, column`` (output and input channel), ``weight, weight_z`` (its value,
        also in standard deviations of its tensor), ``site`` (``mlp_out`` or ``pre_norm2``),
        ``spike_ratio, hidden_ratio`` (of its row at the site, of its column at the input),
        ``contribution`` (signed: w·h / (|residual| + |bias| + Σ|w·h|)), ``residual_share``,
        ``mean_input`` (mean of h over real tokens, which `ablate` needs for ``mean``), ``found_by``
        (``spike`` or ``below_rule``), ``iteration``, and where the spike was seen: ``batch, cell,
        token``.

    Raises
    ------
    RuntimeError
        If a module was not seen to run once for every batch, as behind a fused path, so that spikes
        could be missed.
    ValueError
        If there are no batches or they come in another order each time, no token is real,
        activations are not finite, or a name is not that of a linear module with a weight of its
        own.
    """
    batches = _walkable(batches)
    down_projections = _names(down_projections)
    layers = [linear(model, name) for name in down_projections]
    if len(set(layers)) < len(layers):
        raise ValueError("down_projections names a module twice")
    walk = batches
    if sums is None:
        # The first round goes on in the same walk, so that it sees this batch too.
        walk = iter(batches)
        head = list(islice(walk, 1))
        sums, walk = sums_of(model, head, down_projections, forward), chain(head, walk)
    found: list[dict] = []
    removed: list[tuple] = []
    for iteration in range(1, max_iterations + 1):
        with ablate(model, removed, "zero"):
            seen = first
            if iteration > 1 or seen is None:
                seen = observe(
                    model,
                    walk if iteration == 1 else batches,
                    down_projections,
                    sums,
                    forward=forward,
                    token_mask=token_mask,
                    moments=iteration == 1,
                )
            if iteration == 1:
                n_cells = len(seen.places)
                means = [seen.sites[f"{b}.{HIDDEN}"].mean() for b in range(len(layers))]
            if len(seen.places) != n_cells:
                raise ValueError("the batches hold other cells each time: give a list of them")
            rows = [
                row | {"module": down_projections[block], "iteration": iteration}
                for block, layer in enumerate(layers)
                for row in _explain(block, layer, seen, min_share, iteration == 1)
            ]
        for row in rows:
            spike = is_spike(row, spike_ratio, min_share)
            row["found_by"] = "spike" if spike else "below_rule"
        spiking = [row for row in rows if row["found_by"] == "spike"]
        found += rows if iteration == 1 else spiking
        if not spiking:
            break
        removed += [(row["module"], row["row"], row["column"]) for row in spiking]
    table = _best_first(found, layers, max_candidates)
    inputs = zip(table["block"], table["column"], strict=True)
    return table.assign(mean_input=np.array([means[b][c] for b, c in inputs], float))


def is_spike(found: Any, spike_ratio: float, min_share: float) -> Any:
    """Tell which finds are true spikes: beyond the stop rule, and made by the weight itself.

    Parameters
    ----------
    found
        One row or a table with ``spike_ratio`` and ``contribution``.
    """
    return (found["spike_ratio"] >= spike_ratio) & (abs(found["contribution"]) >= min_share)


def sums_of(
    model: nn.Module, batches: Iterable, down_projections: list[str], forward: Callable
) -> list[str | None]:
    """Return for each down-projection the norm whose input is residual + output, or None."""
    for batch in batches:
        return [n.after for n in norms_around(model, batch, down_projections, forward)]
    raise ValueError("there are no batches to search")


def _names(down_projections: Iterable[str]) -> list[str]:
    if isinstance(down_projections, str):
        raise ValueError(f"down_projections is the name {down_projections!r}: give a list of names")
    names = list(down_projections)
    if not names:
        raise ValueError("down_projections names no module, so that nothing could be found")
    return names


def _walkable(batches: Iterable) -> Iterable:
    if isinstance(batches, Mapping | Tensor):
        raise ValueError(f"the batches are one {type(batches).__name__}: give a list of batches")
    if isinstance(getattr(batches, "sampler", None), RandomSampler):
        raise ValueError("the batches come in another order each time: give shuffle=False")
    return list(batches) if isinstance(batches, Iterator) else batches


def _explain(
    block: int, layer: nn.Module, seen: Observation, min_share: float, every: bool
) -> Iterator[dict]:
    """Yield the columns that make each channel's peaks."""
    hidden = seen.sites[f"{block}.{HIDDEN}"]
    hidden_ratio = hidden.max / (hidden.site_median() or np.nan)
    for sums in split_sums(block, layer, seen):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = sums.terms / sums.total[:, None]
        for row in np.flatnonzero((sums.total > 0) & (sums.size > 0)):
            own = np.abs(share[row])
            columns = np.flatnonzero(own >= min_share)
            if not columns.size and every:
                columns = own.argmax(keepdims=True)
            for column in columns[np.argsort(-own[columns], kind="stable")]:
                yield {
                    "block": block,
                    "row": int(row),
                    "column": int(column),
                    "site": sums.site,
                    "spike_ratio": sums.ratio[row],
                    "hidden_ratio": hidden_ratio[column],
                    "contribution": share[row, column],
                    "residual_share": abs(sums.residual[row]) / sums.total[row],
                    **sums.place(row),
                }


def _best_first(found: list[dict], layers: list[nn.Module], max_candidates: int) -> pd.DataFrame:
    table = pd.DataFrame(found, columns=COLUMNS)
    score = table["spike_ratio"] * table["contribution"].abs()
    table = table.assign(score=score, quiet=table["found_by"] != "spike")
    # A later round sees the model without the earlier finds; a weight counts where it came first.
    table = table.sort_values(
        ["quiet", "iteration", "score", "block", "row", "column"],
        ascending=[True, True, False, True, True, True],
    ).drop_duplicates(["block", "row", "column"])
    table = table.sort_values(
        ["quiet", "score", "block", "row", "column"], ascending=[True, False, True, True, True]
    ).head(max_candidates)
    return with_weights(table.drop(columns=["score", "quiet"]).reset_index(drop=True), layers)


def with_weights(table: pd.DataFrame, layers: list[nn.Module]) -> pd.DataFrame:
    """Fill in each weight's value and its z-score within its tensor."""
    weights = [oriented_weight(layer).double().cpu().numpy() for layer in layers]
    places = list(zip(table["block"], table["row"], table["column"], strict=True))
    values = np.array([weights[b][r, c] for b, r, c in places])
    centre = np.array([weights[b].mean() for b, _, _ in places])
    spread = np.array([weights[b].std() for b, _, _ in places])
    return table.assign(weight=values, weight_z=(values - centre) / spread)
