"""Exact ablation of single weights, without running what comes before them again.

Setting ``linear2.weight[r, c]`` of block l to zero changes only channel r of that block's output,
by ``-w * h[c]`` at every token. So the sum before norm2 is kept from one intact pass, each edit
adds its change to that sum, and only the later blocks are run, many edits at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.superweight.capture import capture, encoder_points

# The last digits of a matrix product depend on its shape, so every call has the same number of
# edits: 15, and one that changes nothing and is the intact reference of the other 15.
GROUP = 16


@dataclass(frozen=True)
class Edit:
    """One weight and what becomes of its contribution w·h: it turns into w·(scale·h + offset).

    Zeroing is ``scale=0, offset=0``; replacement by the mean is ``scale=0, offset=mean of h``.
    """

    name: str
    weight_set: str
    mode: str
    block: int
    row: int
    column: int
    scale: float = 0.0
    offset: float = 0.0


@dataclass
class Prefix:
    """What one intact pass leaves: by block, the hidden units and the sum before norm2."""

    padding: Tensor
    hidden: list[Tensor]
    pre_norm2: list[Tensor]


def groups_of_edits(edits: list[Edit]) -> list[list[Edit]]:
    """Split edits into groups of one block, at most ``GROUP - 1`` each, in a fixed order."""
    ordered = sorted(edits, key=lambda e: (e.block, e.weight_set, e.name, e.mode, e.scale))
    groups: list[list[Edit]] = []
    for edit in ordered:
        if not groups or groups[-1][0].block != edit.block or len(groups[-1]) == GROUP - 1:
            groups.append([])
        groups[-1].append(edit)
    return groups


@torch.no_grad()
def prefix(model: nn.Module, batch: TokenBatch) -> Prefix:
    """Run the intact model on a batch and keep what the ablations start from."""
    layers = encoder_layers(model)
    kept: dict[str, Tensor] = {}
    with capture(encoder_points(layers, ["mlp_hidden", "pre_norm2"]), kept.__setitem__):
        model._encode(batch.genes, batch.values, batch.padding)
    return Prefix(
        padding=batch.padding,
        hidden=[kept[f"{block}.mlp_hidden"] for block in range(len(layers))],
        pre_norm2=[kept[f"{block}.pre_norm2"] for block in range(len(layers))],
    )


@torch.no_grad()
def logits(model: nn.Module, start: Prefix, group: list[Edit]) -> Tensor:
    """Cell-type logits under each edit, shape (GROUP, cells, types).

    The edits come first, then rows of the intact model; the last row is always intact.
    """
    return logits_at_scales(model, start, group)


def logits_at_scales(
    model: nn.Module, start: Prefix, group: list[Edit], scales: Tensor | None = None
) -> Tensor:
    """As `logits`, with gradients on where the caller has them on.

    Parameters
    ----------
    scales
        Takes the place of the edits' own scales, shape (edits, cells); it may require grad.
    """
    layers, block = encoder_layers(model), group[0].block
    last = len(layers) - 1
    if block == last:
        x = layers[block].norm2(_edited_sums(model, start, group, scales, first_token=True))
    else:
        x = layers[block].norm2(_edited_sums(model, start, group, scales))
        padding = start.padding.repeat(GROUP, 1)
        for layer in layers[block + 1 : last]:
            x = layer(x, src_key_padding_mask=padding)
        x = layers[last].forward_cls(x, padding)
    return model.cls_decoder(x[:, 0]).unflatten(0, (GROUP, -1))


@torch.no_grad()
def expression(model: nn.Module, start: Prefix, group: list[Edit]) -> Tensor:
    """Reconstructed expression (GEP) under each edit, shape (GROUP, cells, tokens)."""
    layers, block = encoder_layers(model), group[0].block
    x = layers[block].norm2(_edited_sums(model, start, group))
    padding = start.padding.repeat(GROUP, 1)
    for layer in layers[block + 1 :]:
        x = layer(x, src_key_padding_mask=padding)
    return model.decoder(x)["pred"].unflatten(0, (GROUP, -1))


def shard_of(groups: list[list[Edit]], shard: int, n_shards: int) -> Iterator[list[Edit]]:
    """Yield the groups of one shard; whole groups, so that shards cannot change a digit."""
    return (group for index, group in enumerate(groups) if index % n_shards == shard)


def _edited_sums(
    model: nn.Module,
    start: Prefix,
    group: list[Edit],
    scales: Tensor | None = None,
    *,
    first_token: bool = False,
) -> Tensor:
    """Return the edited sums before norm2, shape (GROUP · cells, tokens, d_model)."""
    block = group[0].block
    tokens = slice(0, 1) if first_token else slice(None)
    base, hidden = start.pre_norm2[block][:, tokens], start.hidden[block][:, tokens]
    weight = encoder_layers(model)[block].linear2.weight
    n = len(group)
    rows = torch.tensor([edit.row for edit in group], device=base.device)
    columns = torch.tensor([edit.column for edit in group], device=base.device)
    if scales is None:
        scales = base.new_tensor([edit.scale for edit in group])[:, None]
    scale = scales[..., None]
    offset = base.new_tensor([edit.offset for edit in group])[:, None, None]
    h = hidden[..., columns].movedim(-1, 0)
    change = weight[rows, columns][:, None, None] * ((scale - 1) * h + offset)
    sums = base.expand(GROUP, *base.shape).clone()
    sums[torch.arange(n, device=base.device), :, :, rows] += change
    return sums.flatten(0, 1)
