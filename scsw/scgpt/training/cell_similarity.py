"""scGPT's elastic cell similarity (ECS)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def elastic_cell_similarity(cells: Tensor, threshold: float) -> Tensor:
    """Return the ECS loss of some cells, as ``TransformerModel.forward(..., ECS=True)`` does.

    Cosine similarities of two cells below zero count as zero, so does that of a cell with itself;
    the loss is the mean of ``1 - (similarity - threshold)²`` over all pairs.

    Parameters
    ----------
    cells
        Cell embeddings, shape (cells, d_model).
    threshold
        Similarity away from which cells are driven: together above it, apart below.
    """
    cells = F.normalize(cells.float(), dim=1)
    similarity = cells @ cells.t()
    itself = torch.eye(len(cells), dtype=torch.bool, device=cells.device)
    similarity = F.relu(similarity.masked_fill(itself, 0.0))
    return (1 - (similarity - threshold) ** 2).mean()
