"""The fine-tuning objectives of scGPT."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.cell_similarity import elastic_cell_similarity

OBJECTIVES = ("gep", "mvc", "cls", "ecs", "dab")
# What is a mean over hidden values or cells, and so a sum over the parts of a batch.
COUNTED = ("gep", "mvc", "gep_zero", "mvc_zero", "cls", "dab", "accuracy")


@dataclass
class Objectives:
    """What is minimised, as sums over cells and values and the counts to divide them by.

    A loss is a mean over all the cells of a step, however many parts and processes these are
    computed in; so the parts give sums, and the counts are those of the whole step. ECS, which is
    no mean over cells, stands apart (`scsw.scgpt.training.cell_similarity`).

    Attributes
    ----------
    weights
        Weight of each objective: ``gep``, masked expression decoded per token (GEP); ``mvc``, the
        same decoded from the cell embedding (MVC, or GEPC); ``cls``, cell type; ``ecs``, elastic
        cell similarity; ``dab``, domain adversary on experimental batches.
    class_weights
        Weight of each cell type in ``cls``, float32, shape (types,), on the CPU; None if all are
        alike.
    ecs_threshold
        See `elastic_cell_similarity`.
    """

    weights: dict[str, float]
    class_weights: Tensor | None
    ecs_threshold: float

    def row(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return what the history tells of some means: NaN for what is not measured."""
        measured = {"gep", "cls", "accuracy", *(name for name, w in self.weights.items() if w)}
        names = (*OBJECTIVES, "accuracy")
        return {name: means.get(name, math.nan) if name in measured else math.nan for name in names}

    def counts(self, batch: PackedBatch) -> dict[str, float]:
        """Return what the sums of a batch are divided by; the batch lies on the CPU."""
        known = batch.labels[batch.labels >= 0]
        weights, hidden = self.class_weights, float(len(batch.hidden))
        return {
            "gep": hidden,
            "mvc": hidden,
            "gep_zero": hidden,
            "mvc_zero": hidden,
            "cls": float(len(known) if weights is None else weights[known].sum()),
            "dab": float((batch.batch_labels >= 0).sum()),
            "accuracy": float(len(batch.cells)),
        }

    def sums(self, output: Mapping[str, Tensor], batch: PackedBatch) -> dict[str, Tensor]:
        """Return the sum of each objective over a batch, from the output for its hidden values."""
        target, logits = batch.target[batch.hidden], output["cls_output"].float()
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        summed = {"ignore_index": -1, "reduction": "sum"}
        found = {
            "gep": squared_error(output["mlm_output"], target),
            "cls": F.cross_entropy(logits, batch.labels, weight=weights, **summed),
            "accuracy": (logits.argmax(1) == batch.labels).sum().float(),
        }
        if "mvc_output" in output:
            found["mvc"] = squared_error(output["mvc_output"], target)
        for name, kind in (("gep_zero", "mlm_zero_probs"), ("mvc_zero", "mvc_zero_probs")):
            if kind in output:
                found[name] = negative_log_bernoulli(output[kind], target)
        if "dab_output" in output:
            found["dab"] = F.cross_entropy(
                output["dab_output"].float(), batch.batch_labels, **summed
            )
        return found

    def similarity(self, cells: Tensor) -> Tensor:
        """Return the loss ``ecs`` of the embeddings of all cells of a step."""
        return elastic_cell_similarity(cells, self.ecs_threshold)

    def total(self, means: Mapping[str, Tensor | float]) -> Tensor | float:
        """Return the weighted sum of the objectives that have a weight.

        A model with probabilities of zero counts (``explicit_zero_prob``) has their likelihood
        added to the masked expression, as in scGPT's trainer.
        """
        weights = self.weights | {f"{n}_zero": self.weights[n] for n in ("gep", "mvc")}
        return sum(weights[name] * mean for name, mean in means.items() if weights.get(name))


def add(sums: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    """Add to each sum, in place."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value.detach().double()


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Sum of squares, whose mean over hidden values is ``scgpt.loss.masked_mse_loss``."""
    return ((predicted.float() - target) ** 2).sum()


def negative_log_bernoulli(probabilities: Tensor, target: Tensor) -> Tensor:
    """Sum whose mean over hidden values is ``scgpt.loss.criterion_neg_log_bernoulli``."""
    bernoulli = torch.distributions.Bernoulli(probs=probabilities.float(), validate_args=False)
    return -bernoulli.log_prob((target > 0).float()).sum()


def objectives(settings: SimpleNamespace, labels: np.ndarray, model: nn.Module) -> Objectives:
    """Return the objectives of a run.

    Parameters
    ----------
    settings
        Section ``finetune`` of the config.
    labels
        Cell type index of the training cells, shape (training cells,).
    model
        The model: the number of types and the default of ``ecs_threshold`` are its own.
    """
    weights = {name: getattr(settings, f"weight_{name}") for name in OBJECTIVES}
    each = None
    if settings.class_weights == "balanced":
        n_cls = model.cls_decoder.out_layer.out_features
        each = torch.tensor(balanced_weights(labels, n_cls), dtype=torch.float32)
    threshold = settings.ecs_threshold
    return Objectives(weights, each, model.ecs_threshold if threshold is None else threshold)


def balanced_weights(labels: np.ndarray, n_cls: int) -> np.ndarray:
    """Weigh each type by one over its cells, so that the mean over the cells is one."""
    counts = np.bincount(labels[labels >= 0], minlength=n_cls)
    present = counts > 0
    return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
