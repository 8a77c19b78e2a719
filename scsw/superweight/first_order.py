"""First-order screen: the predicted effect of zeroing each down-projection weight."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from scsw.scgpt.forward import forward_padded
from scsw.scgpt.tokens.tokenizer import Tokenizer


def first_order_effects(
    model: nn.Module,
    weights: list[nn.Parameter],
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> list[np.ndarray]:
    """Predict the change of the cell-type NLL when each weight is set to zero.

    For one cell type this is ``-w * dNLL/dw`` averaged over its cells. Types are kept apart, since
    their signs cancel in the sum, and their absolute values are added.

    Parameters
    ----------
    model
        Model in eval mode.
    weights
        Parameters to score.
    tokenizer, rows
        The discovery cells; rows of a type the model does not know are left out.

    Returns
    -------
    list of numpy.ndarray
        Σ over cell types of |mean over cells|, float64, the shape of each weight.
    """
    totals = [np.zeros(tuple(w.shape)) for w in weights]
    requires = [p.requires_grad for p in model.parameters()]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for label in np.unique(tokenizer.labels[rows]):
            own = rows[tokenizer.labels[rows] == label]
            if label < 0:
                continue
            gradients = [torch.zeros_like(w) for w in weights]
            for batch in tokenizer.batches(own, compute.batch_size):
                batch = batch.to(device)
                nll = F.cross_entropy(
                    forward_padded(model, batch)["cls_output"], batch.labels, reduction="sum"
                )
                for total, gradient in zip(
                    gradients, torch.autograd.grad(nll, weights), strict=True
                ):
                    total += gradient
            for total, weight, gradient in zip(totals, weights, gradients, strict=True):
                total += (-weight.detach() * gradient / own.size).abs().double().cpu().numpy()
    finally:
        for parameter, value in zip(model.parameters(), requires, strict=True):
            parameter.requires_grad_(value)
    return totals
