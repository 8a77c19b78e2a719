"""Which genes a candidate reads from, writes to, and points at."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.matched_genes import neighbours, score_against_neighbours
from scsw.biology.token_sums import TokenSums
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import capture, encoder_points
from scsw.superweight.pruning.ablation import Readout, ablated
from scsw.superweight.pruning.edits import Edit, groups_of_edits
from scsw.superweight.pruning.intact import intact_parts

WRITE_OUT_MASK_RATIO = 0.4  # as in fine-tuning, so that the decoder works as it was trained
_EDIT_KEYS = ["candidate_id", "block", "row", "column"]


def gene_scores(
    model: nn.Module,
    tokenizer: Tokenizer,
    cells: AnnData,
    candidates: pd.DataFrame,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Score every gene for every candidate on the given (test) cells.

    *Read-in* is the mean of w·h over the gene's tokens; *write-out* the mean change of the gene's
    decoded expression (GEP) when the weight is set to zero; *direction* the coordinate of the
    gene's normalised embedding along the weight's output channel.

    Returns
    -------
    pandas.DataFrame
        Contract: ``gene_scores.parquet`` without its first three columns.
    """
    types = pd.Categorical(cells.obs["cell_type"].astype(str))
    codes, names = types.codes.astype(np.int64), list(types.categories)
    genes = cells.var_names.to_numpy(str)
    detected = cells.X > 0
    rates = np.vstack([np.asarray(detected[codes == i].mean(0)) for i in range(len(names))])
    all_rate = np.asarray(detected.mean(0)).ravel()

    bins = TokenSums(tokenizer.token_ids, len(names), 1)
    read = TokenSums(tokenizer.token_ids, len(names), len(candidates))
    read_in_pass(model, tokenizer, codes, candidates, read, bins, compute, device)
    write = TokenSums(tokenizer.token_ids, len(names), len(candidates))
    write_out_pass(model, tokenizer, codes, candidates, write, compute, device)
    embedding = gene_embedding(model, tokenizer, device)

    strata = [("all", slice(None), all_rate)]
    strata += [(name, slice(i, i + 1), rates[i]) for i, name in enumerate(names)]
    bin_sums, bin_counts = bins.by_type()
    parts = []
    for cell_type, own, rate in strata:
        n = bin_counts[own].sum(0)
        enough = np.flatnonzero(n >= settings.min_cells)
        if enough.size == 0:
            continue
        mean_bin = bin_sums[0, own].sum(0)[enough] / n[enough]
        matched = neighbours(rate[enough], mean_bin, settings.matched_genes)
        common = {
            "cell_type": cell_type,
            "gene": genes[enough],
            "n_cells": n[enough].astype(np.int64),
            "detection_rate": rate[enough],
            "mean_bin": mean_bin,
        }
        for index, candidate in enumerate(candidates.itertuples()):
            views = {}
            for view, sums in (("read_in", read), ("write_out", write)):
                totals, counts = sums.by_type()
                views[view] = totals[index, own].sum(0)[enough] / counts[own].sum(0)[enough]
            if cell_type == "all":
                views["direction"] = embedding[enough, candidate.row]
            for view, scores in views.items():
                start = {
                    "candidate_id": candidate.candidate_id,
                    "view": view,
                    "decoder": "GEP" if view == "write_out" else "",
                }
                table = pd.DataFrame(start | common | {"score": scores})
                parts.append(pd.concat([table, score_against_neighbours(scores, matched)], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else empty_scores()


def empty_scores() -> pd.DataFrame:
    """Return the table with no rows, for a cohort where no gene is detected often enough."""
    texts = ["candidate_id", "view", "decoder", "cell_type", "gene"]
    numbers = ["n_cells", "detection_rate", "mean_bin", "score", "z", "p", "q"]
    dtypes = dict.fromkeys(texts, "object") | dict.fromkeys(numbers, "float64") | {"null": "object"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})


@torch.no_grad()
def read_in_pass(
    model: nn.Module,
    tokenizer: Tokenizer,
    codes: np.ndarray,
    candidates: pd.DataFrame,
    read: TokenSums,
    bins: TokenSums,
    compute: SimpleNamespace,
    device: torch.device,
) -> None:
    """Add up w·h of every candidate, and the bins, over the gene tokens of whole cells."""
    hidden: dict[str, torch.Tensor] = {}
    with capture(encoder_points(encoder_layers(model), ["mlp_hidden"]), hidden.__setitem__):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            types = codes[batch.cells.numpy()]
            genes, real = batch.genes.numpy(), batch.real.numpy()
            forward_padded(model, batch.to(device))
            contributions = [
                c.weight * hidden[f"{c.block}.mlp_hidden"][..., c.column].double().cpu().numpy()
                for c in candidates.itertuples()
            ]
            read.add(genes, real, types, np.stack(contributions))
            bin_values = batch.target.double().cpu().numpy()
            bins.add(genes, real & (bin_values > 0), types, bin_values[None])


@torch.no_grad()
def write_out_pass(
    model: nn.Module,
    tokenizer: Tokenizer,
    codes: np.ndarray,
    candidates: pd.DataFrame,
    write: TokenSums,
    compute: SimpleNamespace,
    device: torch.device,
) -> None:
    """Add up the change of the decoded expression over gene tokens when a weight is zeroed."""
    order = {name: index for index, name in enumerate(candidates["candidate_id"])}
    edits = [
        Edit(name, "candidate", "zero", "ffn_down", *place)
        for name, *place in candidates[_EDIT_KEYS].itertuples(index=False)
    ]
    groups, layers, readout = groups_of_edits(edits), encoder_layers(model), Readout(model)
    rows = np.arange(len(tokenizer))
    parts = intact_parts(model, tokenizer, rows, compute, device, WRITE_OUT_MASK_RATIO)
    for cells, intact in parts:
        every = torch.arange(cells.n_tokens, device=device)
        genes = cells.genes[:, None].numpy()  # each token stands alone, none is padding
        types = np.repeat(codes[cells.cells.numpy()], cells.lengths)
        changes = np.zeros((len(edits), *genes.shape))
        for group in groups:
            tokens = ablated(layers, intact, group, at=every).tokens
            _, found = readout.expression(intact.tokens, tokens, intact.batch_embs)
            for edit, own in zip(group, found.cpu().numpy(), strict=True):
                changes[order[edit.name]] = own[:, None]
        write.add(genes, np.ones_like(genes, bool), types, changes)


@torch.no_grad()
def gene_embedding(model: nn.Module, tokenizer: Tokenizer, device: torch.device) -> np.ndarray:
    """Return the normalised gene embeddings, float64, shape (genes, d_model)."""
    ids = torch.from_numpy(tokenizer.token_ids).to(device)
    return model.encoder(ids[None])[0].double().cpu().numpy()
