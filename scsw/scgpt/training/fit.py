"""The training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from scsw.errors import ScswError
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.distributed import Processes
from scsw.scgpt.training.objectives import COUNTED, objectives
from scsw.scgpt.training.step import Step
from scsw.scgpt.training.stopping import StopRequest
from scsw.scgpt.training.training_batches import loader_workers, training_batches
from scsw.scgpt.training.training_board import training_board
from scsw.scgpt.training.training_cells import TrainingCells
from scsw.scgpt.training.training_pass import TrainingPass, training_pass
from scsw.scgpt.training.training_progress import training_progress
from scsw.scgpt.training.training_run import SavedRun, TrainingRun
from scsw.scgpt.training.validation import validate

_TOLD = 200  # times over a run that the loss is shown and logged
# Steps of a GPU for one that is told: to tell the loss, the processor waits for the GPU, which then
# waits for work. The cards of a step that is divided would wait as long for less work.
_GPU_STEPS = 10


def fit(
    model: nn.Module,
    training: TrainingCells,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    saved: SavedRun,
    *,
    processes: Processes | None = None,
    board: Path | None = None,
) -> pd.DataFrame:
    """Train, and leave the model in the state of its lowest validation loss.

    A run that was interrupted goes on from its saved state, to the same weights as one that was
    not: bit for bit on CPU with the same threads.

    Parameters
    ----------
    model
        The model, on `device`. Parameters that need no gradient stay as they are.
    training, settings, compute
        The cells, and the sections ``finetune`` and ``compute`` of the config.
    saved
        Where the state of the run is kept.
    processes
        The processes that train together, each of which calls this; by default this one alone.
    board
        Folder of a TensorBoard log.

    Returns
    -------
    pandas.DataFrame
        The history (contract: ``history.parquet``).

    Raises
    ------
    torch.OutOfMemoryError
        If not even a single cell fits into the GPU's memory.
    SystemExit
        With the status of the signal, after the state was saved, if the process is asked to end.
    """
    processes = processes or Processes()
    labels = training.tokenizer.labels[training.train]
    losses = training_pass(objectives(settings, labels, model), compute, device)
    run = TrainingRun(model, settings, training.steps, losses.precision.scaler())
    if saved.restore(run) and processes.first:
        print(f"going on after step {run.step} of {training.steps}", flush=True)
    _Training(run, training, settings, compute, losses, processes).finish(saved, board)
    if run.best_state is not None:
        model.load_state_dict(run.best_state)
    model.eval()
    return pd.DataFrame(run.rows)


def check_finite(loss: float, step: int) -> None:
    """Raise a `ScswError` if training has come to numbers that are none."""
    if not math.isfinite(loss):
        raise ScswError(
            f"the training loss is {loss} after step {step}",
            expected="a number",
            fix="lower finetune.lr, or set compute.precision to `bf16` or `fp32`, whose numbers go "
            "beyond the 65,504 of fp16",
        )


@dataclass
class _Training:
    """The rest of a run."""

    run: TrainingRun
    training: TrainingCells
    settings: SimpleNamespace
    compute: SimpleNamespace
    losses: TrainingPass
    processes: Processes
    marked: tuple[int, float] = (0, 0.0)  # tokens and clock when speed began to be measured

    def finish(self, saved: SavedRun, board: Path | None) -> None:
        """Take all the steps that are left."""
        run, first = self.run, self.processes.first
        step = Step(run, self.losses, self.settings.grad_clip, self.processes)
        begun, before = time.perf_counter(), run.seconds
        self._mark()
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(self.processes.stop_request())
            batches = stack.enter_context(contextlib.closing(self._batches()))
            log = stack.enter_context(training_board(board if first else None, run.step))
            show = stack.enter_context(training_progress(run, first))
            while not run.done:
                found = step(next(batches))
                run.seconds = before + time.perf_counter() - begun
                if self._is_told():
                    means = self._means(found)
                    check_finite(means["loss"], run.step)
                    show(means["loss"])
                    log(run.step, "train", means | {"lr": run.lr})
                if self._is_turn(self.settings.evaluations):
                    log(run.step, "validation", self._evaluate(found))
                self._save(saved, stop)

    def _mark(self) -> None:
        """Measure the speed from here on."""
        self.marked = self.run.tokens, time.perf_counter()

    def _is_turn(self, times: int) -> bool:
        """Tell whether something that is done so many times over a run is due after this step."""
        run = self.run
        return run.step * times // run.steps > (run.step - 1) * times // run.steps

    def _is_told(self) -> bool:
        """Tell whether this step's loss is shown and logged, as it is before every evaluation."""
        each = _GPU_STEPS if self.losses.device.type == "cuda" else 1
        times = min(_TOLD, max(1, self.run.steps // each))
        return self._is_turn(times) or self._is_turn(self.settings.evaluations)

    def _save(self, saved: SavedRun, stop: StopRequest) -> None:
        """Save the run if it is time to, and end the process if it was asked to end."""
        run, first = self.run, self.processes.first
        asked, due = self.processes.sum([bool(stop), first and saved.is_due()])
        if asked or due or run.done:
            saved.save(run)
        if asked and not run.done:
            if first:
                print(f"asked to end after step {run.step}; the same command goes on", flush=True)
            raise SystemExit(stop.exit_status)

    def _batches(self) -> Iterator[PackedBatch]:
        device = self.losses.device
        return training_batches(
            self.training,
            self.run.step,
            workers=loader_workers(self.compute, device),
            pin_memory=device.type == "cuda",
        )

    def _means(self, found: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the loss of a step and its parts, from each process's share of them."""
        names = (*COUNTED, "ecs")
        sums = self.processes.sum(float(found.get(name, 0.0)) for name in names)
        means = dict(zip(names, sums, strict=True))
        objectives = self.losses.objectives
        return {"loss": float(objectives.total(means)), **objectives.row(means)}

    def _evaluate(self, found: Mapping[str, Tensor]) -> dict[str, float]:
        """Validate, add to the history, and keep the weights if they are the best so far."""
        run, trained = self.run, self._means(found)
        epoch = (run.step - 1) // self.training.per_epoch
        row: dict[str, Any] = {"step": run.step, "epoch": epoch, "lr": run.lr}
        speed = (run.tokens - self.marked[0]) / (time.perf_counter() - self.marked[1])
        size = self.compute.batch_size
        checked = validate(run, self.losses, self.training, size, self.processes)
        run.rows.append(row | {"split": "train", **trained, "tokens_per_second": speed})
        run.rows.append(row | {"split": "validation", **checked, "tokens_per_second": math.nan})
        run.judge(checked["loss"])
        self._mark()
        if self.processes.first:
            left = (run.steps - run.step) * run.seconds / run.step
            print(
                f"step {run.step}/{run.steps}  loss {trained['loss']:.3f}  validation "
                f"{checked['loss']:.3f}  accuracy {checked['accuracy']:.3f}  "
                f"{speed:,.0f} tokens/s  {left:.0f} s left",
                flush=True,
            )
        return checked
