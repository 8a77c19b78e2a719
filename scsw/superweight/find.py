"""The core of the search: weights of a down-projection that make an activation spike.

It knows nothing of scGPT: any module, any batches, any list of linear layers. The method follows
Yu et al. 2024 (arXiv:2411.07191) with two changes that a ReLU, post-norm model needs: spikes are
measured against the median of their site, and the weight behind a spike is found by the share of
the sum that it makes, not by matching the positions of input and output spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scsw.superweight.capture import capture
from scsw.superweight.site_statistics import BINS, HIGHEST, LOWEST, histogram_quantile

COLUMNS = [
    "block",
    "row",
    "column",
    "weight",
    "weight_z",
    "spike_ratio",
    "hidden_ratio",
    "contribution",
    "residual_share",
    "iteration",
]


@dataclass
class _Peak:
    """What was seen at each output channel's largest |value| of one down-projection."""

    value: np.ndarray  # (rows,) largest |output|
    hidden: np.ndarray  # (rows, columns) input at that token
    residual: np.ndarray  # (rows,) input of the sum that is not this layer's, NaN if not asked for
    token: np.ndarray  # (rows, 3) batch, cell, token
    histogram: np.ndarray  # of |output|
    hidden_max: np.ndarray  # (columns,) largest |input|
    hidden_histogram: np.ndarray  # of positive |input|


def find_candidates(
    model: nn.Module,
    batches: Iterable,
    down_projections: list[str],
    *,
    forward: Callable[[nn.Module, object], object],
    token_mask: Callable[[object], Tensor],
    sums: list[str] | None = None,
    spike_ratio: float = 20.0,
    min_share: float = 0.1,
    max_iterations: int = 3,
    max_candidates: int = 20,
) -> pd.DataFrame:
    """Find the weights that make activations spike, best first.

    Each round records, for every output channel of every down-projection, its largest |value| over
    real tokens and splits it into the terms ``weight[r, c] * h[c]``. The columns that carry at
    least `min_share` of the sum of absolute terms are candidates. In the next round they are set to
    zero, since one weight can mask another; the loop ends when no channel reaches `spike_ratio`
    medians of its site. The first round also returns the best channels below that rule, so that
    the family is full and a null result can be tested.

    Parameters
    ----------
    model
        Any module in eval mode. It is bit-identical afterwards.
    batches
        Iterable of batches that can be walked several times.
    down_projections
        Names of linear modules; ``block`` is the position in this list.
    forward
        Runs the model on a batch.
    token_mask
        Returns True at real tokens, bool, shape (cells, tokens).
    sums
        For each block the name of the module whose input is residual + output (a post-norm), so
        that the residual's share can be told; None leaves it out.
    spike_ratio
        Stop rule: largest |output| over the site's median |output|.
    min_share, max_iterations, max_candidates
        See above.

    Returns
    -------
    pandas.DataFrame
        ``block, row, column, weight, weight_z, spike_ratio, hidden_ratio, contribution,
        residual_share, iteration, batch, cell, token``; the last three say where the spike was
        seen. ``contribution`` is signed: w·h / (|residual| + |bias| + Σ|w·h|).
    """
    layers = [model.get_submodule(name) for name in down_projections]
    norms = [model.get_submodule(name) for name in sums] if sums else None
    originals = [layer.weight.detach().clone() for layer in layers]
    found: list[dict] = []
    try:
        for iteration in range(1, max_iterations + 1):
            peaks = _observe(model, batches, layers, norms, forward, token_mask)
            rows = [
                row | {"iteration": iteration}
                for block, peak in enumerate(peaks)
                for row in _explain(block, layers[block], peak, min_share, iteration == 1)
            ]
            spiking = [row for row in rows if is_spike(row, spike_ratio, min_share)]
            found += rows if iteration == 1 else spiking
            if not spiking:
                break
            with torch.no_grad():
                for row in spiking:
                    layers[row["block"]].weight[_index(layers[row["block"]], row)] = 0.0
    finally:
        with torch.no_grad():
            for layer, original in zip(layers, originals, strict=True):
                layer.weight.copy_(original)
    return _best_first(found, spike_ratio, min_share, max_candidates)


def is_spike(found, spike_ratio: float, min_share: float):
    """Tell which finds are true spikes: beyond the stop rule, and made by the weight itself.

    Parameters
    ----------
    found
        One row or a table with ``spike_ratio`` and ``contribution``.
    """
    return (found["spike_ratio"] >= spike_ratio) & (abs(found["contribution"]) >= min_share)


def oriented_weight(layer: nn.Module) -> Tensor:
    """Return the weight as (output, input); Hugging Face's ``Conv1D`` stores the transpose."""
    weight = layer.weight.detach()
    return weight.T if type(layer).__name__ == "Conv1D" else weight


def _index(layer: nn.Module, row: dict) -> tuple[int, int]:
    place = row["row"], row["column"]
    return place[::-1] if type(layer).__name__ == "Conv1D" else place


