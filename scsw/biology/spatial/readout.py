"""One pass over tissue cells: types and programme scores, intact and with candidates zeroed."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn

from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.ablation import Readout, ablated
from scsw.superweight.pruning.candidate_edits import zeroed_alone
from scsw.superweight.pruning.edits import groups_of_edits
from scsw.superweight.pruning.intact import intact_parts


@dataclass(frozen=True)
class CellReadout:
    """What the models say of each cell.

    Attributes
    ----------
    types
        Predicted type, int64, shape (cells,).
    pruned_types
        The same with each candidate zeroed, shape (candidates, cells).
    scores
        Programme scores of the intact model, float64, shape (cells, programmes).
    changes
        Their change with each candidate zeroed, shape (candidates, cells, programmes).
    """

    types: np.ndarray
    pruned_types: np.ndarray
    scores: np.ndarray
    changes: np.ndarray


@torch.no_grad()
def read_out(
    model: nn.Module,
    tokenizer: Tokenizer,
    candidates: pd.DataFrame,
    directions: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> CellReadout:
    """Run the intact model on all cells of the tokenizer, and what zeroing each candidate changes.

    Parameters
    ----------
    candidates
        Rows of ``candidates.parquet``.
    directions
        Programme scores as directions of the cell embedding, shape (programmes, d_model).
    """
    order = {name: index for index, name in enumerate(candidates["candidate_id"])}
    edits = zeroed_alone(candidates)
    groups, layers, decoders = groups_of_edits(edits), encoder_layers(model), Readout(model)
    scorers = torch.from_numpy(directions).to(device).T
    n, n_sets = len(tokenizer), len(directions)
    types, scores = np.zeros(n, np.int64), np.zeros((n, n_sets))
    pruned = np.zeros((len(edits), n), np.int64)
    changes = np.zeros((len(edits), n, n_sets))
    for cells, intact in intact_parts(model, tokenizer, np.arange(n), compute, device):
        rows = cells.cells.numpy()
        embeddings = intact.cells.double()
        types[rows] = decoders.types(embeddings, embeddings[None] * 0)[0].argmax(-1).cpu().numpy()
        scores[rows] = (embeddings @ scorers).cpu().numpy()
        for group in groups:
            change = ablated(layers, intact, group).cells
            logits, moved = decoders.types(embeddings, change)
            found = (logits + moved).argmax(-1).cpu().numpy()
            moved_scores = (change @ scorers).cpu().numpy()
            for edit, own, score in zip(group, found, moved_scores, strict=True):
                pruned[order[edit.name], rows] = own
                changes[order[edit.name], rows] = score
    return CellReadout(types, pruned, scores, changes)
