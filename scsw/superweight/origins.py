"""What drives each spiking channel: a weight, a whole row, attention, a norm's γ or β, or neither.

A channel that the residual drives is no work of the down-projection. In a post-norm block the
residual is the output of the norm before, γ·x̂ + β, whose input is the block's input plus the
attention's output; so the spike can be followed to γ, β, the attention, or the norm before that. In
a pre-norm block it is the input of that norm, and can be followed to the attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call

from scsw.superweight.capture import capture
from scsw.superweight.evaluating import evaluating
from scsw.superweight.norms import NormsAround
from scsw.superweight.observe import Observation, by_cell, oriented_weight
from scsw.superweight.split_sums import split_sums

COLUMNS = (
    "block site row spike_ratio batch cell token share_weights share_bias share_residual "
    "top_column top_column_share family module parameter column share"
).split()
_MOST = 0.5  # a part that makes this share of a sum drives it


@dataclass(frozen=True)
class BlockParts:
    """The modules of a block that a spike is followed through.

    Attributes
    ----------
    down
        Name of the down-projection.
    norms
        The norms around it.
    attention_output
        Name of the attention's output projection; None if it is not to be followed there.
    """

    down: str
    norms: NormsAround
    attention_output: str | None = None


@torch.no_grad()
def spike_origins(
    model: nn.Module,
    batches: Iterable,
    blocks: list[BlockParts],
    seen: Observation,
    *,
    forward: Callable[[nn.Module, Any], Any],
    token_mask: Callable[[Any], Tensor],
    spike_ratio: float = 20.0,
    min_share: float = 0.1,
) -> pd.DataFrame:
    """Tell what drives each channel that spikes before a block's second norm.

    Parameters
    ----------
    model, batches, forward, token_mask, spike_ratio, min_share
        As for `find_candidates`.
    blocks
        The modules of each block.
    seen
        What a pass over the same batches saw (`observe`).

    Returns
    -------
    pandas.DataFrame
        One row per block, site (``mlp_out``, ``pre_norm2``) and channel ``row`` of at least
        `spike_ratio`, largest first. ``share_weights, share_bias, share_residual`` add up to 1:
        Σ|w·h|, |bias| and |residual| at the token of the maximum. ``family`` names what drives the
        channel: ``ffn_down`` (the weight at ``column``, with at least `min_share`), ``row`` (many
        columns together), ``bias``, ``norm_gamma``, ``norm_beta``, ``attn_out`` (the weight at
        ``column`` of the output projection, or its whole row where ``column`` is missing), or
        ``residual`` (the stream as it came into the block). ``module`` and ``parameter`` name the
        tensor, ``share`` says how much of the sum that the family is part of.
    """
    rows = [
        row
        for block, parts in enumerate(blocks)
        for row in _spiking(block, model.get_submodule(parts.down), seen, spike_ratio)
    ]
    for row in rows:
        row |= _within_the_block(row, blocks[row["block"]], min_share)
    _follow_residuals(model, batches, blocks, rows, forward, token_mask, min_share)
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = ["spike_ratio", "block", "site", "row"]
    return table.sort_values(order, ascending=[False, True, True, True], ignore_index=True)


def _spiking(block: int, layer: nn.Module, seen: Observation, spike_ratio: float) -> list[dict]:
    rows = []
    for sums in split_sums(block, layer, seen):
        for row in np.flatnonzero(sums.ratio >= spike_ratio):
            terms, total = np.abs(sums.terms[row]), sums.total[row]
            rows.append(
                {
                    "block": block,
                    "site": sums.site,
                    "row": int(row),
                    "spike_ratio": sums.ratio[row],
                    **sums.place(row),
                    "share_weights": terms.sum() / total,
                    "share_bias": abs(sums.bias[row]) / total,
                    "share_residual": abs(sums.residual[row]) / total,
                    "top_column": int(terms.argmax()),
                    "top_column_share": terms.max() / total,
                    "residual": sums.residual[row],
                }
            )
    return rows


def _within_the_block(row: dict, parts: BlockParts, min_share: float) -> dict:
    """Name the part of the sum that drives a channel."""
    own = {"module": parts.down, "parameter": "weight", "column": None}
    if row["share_residual"] >= _MOST:
        return own | {"family": "residual", "module": "", "share": row["share_residual"]}
    if row["share_bias"] >= _MOST:
        return own | {"family": "bias", "parameter": "bias", "share": row["share_bias"]}
    if row["top_column_share"] >= min_share:
        share = row["top_column_share"]
        return own | {"family": "ffn_down", "column": row["top_column"], "share": share}
    return own | {"family": "row", "share": row["share_weights"]}


def _follow_residuals(model, batches, blocks, rows, forward, token_mask, min_share) -> None:
    """Follow the spikes that a residual drives back through the norms before."""
    wanted: dict[int, list[dict]] = {}
    for row in rows:
        if row["family"] == "residual" and blocks[row["block"]].norms.before:
            wanted.setdefault(row["batch"], []).append(row)
    if not wanted:
        return
    for number, batch in enumerate(batches):
        if number in wanted:
            values = _captured(model, batch, blocks, forward, token_mask(batch))
            for row in wanted.pop(number):
                token = _Token(model, values, row["cell"], row["token"], row["row"])
                row |= _behind(token, row["residual"], blocks, row["block"], min_share)
    if wanted:
        raise ValueError(f"batches {sorted(wanted)} are wanted again: they can be walked only once")


def _captured(model, batch, blocks: list[BlockParts], forward, real: Tensor) -> dict[str, Tensor]:
    """Run one batch and return inputs and outputs of norms and attention, cell by cell."""
    names = {n for b in blocks for n in (b.norms.before, b.norms.after, b.attention_output)}
    points = {
        f"{name}:{side}": (model.get_submodule(name), side)
        for name in sorted(names - {None})
        for side in ("input", "output")
    }
    values: dict[str, Tensor] = {}

    def keep(name: str, x: Tensor) -> None:
        values[name] = x.clone()  # some models go on to add to this very tensor

    with evaluating(model), capture(points, keep):
        forward(model, batch)
    return {name: by_cell(x, real.to(x.device), name) for name, x in values.items()}


@dataclass(frozen=True)
class _Token:
    """One channel at one token."""

    model: nn.Module
    values: dict[str, Tensor]
    cell: int
    token: int
    channel: int

    @property
    def place(self) -> tuple[int, int]:
        return self.cell, self.token

    def vector(self, module: str, side: str) -> Tensor:
        return self.values[f"{module}:{side}"][self.place].double().cpu()

    def value(self, module: str, side: str) -> float:
        return self.vector(module, side)[self.channel].item()


def _behind(
    token: _Token, residual: float, blocks: list[BlockParts], block: int, min_share: float
) -> dict:
    """Name what made the residual, which is what the norm before was given or what it returned."""
    norm, attention = blocks[block].norms.before, blocks[block].attention_output
    if _is(token, norm, "output", residual):
        found = _in_norm(token, norm)
        if found:
            return found
    elif not _is(token, norm, "input", residual):
        return {}
    if attention is None:
        return {}
    output = token.value(attention, "output")
    stream = token.value(norm, "input") - output
    if abs(output) >= _MOST * (abs(output) + abs(stream)):
        return _in_attention(token, attention, abs(output) / (abs(output) + abs(stream)), min_share)
    last = blocks[block - 1].norms.after if block else None
    if last is not None and _is(token, last, "output", stream):
        return _in_norm(token, last)
    return {}


def _is(token: _Token, norm: str, side: str, value: float) -> bool:
    return abs(token.value(norm, side) - value) <= 1e-3 * abs(value)


def _in_norm(token: _Token, name: str) -> dict:
    """Name γ or β if one of them, and not what the norm was given, makes its output large."""
    norm, channel = token.model.get_submodule(name), token.channel
    if getattr(norm, "weight", None) is None:
        return {}
    gamma, beta, normalised = _norm_parts(norm, token.values[f"{name}:input"][token.place])
    scaled = gamma[channel] * normalised[channel]
    share = (beta[channel].abs() / (beta[channel].abs() + scaled.abs())).item()
    if share >= _MOST:
        return {"family": "norm_beta", "module": name, "parameter": "bias", "share": share}
    stretch = (gamma[channel].abs() / gamma.abs().median()).item()
    if stretch >= (normalised[channel].abs() / normalised.abs().median()).item():
        return {"family": "norm_gamma", "module": name, "parameter": "weight", "share": 1 - share}
    return {}


def _norm_parts(norm: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return γ as it is applied, β, and what they are applied to at one token; float64.

    γ is the module's weight plus a constant, 0 in most norms but 1 in Gemma's. The norm is run with
    a weight of 0 and of 1: the difference is the normalised input, and what is left with a weight
    of 0, but for β, is the constant times that.
    """
    weight, bias = norm.weight.detach(), getattr(norm, "bias", None)
    beta = torch.zeros_like(weight) if bias is None else bias.detach()
    zero, one = (
        functional_call(norm, {"weight": torch.full_like(weight, value)}, (x[None, None],))
        .flatten()
        .double()
        .cpu()
        for value in (0.0, 1.0)
    )
    gamma, beta, normalised = weight.double().cpu(), beta.double().cpu(), one - zero
    constant = normalised @ (zero - beta) / (normalised @ normalised)
    return gamma + constant.nan_to_num(), beta, normalised


def _in_attention(token: _Token, name: str, share: float, min_share: float) -> dict:
    """Name the weight of the attention's output that makes it large, or its row."""
    weight = oriented_weight(token.model.get_submodule(name))[token.channel].double().cpu()
    terms = (weight * token.vector(name, "input")).abs()
    top = terms.argmax().item()
    column = top if (terms[top] / terms.sum()).item() >= min_share else None
    found = {"family": "attn_out", "module": name, "parameter": "weight"}
    return found | {"column": column, "share": share}