@torch.no_grad()
def _observe(model, batches, layers, norms, forward, token_mask) -> list[_Peak]:
    """Pass over all batches once and keep the peak of every channel."""
    shapes = [oriented_weight(layer).shape for layer in layers]
    peaks = [
        _Peak(
            value=np.zeros(rows),
            hidden=np.zeros((rows, columns)),
            residual=np.full(rows, np.nan),
            token=np.zeros((rows, 3), dtype=np.int64),
            histogram=np.zeros(BINS + 2, dtype=np.int64),
            hidden_max=np.zeros(columns),
            hidden_histogram=np.zeros(BINS + 2, dtype=np.int64),
        )
        for rows, columns in shapes
    ]
    points = {}
    for block, layer in enumerate(layers):
        points[f"{block}.input"], points[f"{block}.output"] = (layer, "input"), (layer, "output")
        if norms:
            points[f"{block}.sum"] = (norms[block], "input")
    seen: dict[str, Tensor] = {}
    with capture(points, seen.__setitem__):
        n_batches = 0
        for number, batch in enumerate(batches):
            seen.clear()
            forward(model, batch)
            missing = sorted(set(points) - set(seen))
            if missing:
                raise RuntimeError(f"these hooks saw nothing, so spikes could be missed: {missing}")
            real = token_mask(batch)
            for block, peak in enumerate(peaks):
                _keep_peak(
                    peak,
                    number,
                    seen[f"{block}.input"],
                    seen[f"{block}.output"],
                    seen.get(f"{block}.sum"),
                    real,
                )
            n_batches += 1
    if n_batches == 0:
        raise ValueError("there are no batches to search")
    return peaks


def _keep_peak(
    peak: _Peak, number: int, hidden: Tensor, output: Tensor, total: Tensor | None, real: Tensor
) -> None:
    cells, tokens = torch.nonzero(real, as_tuple=True)
    x, h = output[real].float(), hidden[real].float()
    size = x.abs()
    peak.histogram += _histogram(size)
    peak.hidden_histogram += _histogram(h.abs()[h != 0])
    peak.hidden_max = np.maximum(peak.hidden_max, h.abs().max(0).values.double().cpu().numpy())
    best, where = size.max(0)
    best = best.double().cpu().numpy()
    new = np.flatnonzero(best > peak.value)
    at = where[torch.as_tensor(new, device=where.device)]
    peak.value[new] = best[new]
    peak.hidden[new] = h[at].double().cpu().numpy()
    if total is not None:
        rows = torch.as_tensor(new, device=at.device)
        peak.residual[new] = (total[real].float() - x)[at, rows].double().cpu().numpy()
    peak.token[new, 0] = number
    peak.token[new, 1], peak.token[new, 2] = cells[at].cpu().numpy(), tokens[at].cpu().numpy()


def _histogram(size: Tensor) -> np.ndarray:
    scaled = torch.log(size.clamp(LOWEST / 10, HIGHEST * 10) / LOWEST)
    index = (scaled * (BINS / np.log(HIGHEST / LOWEST))).floor().long() + 1
    return torch.bincount(index.clamp(0, BINS + 1).flatten(), minlength=BINS + 2).cpu().numpy()


def _explain(block: int, layer: nn.Module, peak: _Peak, min_share: float, every: bool):
    """Yield the columns that make each channel's peak."""
    weight = oriented_weight(layer).double().cpu().numpy()
    bias = (
        np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().double().cpu().numpy()
    )
    median = histogram_quantile(peak.histogram, 0.5) or np.nan
    hidden_median = histogram_quantile(peak.hidden_histogram, 0.5) or np.nan
    centre, spread = weight.mean(), weight.std()
    for row in range(len(weight)):
        terms = weight[row] * peak.hidden[row]
        residual = peak.residual[row]
        total = np.nansum([abs(residual), abs(bias[row]), np.abs(terms).sum()])
        if total == 0:
            continue
        order = np.argsort(-np.abs(terms), kind="stable")
        share = terms / total
        columns = [c for c in order if abs(share[c]) >= min_share]
        for column in columns or (order[:1] if every else []):
            yield {
                "block": block,
                "row": row,
                "column": int(column),
                "weight": weight[row, column],
                "weight_z": (weight[row, column] - centre) / spread,
                "spike_ratio": peak.value[row] / median,
                "hidden_ratio": peak.hidden_max[column] / hidden_median,
                "contribution": share[column],
                "residual_share": abs(residual) / total,
                "batch": int(peak.token[row, 0]),
                "cell": int(peak.token[row, 1]),
                "token": int(peak.token[row, 2]),
            }


def _best_first(
    found: list[dict], spike_ratio: float, min_share: float, max_candidates: int
) -> pd.DataFrame:
    table = pd.DataFrame(found, columns=[*COLUMNS, "batch", "cell", "token"])
    score = table["spike_ratio"] * table["contribution"].abs()
    table = table.assign(score=score, quiet=~is_spike(table, spike_ratio, min_share))
    table = table.sort_values(
        ["quiet", "score", "block", "row", "column"], ascending=[True, False, True, True, True]
    )
    # A later round sees the model without the earlier finds; its weight value is the original one.
    table = table.drop_duplicates(["block", "row", "column"]).head(max_candidates)
    return table.drop(columns=["score", "quiet"]).reset_index(drop=True)
