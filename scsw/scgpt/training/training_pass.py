"""The forward pass of training and validation."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from scsw.scgpt.forward import forward_packed
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.objectives import Objectives
from scsw.scgpt.training.precision import Precision, precision


@dataclass
class TrainingPass:
    """Computes the losses of packed cells.

    Attributes
    ----------
    objectives, precision
        What is computed, and in which number format.
    compiled, checkpointing
        Whether the parts of the pass are compiled, and whether the inside of an encoder block is
        computed again in the backward pass instead of kept in memory.
    """

    objectives: Objectives
    precision: Precision
    compiled: bool = False
    checkpointing: bool = False

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.precision.device

    def __call__(self, model: nn.Module, batch: PackedBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the sums of the objectives over a batch, and its cell embeddings in float32."""
        options: dict[str, Any] = {"mvc": bool(self.objectives.weights["mvc"])}
        if self.checkpointing and model.training:
            options["checkpointing"] = True
        batch = batch.to(self.device)
        with self.precision.autocast():
            output = forward_packed(
                model, batch, decode=batch.hidden, compiled=self.compiled, **options
            )
        return self.objectives.sums(output, batch), output["cell_emb"].float()


def training_pass(
    objectives: Objectives, compute: SimpleNamespace, device: torch.device
) -> TrainingPass:
    """Return the pass that section ``compute`` of the config asks for.

    Raises
    ------
    ScswError
        If the device does not have the precision.
    """
    compiled = compute.compile == "auto" and device.type == "cuda"
    return TrainingPass(
        objectives, precision(compute, device), compiled, compute.activation_checkpointing
    )
