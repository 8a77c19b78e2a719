"""The losses on the validation donors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.distributed import Processes
from scsw.scgpt.training.micro_batches import parts
from scsw.scgpt.training.objectives import COUNTED, add
from scsw.scgpt.training.out_of_memory import in_parts
from scsw.scgpt.training.training_cells import TrainingCells
from scsw.scgpt.training.training_pass import TrainingPass
from scsw.scgpt.training.training_run import TrainingRun

_NAMES = (*COUNTED, "ecs")


@torch.no_grad()
def validate(
    run: TrainingRun,
    losses: TrainingPass,
    training: TrainingCells,
    batch_size: int,
    processes: Processes,
) -> dict[str, float]:
    """Return the mean of each objective over the validation cells, hidden positions fixed per cell.

    ``loss`` is their weighted sum without the adversary on batches, which is neither good when low
    nor when high. Elastic cell similarity is that of the cells of one batch, averaged over them.
    The processes take the batches in turn. Without validation cells everything is NaN.
    """
    run.model.eval()
    objectives = losses.objectives
    sums: dict[str, Tensor] = {}
    counts: dict[str, float] = dict.fromkeys(_NAMES, 0.0)
    for batch in _own_batches(training, batch_size, processes):
        cells = len(batch.lengths)
        found, n = in_parts(
            lambda n, batch=batch: _batch_sums(run, losses, batch, n), run.validation_parts, cells
        )
        run.validation_parts = max(run.validation_parts, n)
        add(sums, found)
        for name, count in (objectives.counts(batch) | {"ecs": cells}).items():
            counts[name] += count
    totals = processes.sum(float(sums.get(name, 0.0)) for name in _NAMES)
    totals = zip(_NAMES, totals, processes.sum(counts.values()), strict=True)
    means = {name: total / n if n else math.nan for name, total, n in totals}
    judged = {name: mean for name, mean in means.items() if name != "dab"}
    return {"loss": float(objectives.total(judged)), **objectives.row(means)}


def _own_batches(
    training: TrainingCells, batch_size: int, processes: Processes
) -> Iterator[PackedBatch]:
    first, stride = processes.rank * batch_size, processes.size * batch_size
    for start in range(first, len(training.validation), stride):
        rows = training.validation[start : start + batch_size]
        yield training.tokenizer.packed(rows, mask_ratio=training.settings.mask_ratio)


def _batch_sums(
    run: TrainingRun, losses: TrainingPass, batch: PackedBatch, n: int
) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    cells = []
    for part in parts(batch, n):
        found, embedded = losses(run.model, part)
        cells.append(embedded)
        add(sums, found)
    if losses.objectives.weights["ecs"]:
        sums["ecs"] = losses.objectives.similarity(torch.cat(cells)) * len(batch.lengths)
    return sums
