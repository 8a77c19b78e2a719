"""One step of the optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.distributed import Processes
from scsw.scgpt.training.micro_batches import cells_of, parts, share_bounds
from scsw.scgpt.training.objectives import add
from scsw.scgpt.training.out_of_memory import in_parts
from scsw.scgpt.training.training_pass import TrainingPass
from scsw.scgpt.training.training_run import TrainingRun

# Steps after whose gradients the processor waits, to take one again whose fp16 numbers overflow.
_FIRST = 20


@dataclass
class Step:
    """Takes the steps of a run.

    The loss is that of the whole batch, however it is divided: over processes, over the parts that
    are computed one after another, and over twice as many parts where memory runs out. Divided
    otherwise, only roundings and the draws of dropout differ.

    In fp16 the loss is scaled, at first by too much: gradients overflow, sooner those of the whole
    batch than those of its parts. Such a step is taken again with half the scale, so that it does
    not hang on the division how many steps a run begins with. After the first steps it is left
    out, as PyTorch has it: there it comes once in 2,000 steps, when the scale is tried to grow, and
    to look for it at every step would make the processor wait for the GPU.

    Attributes
    ----------
    run
        What is trained.
    losses
        How the losses are computed.
    grad_clip
        Largest norm of the gradients.
    processes
        The processes that train together; each is given the whole batch and takes its share.
    """

    run: TrainingRun
    losses: TrainingPass
    grad_clip: float
    processes: Processes

    def __call__(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Take one step, and return the means of the objectives over this process's share.

        They are parts of a sum: added up over the processes they are the means of the batch.
        """
        run = self.run
        counts = self.losses.objectives.counts(batch)
        start, stop = share_bounds(batch.lengths, self.processes.size)[self.processes.rank]
        own = cells_of(batch, start, stop) if self.processes.size > 1 else batch
        run.model.train()
        place = (start, len(batch.lengths))
        again = True
        while again:
            means, n = in_parts(
                lambda n: self._backward(own, counts, n, place), run.parts, self._most_parts(own)
            )
            if n > run.parts:
                print(f"out of memory: from step {run.step} on in {n} parts", flush=True)
                run.parts = n
            self.processes.add_gradients(run.model.parameters())
            again = self._update()
        run.lr = run.schedule.get_last_lr()[0]
        run.schedule.step()
        run.tokens += batch.n_tokens
        run.step += 1
        if start > 0:  # ECS is no sum: the process that has the first cell tells it
            means.pop("ecs", None)
        return means

    def _most_parts(self, own: PackedBatch) -> int:
        return 1 if self.losses.objectives.weights["ecs"] else len(own.lengths)

    def _backward(
        self, own: PackedBatch, counts: Mapping[str, float], n: int, place: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Compute the gradients of this process's cells in `n` parts."""
        self.run.optimizer.zero_grad(set_to_none=True)
        means: dict[str, Tensor] = {}
        if not own.lengths:
            self._join_in(place)
        for part in parts(own, n):
            found = self._means(part, counts, place)
            self.run.scaler.scale(self.losses.objectives.total(found)).backward()
            add(means, found)
        return means

    def _means(
        self, part: PackedBatch, counts: Mapping[str, float], place: tuple[int, int]
    ) -> dict[str, Tensor]:
        sums, cells = self.losses(self.run.model, part)
        means = {name: value / max(counts[name], 1e-12) for name, value in sums.items()}
        if self.losses.objectives.weights["ecs"]:
            every = self.processes.all_rows(cells, *place)
            means["ecs"] = self.losses.objectives.similarity(every)
        return means

    def _join_in(self, place: tuple[int, int]) -> None:
        """Do without cells what the other processes do together with this one."""
        if self.losses.objectives.weights["ecs"]:
            none = torch.zeros(0, self.run.model.d_model, device=self.losses.device)
            self.processes.all_rows(none, *place)

    def _update(self) -> bool:
        """Update the weights; return whether the step is to be taken again instead."""
        run, scaler = self.run, self.run.scaler
        watched = scaler.is_enabled() and run.step < _FIRST
        before = scaler.get_scale() if watched else 0.0
        scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), self.grad_clip)
        scaler.step(run.optimizer)
        scaler.update()
        # Gradients that overflow at scale 1 will not be mended by a smaller one.
        return watched and 1 <= scaler.get_scale() < before
