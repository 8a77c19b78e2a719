"""Attention heads and MLP blocks: the genes they attend to, what the model loses without them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from anndata import AnnData
from torch import Tensor, nn

from scsw.biology.matched_genes import neighbours, score_against_neighbours
from scsw.biology.token_sums import TokenSums
from scsw.scgpt.encoder_layer import EncoderLayer, keep_mask, split_heads
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import capture, encoder_points
from scsw.superweight.verdict.statistics import studentised_interval


def components(
    model: nn.Module,
    discovery: Tokenizer,
    test: Tokenizer,
    cells: AnnData,
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    *,
    by_donor: bool,
) -> pd.DataFrame:
    """Score heads and MLP blocks on the test cells.

    Parameters
    ----------
    discovery, test
        Tokenizers of the discovery cells (for the means) and the test cells.
    cells
        The test cells.
    by_donor
        Whether there are donors enough for an interval.

    Returns
    -------
    pandas.DataFrame
        Contract: ``components.parquet`` without its first three columns. For a head ``attention``
        is the attention of `<cls>` to the gene's token times the number of tokens (1 is uniform);
        for an MLP, the norm of its output at the gene's token over the mean norm of the cell.
    """
    means = component_means(model, discovery, compute, device)
    scores, bins = token_scores(model, test, compute, device)
    sums, counts = scores.by_type()
    bin_sums, bin_counts = bins.by_type()
    n = bin_counts[0]  # cells that detect the gene among their tokens
    enough = np.flatnonzero(n >= settings.min_cells)
    rate = np.asarray((cells.X > 0).mean(0)).ravel()[enough]
    mean_bin = bin_sums[0, 0, enough] / np.maximum(n[enough], 1)
    matched = neighbours(rate, mean_bin, settings.matched_genes) if enough.size else None
    donors = cells.obs["donor_id"].to_numpy(str)
    intact = cell_nll(model, test, compute, device)
    parts = []
    for index, (block, name) in enumerate(component_names(model)):
        with replaced_by_mean(model, block, name, means):
            rise = cell_nll(model, test, compute, device) - intact
        effects = pd.Series(rise).groupby(donors).mean().dropna().to_numpy()
        low, high = math.nan, math.nan
        if by_donor:
            low, high = studentised_interval(
                effects, n_resamples=statistics.bootstrap, seed=statistics.seed
            )
        values = sums[index, 0, enough] / counts[0, enough]
        table = pd.DataFrame(
            {
                "block": block,
                "component": name,
                "gene": cells.var_names.to_numpy(str)[enough],
                "n_cells": n[enough].astype(np.int64),
                "attention": values,
            }
        )
        table = pd.concat([table, score_against_neighbours(values, matched)], axis=1)
        parts.append(table.assign(effect_nll=effects.mean(), effect_low=low, effect_high=high))
    return pd.concat(parts, ignore_index=True)


def component_names(model: nn.Module) -> list[tuple[int, str]]:
    """Return ``(block, component)`` in order: the heads of a block, then its MLP."""
    return [
        (block, name)
        for block, layer in enumerate(encoder_layers(model))
        for name in [*[f"head{i}" for i in range(layer.self_attn.num_heads)], "mlp"]
    ]


@torch.no_grad()
def component_means(
    model: nn.Module, tokenizer: Tokenizer, compute: SimpleNamespace, device: torch.device
) -> dict[str, Tensor]:
    """Return the mean over real tokens of every block's head outputs and MLP output."""
    points = encoder_points(encoder_layers(model), ["attn_heads", "mlp_out"])
    kept: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    n = 0
    with capture(points, kept.__setitem__):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            batch = batch.to(device)
            forward_padded(model, batch)
            n += int(batch.real.sum())
            for name, x in kept.items():
                sums[name] = sums.get(name, 0) + x[batch.real].double().sum(0)
    return {name: (total / max(n, 1)).float() for name, total in sums.items()}


@torch.no_grad()
def token_scores(
    model: nn.Module, tokenizer: Tokenizer, compute: SimpleNamespace, device: torch.device
) -> tuple[TokenSums, TokenSums]:
    """Add up every component's score, and the bins, over gene tokens."""
    layers = encoder_layers(model)
    scores = TokenSums(tokenizer.token_ids, 1, len(component_names(model)))
    bins = TokenSums(tokenizer.token_ids, 1, 1)
    points = encoder_points(layers, ["mlp_out"])
    points |= {f"{block}.in": (layer, "input") for block, layer in enumerate(layers)}
    kept: dict[str, Tensor] = {}
    with capture(points, kept.__setitem__):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            batch = batch.to(device)
            forward_padded(model, batch)
            n_tokens = batch.real.sum(1)[:, None]
            found = []
            for block, layer in enumerate(layers):
                attention = cls_attention(layer, kept[f"{block}.in"], batch.padding)
                found += list((attention * n_tokens[:, None]).movedim(1, 0))
                norm = torch.where(batch.real, kept[f"{block}.mlp_out"].norm(dim=-1), 0)
                found.append(norm * n_tokens / norm.sum(1, keepdim=True).clamp(min=1e-12))
            genes, real = batch.genes.cpu().numpy(), batch.real.cpu().numpy()
            types = np.zeros(len(genes), np.int64)
            scores.add(genes, real, types, torch.stack(found).double().cpu().numpy())
            bin_values = batch.target.double().cpu().numpy()
            bins.add(genes, real & (bin_values > 0), types, bin_values[None])
    return scores, bins


def cls_attention(layer: EncoderLayer, x: Tensor, padding: Tensor) -> Tensor:
    """Attention of `<cls>` to every token, shape (cells, heads, tokens)."""
    d_model, heads = layer.self_attn.embed_dim, layer.self_attn.num_heads
    weight, bias = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
    q = split_heads(F.linear(x[:, :1], weight[:d_model], bias[:d_model]), heads)
    k = F.linear(x, weight[d_model : 2 * d_model], bias[d_model : 2 * d_model])
    logits = (q @ split_heads(k, heads).transpose(-1, -2)) / math.sqrt(d_model / heads)
    return logits.masked_fill(~keep_mask(padding)[:, None, None], -math.inf).softmax(-1)[:, :, 0]


@contextlib.contextmanager
def replaced_by_mean(
    model: nn.Module, block: int, name: str, means: dict[str, Tensor]
) -> Iterator[None]:
    """Replace one head's or MLP's output by its mean at every token while the block runs."""
    layer = encoder_layers(model)[block]
    if name == "mlp":
        mean = means[f"{block}.mlp_out"]
        handle = layer.linear2.register_forward_hook(lambda _m, _i, out: mean.expand_as(out))
    else:
        width = layer.self_attn.embed_dim // layer.self_attn.num_heads
        own = slice(int(name[4:]) * width, (int(name[4:]) + 1) * width)
        mean = means[f"{block}.attn_heads"][own]

        def replace(_module: nn.Module, inputs: tuple) -> tuple:
            heads = inputs[0].clone()
            heads[..., own] = mean
            return (heads,)

        handle = layer.self_attn.out_proj.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def cell_nll(
    model: nn.Module, tokenizer: Tokenizer, compute: SimpleNamespace, device: torch.device
) -> np.ndarray:
    """Return the cell-type NLL of each cell, nats; NaN for a type the model does not know."""
    found = []
    for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
        batch = batch.to(device)
        logits = forward_padded(model, batch)["cls_output"].double()
        nll = F.cross_entropy(logits, batch.labels.clamp(min=0), reduction="none")
        found.append(torch.where(batch.labels >= 0, nll, math.nan).cpu().numpy())
    return np.concatenate(found)
