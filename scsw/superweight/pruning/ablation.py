"""Exact ablation of weights, without running what comes before them again.

An edit of block l changes nothing before that block. So one intact pass is kept, and from the edit
on only the *change* of every activation is computed, through the exact formulas of
`scsw.superweight.pruning.difference`: its relative precision does not hang on how small it is, and
an edit that changes nothing gives exactly 0. In the last block the classifier reads `<cls>` alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.model import encoder_layers
from scsw.superweight.pruning.difference import (
    IntactNorm,
    attention_difference,
    first_attention_difference,
    linear_difference,
    norm_difference,
    relu_difference,
)
from scsw.superweight.pruning.edits import Edit
from scsw.superweight.pruning.intact import Intact, IntactBlock

LARGE = 0.1  # from this change of a logit on bf16 is not trusted: attention turns to other tokens
_FEW = 8  # weights of a set that are looked at one by one


@dataclass
class Ablated:
    """What a group of edits changes.

    Attributes
    ----------
    cells
        Change of the cell embeddings, float64, shape (edits, cells, d_model).
    tokens
        Change of the last block's output at the tokens asked for, float64, shape (edits, tokens,
        d_model); None if none were.
    """

    cells: Tensor
    tokens: Tensor | None


@torch.no_grad()
def ablated(
    layers: Sequence[nn.Module],
    intact: Intact,
    group: list[Edit],
    *,
    at: Tensor | None = None,
    shuffled: Tensor | None = None,
) -> Ablated:
    """Compute what the edits of one group change.

    Parameters
    ----------
    layers
        Encoder layers of a scGPT model in eval mode, or `half_layers`; they are not changed.
    intact
        The model's pass over the cells; in half precision for the layers that are.
    group
        Edits that start at one place, see `groups_of_edits`.
    at
        Tokens of which the last block's output is wanted, int64.
    shuffled
        For the mode ``shuffled``: another token of the same cell for every token, int64.
    """
    last = len(layers) - 1
    change = None
    for number in range(group[0].start, last + 1):
        only_first = number == last and at is None
        change = _block(
            _Block(layers[number], intact.blocks[number], number, group, shuffled),
            change,
            intact,
            only_first,
        )
    change = change.double()[: len(group)]
    if at is None:
        return Ablated(change, None)
    return Ablated(change[:, intact.first], change[:, at])


@torch.no_grad()
def carried(
    layers: Sequence[nn.Module],
    intact: Intact,
    start: int,
    *,
    attended: Tensor | None = None,
    output: Tensor | None = None,
) -> Tensor:
    """Carry changes of the attention's or the MLP's output of one block on to the cells.

    Parameters
    ----------
    layers, intact
        As for `ablated`.
    start
        The block that is changed, from 0.
    attended, output
        Change of the output of out_proj or of linear2, shape (edits, tokens, d_model), float32;
        one of the two is given.

    Returns
    -------
    torch.Tensor
        Change of the cell embeddings, float64, shape (edits, cells, d_model).
    """
    block, layer, last = intact.blocks[start], layers[start], len(layers) - 1
    rows = intact.first if start == last else slice(None)
    norm, relu = _pointwise(block)
    given = output if attended is None else attended
    n = len(given)
    total = given[:, rows].to(block.hidden.dtype)
    if block.lse is not None:
        total = _even(total)
    if attended is not None:
        change = norm(block.norm1.at(rows), total)
        before = linear_difference(layer.linear1, change)
        hidden = relu(block.hidden[rows], block.below[rows], before)
        total = linear_difference(layer.linear2, hidden, onto=change)
    change = norm(block.norm2.at(rows), total)
    for number in range(start + 1, last + 1):
        here = _Block(layers[number], intact.blocks[number], number, [], None)
        change = _block(here, change, intact, number == last)
    return change.double()[:n]


@dataclass
class _Block:
    """One block, and what the edits do in it."""

    layer: nn.Module
    intact: IntactBlock
    number: int
    group: list[Edit]
    shuffled: Tensor | None

    def of(self, *families: str) -> list[tuple[int, Edit]]:
        """Return the edits of some families that name this block, with their places."""
        return [
            (place, edit)
            for place, edit in enumerate(self.group)
            if edit.block == self.number and edit.family in families
        ]

    def zeros(self, width: int) -> Tensor:
        hidden = self.intact.hidden
        return _even(hidden.new_zeros(len(self.group), len(hidden), width))


def _block(here: _Block, change: Tensor | None, intact: Intact, only_first: bool) -> Tensor:
    """Return the change of a block's output, from that of its input.

    Parameters
    ----------
    change
        Shape (edits, tokens, d_model); None in the block where the edits start.
    only_first
        Whether the output is wanted of `<cls>` alone.
    """
    block, layer = here.intact, here.layer
    width = layer.linear1.in_features
    norm, relu = _pointwise(block)
    rows = intact.first if only_first else slice(None)
    if change is not None:
        heads = _attention(here, change, intact, only_first)
        total = linear_difference(layer.self_attn.out_proj, heads, onto=change[:, rows])
        change = norm(block.norm1.at(rows), total)
    elif any(edit.before_mlp for edit in here.group):
        total = here.zeros(width)[:, rows]
        weight = layer.self_attn.out_proj.weight
        for place, edit in here.of("attn_out"):
            values = (edit.scale - 1) * block.heads[rows, edit.column] + edit.offset
            total[place, :, edit.row] += weight[edit.row, edit.column] * values
        change = norm(block.norm1.at(rows), total)
        _add_norm(change, here.of("norm1_gamma", "norm1_beta"), block.norm1, rows)
    if change is None:
        hidden, output = None, here.zeros(width)[:, rows]
    else:
        before = linear_difference(layer.linear1, change)
        hidden = relu(block.hidden[rows], block.below[rows], before)
        output = linear_difference(layer.linear2, hidden, onto=change)
    _add_weights(output, here, hidden, rows)
    change = norm(block.norm2.at(rows), output)
    _add_norm(change, here.of("norm2_gamma", "norm2_beta"), block.norm2, rows)
    return change


def _attention(here: _Block, change: Tensor, intact: Intact, only_first: bool) -> Tensor:
    """Return the change of the attended values, (edits, tokens or cells, d_model)."""
    block = here.intact
    qkv = F.linear(change, here.layer.self_attn.in_proj_weight)
    qkv = qkv.view(*qkv.shape[:2], *block.qkv.shape[1:])
    if block.lse is None:
        attend = first_attention_difference if only_first else attention_difference
        return attend(block.qkv, block.centred_heads, qkv, intact.lengths).flatten(2)
    from scsw.scgpt.kernels.attention_change import attention_change  # needs Triton

    longest = 1 if only_first else max(intact.lengths)
    kept = block.qkv, block.centred_heads, block.lse
    heads = attention_change(*kept, qkv, intact.offsets, longest).flatten(2)
    return heads[:, intact.first] if only_first else heads


def _add_weights(output: Tensor, here: _Block, hidden: Tensor | None, rows: Tensor | slice) -> None:
    """Add what the edits do to linear2, in place.

    Parameters
    ----------
    output
        Change of linear2's output, shape (edits, rows, d_model).
    hidden
        Change of the hidden units, shape (edits, rows, d_hid); None for none.
    """
    weight, intact = here.layer.linear2.weight, here.intact.hidden[rows]
    for place, edit in enumerate(here.group):
        own = edit.block == here.number
        if not own and all(block != here.number for block, _, _ in edit.others):
            continue
        h = intact if hidden is None else intact + hidden[place]
        if own and edit.family == "row":
            output[place, :, edit.row] += (edit.scale - 1) * (h @ weight[edit.row])
        elif own and edit.family == "column":
            output[place] += (edit.scale - 1) * h[:, edit.column, None] * weight[:, edit.column]
        elif own and edit.family == "ffn_down":
            _add_scalar(output[place], here, edit, h, rows)
        others = [(row, column) for block, row, column in edit.others if block == here.number]
        if len(others) <= _FEW:
            for row, column in others:
                output[place, :, row] += weight[row, column] * (edit.scale - 1) * h[:, column]
        else:
            those = tuple(torch.tensor(others, device=weight.device).T)
            part = torch.zeros_like(weight).index_put(those, weight[those])
            output[place] += (edit.scale - 1) * F.linear(h, part)


def _add_scalar(
    output: Tensor, here: _Block, edit: Edit, hidden: Tensor, rows: Tensor | slice
) -> None:
    """Add what an edit does to one weight of linear2, in place; shapes (rows, channels)."""
    h, weight = hidden[:, edit.column], here.layer.linear2.weight[edit.row, edit.column]
    if edit.mode == "shuffled":
        there = here.intact.hidden[here.shuffled, edit.column][rows]
        output[:, edit.row] += weight * (there - h)
        return
    change = weight * ((edit.scale - 1) * h + edit.offset)
    if edit.mode == "restored":
        spikes = here.intact.norm2.input(edit.row)[rows].abs() >= edit.threshold
        change = change.masked_fill(spikes, 0.0)
    output[:, edit.row if edit.channel is None else edit.channel] += change


def _add_norm(
    change: Tensor, edits: list[tuple[int, Edit]], norm: IntactNorm, rows: Tensor | slice
) -> None:
    """Add what edits of γ and β do to a norm's output, in place; the input is the intact one."""
    for place, edit in edits:
        channel = edit.row
        by = norm.beta[channel]
        if edit.family.endswith("gamma"):
            by = norm.gamma[channel] * norm.unit[rows, channel]
        change[place, :, channel] += (edit.scale - 1) * by


