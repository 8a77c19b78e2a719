"""How a change of a layer's input changes its output, without the loss of a subtraction.

An ablated weight moves most numbers of a network by less than their last digits. Subtracting the
intact output from the changed one would leave rounding errors alone; here the change itself is what
is passed on, so that it keeps its relative precision however small it is. The formulas are exact,
no first-order expansions: they hold for changes of any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scsw.scgpt.encoder_layer import at_least_float

_SMALL_LOGITS = 0.1  # below, softmax weights are changed by expm1 as they are
_ELEMENTS = 2**19  # of the attention weights that are looked at together on CPU


@dataclass
class IntactNorm:
    """What a layer norm did to each token of the intact model.

    Attributes
    ----------
    unit
        Its input less the mean, over the standard deviation; shape (tokens, channels).
    inverse
        1 over the standard deviation (with the norm's eps), float32 or wider, shape (tokens, 1).
    mean
        Mean over the channels, shape (tokens, 1).
    gamma, beta
        The norm's weight and bias, shape (channels,).
    """

    unit: Tensor
    inverse: Tensor
    mean: Tensor
    gamma: Tensor
    beta: Tensor

    @classmethod
    def of(cls, x: Tensor, norm: nn.LayerNorm) -> IntactNorm:
        """Norm an input, shape (tokens, channels)."""
        mean = x.mean(-1, keepdim=True)
        centred = x - mean
        inverse = (centred.square().mean(-1, keepdim=True) + norm.eps).rsqrt()
        return cls(centred * inverse, inverse, mean, norm.weight, norm.bias)

    def at(self, tokens: Tensor | slice) -> IntactNorm:
        """Return the same of some tokens."""
        if isinstance(tokens, slice) and tokens == slice(None):
            return self
        parts = self.unit[tokens], self.inverse[tokens], self.mean[tokens]
        return IntactNorm(*parts, self.gamma, self.beta)

    def output(self) -> Tensor:
        """Return what the norm hands on."""
        return self.unit * self.gamma + self.beta

    def input(self, channel: int) -> Tensor:
        """Return one channel of what was normed, shape (tokens,)."""
        return at_least_float(self.unit[:, channel]) / self.inverse[:, 0] + self.mean[:, 0]


def linear_difference(layer: nn.Linear, change: Tensor, *, onto: Tensor | None = None) -> Tensor:
    """Return the change of a linear layer's output: the bias falls out.

    Parameters
    ----------
    change
        Shape (edits, tokens, channels).
    onto
        What it is added to, in place, such as the change of the stream around the layer;
        contiguous.
    """
    if onto is None:
        return nn.functional.linear(change, layer.weight)
    onto.view(-1, onto.shape[-1]).addmm_(change.flatten(0, 1), layer.weight.t())
    return onto


def norm_difference(intact: IntactNorm, change: Tensor) -> Tensor:
    """Change of a layer norm's output, from that of its input.

    With s the input, û its unit form, σ its standard deviation and u = Δσ²/σ², the output changes
    by γ·[û·(1/√(1+u) − 1) + (Δs − mean Δs)/(σ·√(1+u))].

    Parameters
    ----------
    intact
        The norm's intact pass over the tokens.
    change
        Δs, shape (edits, tokens, channels).
    """
    wide = at_least_float(change)
    centred = wide - wide.mean(-1, keepdim=True)
    inverse, unit = intact.inverse, at_least_float(intact.unit)
    relative = 2 * inverse * (unit * centred).mean(-1, keepdim=True)
    relative = relative + inverse.square() * centred.square().mean(-1, keepdim=True)
    left = 1 + relative
    if (relative < -0.5).any():  # nearly all of the variance goes: 1 + u is what rounding leaves
        whole = (unit / inverse + centred).square().mean(-1, keepdim=True)
        left = torch.where(relative < -0.5, whole * inverse.square(), left)
    root = left.sqrt()
    shrunk = -relative / (root * (1 + root))
    centred = centred.mul_(inverse / root).addcmul_(unit, shrunk)  # in place: it is ours
    return centred.mul_(intact.gamma).to(change.dtype)


def relu_difference(hidden: Tensor, below: Tensor, change: Tensor) -> Tensor:
    """Return the change of relu(a), from max(a, 0), min(a, 0) and Δa."""
    return torch.maximum(change + below, -hidden)


def attention_difference(qkv: Tensor, out: Tensor, change: Tensor, lengths: list[int]) -> Tensor:
    """Change of the attention of every token over the tokens of its own cell.

    With p the intact weights and Δs the change of the scores, p' = p·exp(Δs)/(1 + δ) with
    δ = Σ p·(exp(Δs) − 1), so that Δo = [Σ p(exp(Δs) − 1)·v + Σ p·exp(Δs)·Δv − δ·o] / (1 + δ).
    A number that is the same for all keys of a query may be taken from Δs, which keeps exp within
    bounds.

    Parameters
    ----------
    qkv
        Intact queries, keys and values, shape (tokens, 3, heads, size). A constant that is taken
        from all keys of a cell changes nothing, and one taken from all its values is to be taken
        from `out` too; both make for less rounding.
    out
        Intact attended values, shape (tokens, heads, size).
    change
        Δqkv, shape (edits, tokens, 3, heads, size).
    lengths
        Tokens of each cell.

    Returns
    -------
    torch.Tensor
        Δo, shape (edits, tokens, heads, size).
    """
    cells = zip(qkv.split(lengths), out.split(lengths), change.split(lengths, 1), strict=True)
    return torch.cat([_attention_of_cell(*cell) for cell in cells], 1)


def first_attention_difference(
    qkv: Tensor, out: Tensor, change: Tensor, lengths: list[int]
) -> Tensor:
    """As `attention_difference`, for the first token of each cell; shape (edits, cells, …)."""
    cells = zip(qkv.split(lengths), out.split(lengths), change.split(lengths, 1), strict=True)
    return torch.cat([_attention_of_cell(*cell, queries=1) for cell in cells], 1)


def _attention_of_cell(
    qkv: Tensor, out: Tensor, change: Tensor, queries: int | None = None
) -> Tensor:
    scale = 1 / math.sqrt(qkv.shape[-1])
    q, k, v = (x.transpose(0, 1) for x in qkv.unbind(1))  # (heads, tokens, size)
    dq, dk, dv = (x.transpose(1, 2) for x in change.unbind(2))  # (edits, heads, tokens, size)
    dk = dk - dk.mean(2, keepdim=True)  # what all keys have in common changes no weight
    q, dq, out = q[:, :queries] * scale, dq[..., :queries, :] * scale, out.transpose(0, 1)
    log_p = torch.log_softmax(q @ k.transpose(1, 2), -1)
    edits, heads, rows, _ = dq.shape
    row_step = max(1, min(rows, _step(log_p) // (heads * log_p.shape[2])))
    edit_step = max(1, _step(log_p) // (heads * row_step * log_p.shape[2]))
    found = torch.empty_like(dq)
    for e in range(0, edits, edit_step):
        own = slice(e, e + edit_step)
        for r in range(0, rows, row_step):
            at = slice(r, r + row_step)
            found[own, :, at] = _attended(
                (q[:, at], k, v, out[:, at], log_p[:, at]), (dq[own, :, at], dk[own], dv[own])
            )
    return found.transpose(1, 2)


def _attended(intact: tuple[Tensor, ...], change: tuple[Tensor, ...]) -> Tensor:
    q, k, v, out, log_p = intact
    dq, dk, dv = change
    scores = dq @ k.transpose(1, 2)
    _add_product(scores, q + dq, dk.transpose(2, 3))
    p, (lowest, highest) = log_p.exp(), scores.aminmax()
    if lowest > -_SMALL_LOGITS and highest < _SMALL_LOGITS:
        grown = torch.expm1_(scores).mul_(p)
    else:
        grown = _grown_much(log_p, p, scores)
    total = grown.sum(-1, keepdim=True)
    found = grown @ v - total * out
    _add_product(found, grown.add_(p), dv)
    return found.div_(1 + total)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b in place; the first two axes are edits and heads."""
    total.flatten(0, 1).baddbmm_(a.flatten(0, 1), b.flatten(0, 1))


def _grown_much(log_p: Tensor, p: Tensor, scores: Tensor) -> Tensor:
    """Return p·(exp(Δs) − 1), with what all keys of a query have in common taken from Δs.

    That is the change of the weights themselves where a query's scores change much.
    """
    lowest, highest = scores.aminmax(dim=-1, keepdim=True)
    small = (lowest > -_SMALL_LOGITS) & (highest < _SMALL_LOGITS)
    changed = torch.softmax(log_p + scores, -1).sub_(p)
    return torch.where(small, torch.expm1_(scores.clamp_(max=1)).mul_(p), changed)


def _step(x: Tensor) -> int:
    return _ELEMENTS if x.device.type == "cpu" else 256 * _ELEMENTS
