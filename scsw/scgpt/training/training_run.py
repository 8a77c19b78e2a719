"""A fine-tuning run as it stands after some steps: all that the next step depends on."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from scsw.scgpt.folder import save
from scsw.scgpt.training.distributed import Processes

_FILE = "last.ckpt"


class TrainingRun:
    """Model, optimiser, schedule and history of a run.

    Parameters
    ----------
    model
        The model, on its device.
    settings
        Section ``finetune`` of the config.
    steps
        Optimiser steps of the whole run.
    scaler
        Scaler of the loss; by default one that does nothing.

    Attributes
    ----------
    step, lr
        Steps that are done, and the learning rate of the last one.
    rows
        Rows of ``history.parquet`` so far.
    best, best_state
        Lowest validation loss, and the weights that had it (on CPU; None before the first).
    since_best, stopped
        Evaluations since then, and whether these were so many that the run ends early.
    tokens, seconds
        Real tokens that were trained on, and how long that took, over all interruptions.
    parts, validation_parts
        Parts that a batch is computed in, of a step and of validation; they grow when memory runs
        out. Each process has its own.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: SimpleNamespace,
        steps: int,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.model, self.steps, self._patience = model, steps, settings.patience
        trained = [p for p in model.parameters() if p.requires_grad]
        # Fused, the scaler's look at the gradients does not hold up the GPU.
        fused = True if trained[0].is_cuda else None
        self.optimizer = torch.optim.AdamW(
            trained, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, steps, settings.warmup)
        )
        self.scaler = torch.amp.GradScaler(enabled=False) if scaler is None else scaler
        self.step, self.tokens, self.seconds, self.lr = 0, 0, 0.0, 0.0
        self.rows: list[dict[str, Any]] = []
        self.best = math.inf
        self.best_state: dict[str, Tensor] | None = None
        self.since_best, self.stopped = 0, False
        self.parts, self.validation_parts = settings.accumulate, 1

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.stopped or self.step >= self.steps

    def judge(self, loss: float) -> None:
        """Keep the weights if a validation loss is the lowest; end after too many that are not."""
        self.since_best += 1
        if loss < self.best:
            self.best, self.since_best = loss, 0
            state = self.model.state_dict()
            self.best_state = {k: v.detach().cpu().clone() for k, v in state.items()}
        self.stopped = self._patience is not None and self.since_best >= self._patience

    def state(self) -> dict[str, Any]:
        """Return what the processes of a run share, as tensors, numbers and texts."""
        plain = ("step", "lr", "tokens", "seconds", "rows", "best", "best_state")
        state = {name: getattr(self, name) for name in (*plain, "since_best", "stopped")}
        for name in ("model", "optimizer", "schedule", "scaler"):
            state[name] = getattr(self, name).state_dict()
        return state

    def own_state(self) -> dict[str, Any]:
        """Return what each process has for itself."""
        state = {"parts": self.parts, "validation_parts": self.validation_parts}
        state["random"] = torch.get_rng_state()
        if torch.cuda.is_available():
            state["random_cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict[str, Any], own: dict[str, Any]) -> None:
        """Take over what `state` and `own_state` returned, random numbers included."""
        state, own = dict(state), dict(own)
        for name in ("model", "optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state.pop(name))
        torch.set_rng_state(own.pop("random"))
        if "random_cuda" in own:
            torch.cuda.set_rng_state(own.pop("random_cuda"))
        for name, value in (state | own).items():
            setattr(self, name, value)


class SavedRun:
    """The last saved state of a run, in a folder that outlives a killed process.

    Parameters
    ----------
    folder
        The folder.
    minutes
        Minutes between two savings. When a run is saved never changes its result.
    processes
        The processes of the run; the first writes for all.
    """

    def __init__(self, folder: Path, minutes: float, processes: Processes | None = None) -> None:
        self._path, self._seconds = folder / _FILE, 60 * minutes
        self._processes = processes or Processes()
        self._last = time.monotonic()

    def restore(self, run: TrainingRun) -> bool:
        """Bring a fresh run to the saved state; return whether there was one."""
        if not self._path.exists():
            return False
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        run.restore(state["run"], state["own"][self._processes.rank])
        return True

    def is_due(self) -> bool:
        """Tell whether the run should be saved now."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, run: TrainingRun) -> None:
        """Save the run in place of the state before; all processes must call it together."""
        own = self._processes.gather(run.own_state())
        if self._processes.first:
            part = self._path.with_suffix(".part")
            save({"run": run.state(), "own": own}, part)
            os.replace(part, self._path)
        self._last = time.monotonic()


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine down to zero."""
    n_warm = max(1, round(steps * warmup))
    if step < n_warm:
        return (step + 1) / n_warm
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, steps - n_warm)))
