"""The three fine-tuning objectives of scGPT."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.tokens import TokenBatch


@dataclass
class Losses:
    """Losses of one batch.

    Attributes
    ----------
    gep
        Mean squared error of the hidden gene values, decoded per token (GEP).
    mvc
        The same, decoded from the cell embedding (MVC, or GEPC).
    cls
        Cross-entropy of the cell type, nats.
    accuracy
        Share of cells whose type is right.
    """

    gep: Tensor
    mvc: Tensor
    cls: Tensor
    accuracy: Tensor

    def total(self, settings: SimpleNamespace) -> Tensor:
        """Return the weighted sum of the three."""
        weights = settings.weight_gep, settings.weight_mvc, settings.weight_cls
        return sum(w * x for w, x in zip(weights, (self.gep, self.mvc, self.cls), strict=True))


def forward(model: nn.Module, batch: TokenBatch, *, mvc: bool = False) -> dict[str, Tensor]:
    """Run the package's own forward pass with classification, and MVC on request."""
    return model(batch.genes, batch.values, batch.padding, CLS=True, MVC=mvc)


def losses(model: nn.Module, batch: TokenBatch) -> Losses:
    """Return the three losses of a batch with hidden values."""
    output = forward(model, batch, mvc=True)
    logits = output["cls_output"].float()
    return Losses(
        gep=masked_mse(output["mlm_output"], batch),
        mvc=masked_mse(output["mvc_output"], batch),
        cls=F.cross_entropy(logits, batch.labels, ignore_index=-1),
        accuracy=(logits.argmax(1) == batch.labels).float().mean(),
    )


def masked_mse(predicted: Tensor, batch: TokenBatch) -> Tensor:
    """Mean squared error over hidden positions, as ``scgpt.loss.masked_mse_loss``."""
    squared = (predicted.float() - batch.target) ** 2
    return torch.where(batch.hidden, squared, 0).sum() / batch.hidden.sum().clamp(min=1)
