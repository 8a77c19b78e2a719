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

    Attributes
    ----------
    step, lr
        Steps that are done, and the learning rate of the last one.
    rows
        Rows of ``history.parquet`` so far.
    best, best_state
        Lowest validation loss, and the weights that had it (on CPU; None before the first).
    tokens, seconds
        Real tokens that were trained on, and how long that took, over all interruptions.
    """

    def __init__(self, model: nn.Module, settings: SimpleNamespace, steps: int) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, steps, settings.warmup)
        )
        self.step, self.tokens, self.seconds, self.lr = 0, 0, 0.0, 0.0
        self.rows: list[dict[str, Any]] = []
        self.best = math.inf
        self.best_state: dict[str, Tensor] | None = None

    def state(self) -> dict[str, Any]:
        """Return the run as tensors, numbers and texts."""
        plain = ("step", "lr", "tokens", "seconds", "rows", "best", "best_state")
        state = {name: getattr(self, name) for name in plain}
        for name in ("model", "optimizer", "schedule"):
            state[name] = getattr(self, name).state_dict()
        state["random"] = torch.get_rng_state()
        if torch.cuda.is_available():
            state["random_cuda"] = torch.cuda.get_rng_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state that `state` returned, random numbers included."""
        for name in ("model", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state.pop(name))
        torch.set_rng_state(state.pop("random"))
        if "random_cuda" in state:
            torch.cuda.set_rng_state(state.pop("random_cuda"))
        for name, value in state.items():
            setattr(self, name, value)


class SavedRun:
    """The last saved state of a run, in a folder that outlives a killed process.

    Parameters
    ----------
    folder
        The folder.
    minutes
        Minutes between two savings. When a run is saved never changes its result.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self._path, self._seconds = folder / _FILE, 60 * minutes
        self._last = time.monotonic()

    def restore(self, run: TrainingRun) -> bool:
        """Bring a fresh run to the saved state; return whether there was one."""
        if not self._path.exists():
            return False
        run.restore(torch.load(self._path, map_location="cpu", weights_only=True))
        return True

    def is_due(self) -> bool:
        """Tell whether the run should be saved now."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, run: TrainingRun) -> None:
        """Save the run in place of the state before."""
        part = self._path.with_suffix(".part")
        torch.save(run.state(), part)
        os.replace(part, self._path)
        self._last = time.monotonic()


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine down to zero."""
    n_warm = max(1, round(steps * warmup))
    if step < n_warm:
        return (step + 1) / n_warm
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, steps - n_warm)))
