"""What each candidate does in each cell: one pass of the intact model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn

from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import capture, encoder_points


@dataclass(frozen=True)
class CellActivity:
    """Activity of candidates in cells.

    Attributes
    ----------
    contribution
        Mean of w·h over a cell's tokens, float64, shape (cells, candidates).
    spike
        Largest |value| of a candidate's channel at ``mlp_out`` over a cell's tokens, same shape.
    axis_sum
        Axis → sum of w·h over the tokens of its genes, same shape.
    axis_tokens
        Axis → number of these tokens, int64, shape (cells,).
    """

    contribution: np.ndarray
    spike: np.ndarray
    axis_sum: dict[str, np.ndarray]
    axis_tokens: dict[str, np.ndarray]


@torch.no_grad()
def cell_activity(
    model: nn.Module,
    tokenizer: Tokenizer,
    candidates: pd.DataFrame,
    compute: SimpleNamespace,
    device: torch.device,
    axes: Mapping[str, np.ndarray] | None = None,
) -> CellActivity:
    """Run the model on all cells of a tokenizer and note what the candidates do.

    Parameters
    ----------
    candidates
        ``block, row, column, weight`` of each.
    compute
        Section of the config.
    axes
        Axis → token ids of its genes.
    """
    axes = axes or {}
    shape = len(tokenizer), len(candidates)
    found = CellActivity(
        np.zeros(shape),
        np.zeros(shape),
        {name: np.zeros(shape) for name in axes},
        {name: np.zeros(shape[0], np.int64) for name in axes},
    )
    tokens_of = {name: torch.as_tensor(ids, device=device) for name, ids in axes.items()}
    kept: dict[str, torch.Tensor] = {}
    points = encoder_points(encoder_layers(model), ["mlp_hidden", "mlp_out"])
    with capture(points, kept.__setitem__):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            rows = batch.cells.numpy()
            batch = batch.to(device)
            forward_padded(model, batch)
            member = {
                name: torch.isin(batch.genes, ids) & batch.real for name, ids in tokens_of.items()
            }
            for name, own in member.items():
                found.axis_tokens[name][rows] = own.sum(1).cpu().numpy()
            n_tokens = batch.real.sum(1).double()
            for index, candidate in enumerate(candidates.itertuples()):
                hidden = kept[f"{candidate.block}.mlp_hidden"][..., candidate.column]
                product = hidden.double() * candidate.weight
                total = torch.where(batch.real, product, 0).sum(1)
                found.contribution[rows, index] = (total / n_tokens).cpu().numpy()
                output = kept[f"{candidate.block}.mlp_out"][..., candidate.row].abs()
                largest = torch.where(batch.real, output, 0).max(1).values
                found.spike[rows, index] = largest.double().cpu().numpy()
                for name, own in member.items():
                    of_axis = torch.where(own, product, 0).sum(1)
                    found.axis_sum[name][rows, index] = of_axis.cpu().numpy()
    return found
