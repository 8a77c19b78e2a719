"""What attention heads and MLPs do at the tokens of genes, from one intact pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scsw.scgpt.encoder_layer import EncoderLayer
from scsw.scgpt.model import encoder_layers
from scsw.superweight.pruning.intact import Intact, IntactBlock


@dataclass(frozen=True)
class Spike:
    """The channel whose largest token is a block's spike token.

    Attributes
    ----------
    candidate_id, found_by
        The candidate; ``spike`` or, where no channel reaches the rule, ``below_rule``.
    block, row, site
        Its block, output channel, and where the search saw it: ``mlp_out`` or ``pre_norm2``.
    """

    candidate_id: str
    found_by: str
    block: int
    row: int
    site: str


def component_names(model: nn.Module) -> list[tuple[int, str]]:
    """Return ``(block, component)`` in order: the heads of a block, then its MLP."""
    return [
        (block, name)
        for block, layer in enumerate(encoder_layers(model))
        for name in [*[f"head{i}" for i in range(layer.self_attn.num_heads)], "mlp"]
    ]


def spikes_seen(candidates: pd.DataFrame, n_blocks: int) -> list[Spike | None]:
    """Return for each block the best candidate whose spike is in the block's input.

    That is the first, spikes before those below the rule and then by rank, of the candidates of
    *earlier* blocks that the search saw at a channel; None where there is none.
    """
    seen = candidates[candidates["found_by"].isin(["spike", "below_rule"])]
    order = seen.assign(below=seen["found_by"].ne("spike")).sort_values(["below", "rank"])
    found: list[Spike | None] = []
    for block in range(n_blocks):
        earlier = order[order["block"].lt(block)].head(1)
        rows = earlier[["candidate_id", "found_by", "block", "row", "site"]].to_dict("records")
        found.append(Spike(**rows[0]) if rows else None)
    return found


@torch.no_grad()
def cls_attention(block: IntactBlock, intact: Intact) -> Tensor:
    """Return the attention of `<cls>` to every token of its cell, shape (heads, tokens)."""
    queries, keys = block.qkv[intact.first, 0], block.qkv[:, 1]
    logits = (queries[intact.cell_of] * keys).sum(-1) / math.sqrt(keys.shape[-1])
    return torch.cat([own.softmax(0) for own in logits.split(intact.lengths)]).T


@torch.no_grad()
def contributions(layer: EncoderLayer, block: IntactBlock, attention: Tensor) -> Tensor:
    """Return the length of what tokens hand on by component, shape (heads + 1, tokens).

    Of a head ``‖α·W_O·v‖``, with α the attention of `<cls>` to the token: what the token adds to
    `<cls>` (Kobayashi et al. 2020, "Attention is not only a weight"). Of the MLP the norm of its
    output at the token. The bias of out_proj belongs to no head and is left out.
    """
    values = block.qkv[:, 2] + (block.heads.view_as(block.centred_heads) - block.centred_heads)
    handed_on = torch.einsum("thk,hjk->htj", values, output_factors(layer))
    of_heads = attention * handed_on.norm(dim=-1)
    return torch.cat([of_heads, layer.linear2(block.hidden).norm(dim=-1)[None]])


def output_factors(layer: EncoderLayer) -> Tensor:
    """Triangular factors of the heads' parts of out_proj, shape (heads, size, size).

    ``‖W_O·v‖ = ‖R·v‖`` with ``W_O = QR``, in far fewer products.
    """
    heads = layer.self_attn.num_heads
    parts = layer.self_attn.out_proj.weight.unflatten(1, (heads, -1)).transpose(0, 1)
    return torch.linalg.qr(parts, mode="r").R


@torch.no_grad()
def over_cell_mean(values: Tensor, intact: Intact) -> Tensor:
    """Divide by the mean over the gene tokens of the cell; 0 where that is 0.

    Parameters
    ----------
    values
        Shape (components, tokens).
    """
    parts = []
    for own in values.split(intact.lengths, 1):
        mean = own[:, 1:].mean(1, keepdim=True)
        parts.append(torch.where(mean > 0, own / mean.clamp(min=1e-30), 0.0))
    return torch.cat(parts, 1)


@torch.no_grad()
def spike_tokens(model: nn.Module, intact: Intact, spike: Spike) -> Tensor:
    """Return where each cell's |channel| is largest, its spike token; int64, shape (cells,)."""
    layer, block = encoder_layers(model)[spike.block], intact.blocks[spike.block]
    if spike.site == "mlp_out":
        channel = block.hidden @ layer.linear2.weight[spike.row] + layer.linear2.bias[spike.row]
    else:
        channel = block.norm2.input(spike.row)
    tops = [own.abs().argmax() for own in channel.split(intact.lengths)]
    return torch.stack(tops) + intact.first


@torch.no_grad()
def attention_to(tokens: Tensor, block: IntactBlock, intact: Intact) -> Tensor:
    """Return the attention of every token to one token of its cell, shape (heads, tokens).

    Cell after cell, so that no more than (heads, tokens, tokens) of one cell is in memory: 46 MB
    for 8 heads and 1,200 tokens, whatever the batch.

    Parameters
    ----------
    tokens
        Position of that token among all, int64, shape (cells,).
    """
    queries, keys, _ = (x.transpose(0, 1) for x in block.qkv.unbind(1))
    queries = queries / math.sqrt(queries.shape[-1])
    found, start = [], 0
    for token, n in zip(tokens.tolist(), intact.lengths, strict=True):
        q, k = queries[:, start : start + n], keys[:, start : start + n]
        logits = q @ k.transpose(1, 2)
        found.append((logits[..., token - start] - logits.logsumexp(-1)).exp())
        start += n
    return torch.cat(found, 1)


def tokens_per_cell(intact: Intact) -> Tensor:
    """Return the number of tokens of each token's cell, float, shape (tokens,)."""
    return intact.offsets.diff()[intact.cell_of].float()


def to_numpy(x: Tensor) -> np.ndarray:
    """Return a tensor as float64 on the CPU."""
    return x.double().cpu().numpy()