def half_layers(model: nn.Module) -> list[nn.Module]:
    """Return the encoder layers in bf16, for the GPU kernels."""
    return [copy.deepcopy(layer).bfloat16() for layer in encoder_layers(model)]


class Readout:
    """The model's decoders in float64, so that a difference of their outputs has digits left.

    Parameters
    ----------
    model
        scGPT model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._types = copy.deepcopy(model.cls_decoder).double().eval()
        self._expression = copy.deepcopy(model.decoder).double().eval()

    @torch.no_grad()
    def types(self, cells: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return cell-type logits, (cells, types), and their change, (edits, cells, types)."""
        cells = cells.double()
        intact = self._types(cells)
        return intact, _unless_same(self._types(cells + change) - intact, change)

    @torch.no_grad()
    def expression(
        self, tokens: Tensor, change: Tensor, batch_embs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return decoded expression (GEP), shape (tokens,), and its change, (edits, tokens).

        A model with batch labels wants their embeddings, shape (tokens, d_model).
        """
        tokens = tokens.double()
        intact = self._decode(tokens, batch_embs)
        changed = self._decode(tokens + change, batch_embs)
        return intact, _unless_same((changed - intact)[..., None], change)[..., 0]

    def expression_derivative(self, tokens: Tensor, batch_embs: Tensor | None = None) -> Tensor:
        """Return the derivative of decoded expression (GEP) by its token, (tokens, d_model)."""
        with torch.enable_grad():
            tokens = tokens.detach().double().requires_grad_()
            decoded = self._decode(tokens, batch_embs).sum()  # each token is decoded by itself
            return torch.autograd.grad(decoded, tokens)[0]

    def _decode(self, tokens: Tensor, batch_embs: Tensor | None) -> Tensor:
        if batch_embs is not None:
            batch_embs = batch_embs.double().expand(*tokens.shape[:-1], -1)
            tokens = torch.cat([tokens, batch_embs], -1)
        return self._expression(tokens)["pred"]


def _unless_same(difference: Tensor, change: Tensor) -> Tensor:
    """Return 0 where the input did not change: products of other shapes end in other digits."""
    return torch.where(change.any(-1, keepdim=True), difference, 0.0)


def _even(change: Tensor) -> Tensor:
    """Add an edit that does nothing to an odd number: the GPU kernel takes two at a time."""
    return F.pad(change, (0, 0, 0, 0, 0, len(change) % 2))


def _pointwise(block: IntactBlock) -> tuple[Callable, Callable]:
    """Return `norm_difference` and `relu_difference`, or the GPU kernels that stand for them."""
    if block.lse is None:
        return norm_difference, relu_difference
    from scsw.scgpt.kernels.pointwise_change import norm_change, relu_change  # needs Triton

    def norm(intact: IntactNorm, change: Tensor) -> Tensor:
        return norm_change(change, intact.unit, intact.inverse, intact.gamma)

    def relu(hidden: Tensor, below: Tensor, change: Tensor) -> Tensor:
        return relu_change(change, hidden, below)

    return norm, relu
