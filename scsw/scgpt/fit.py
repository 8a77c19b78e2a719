"""The training loop."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from torch import nn

from scsw.scgpt.device import autocast
from scsw.scgpt.objectives import Losses, losses
from scsw.scgpt.stopping import stop_request
from scsw.scgpt.training_cells import TrainingCells
from scsw.scgpt.training_run import SavedRun, TrainingRun


def fit(
    model: nn.Module,
    training: TrainingCells,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    saved: SavedRun,
) -> pd.DataFrame:
    """Train, and leave the model in the state of its lowest validation loss.

    A run that was interrupted goes on from its saved state, to the same weights as one that was
    not: bit for bit on CPU with the same threads.

    Returns
    -------
    pandas.DataFrame
        The history (contract: ``history.parquet``).

    Raises
    ------
    SystemExit
        With the status of the signal, after the state was saved, if the process is asked to end.
    """
    run = TrainingRun(model, settings, training.steps)
    if saved.restore(run):
        print(f"going on after step {run.step} of {training.steps}", flush=True)
    every = max(1, training.steps // settings.evaluations)
    begun, before = time.perf_counter(), run.seconds
    with stop_request() as stop:
        while run.step < training.steps:
            found, total = _train_step(run, training, settings, device)
            run.seconds = before + time.perf_counter() - begun
            if run.step % every == 0 or run.step == training.steps:
                _evaluate(run, training, settings, compute, device, found, total)
            if stop or saved.is_due() or run.step == training.steps:
                saved.save(run)
            if stop and run.step < training.steps:
                print(f"asked to end after step {run.step}; the same command goes on", flush=True)
                raise SystemExit(stop.exit_status)
    if run.best_state is not None:
        model.load_state_dict(run.best_state)
    model.eval()
    return pd.DataFrame(run.rows)


def _train_step(
    run: TrainingRun, training: TrainingCells, settings: SimpleNamespace, device: torch.device
) -> tuple[Losses, torch.Tensor]:
    batch = training.batch(run.step).to(device)
    run.model.train()
    with autocast(device):
        found = losses(run.model, batch)
    total = found.total(settings)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), settings.grad_clip)
    run.optimizer.step()
    run.lr = run.schedule.get_last_lr()[0]
    run.schedule.step()
    run.tokens += int(batch.real.sum())
    run.step += 1
    return found, total


def _evaluate(
    run: TrainingRun,
    training: TrainingCells,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    found: Losses,
    total: torch.Tensor,
) -> None:
    """Add the rows of a validation to the history, and keep the weights if they are the best."""
    epoch = (run.step - 1) // training.per_epoch
    row: dict[str, Any] = {"step": run.step, "epoch": epoch, "lr": run.lr}
    speed = run.tokens / run.seconds
    trained = {name: value.item() for name, value in vars(found).items()}
    trained |= {"loss": total.item(), "tokens_per_second": speed}
    checked = validate(run.model, training, settings, compute, device)
    run.rows.append(row | {"split": "train", **trained})
    run.rows.append(row | {"split": "validation", **checked, "tokens_per_second": math.nan})
    if checked["loss"] < run.best:
        run.best = checked["loss"]
        run.best_state = {k: v.detach().cpu().clone() for k, v in run.model.state_dict().items()}
    left = (training.steps - run.step) * run.seconds / run.step
    print(
        f"step {run.step}/{training.steps}  loss {total.item():.3f}  validation "
        f"{checked['loss']:.3f}  accuracy {checked['accuracy']:.3f}  "
        f"{speed:,.0f} tokens/s  {left:.0f} s left",
        flush=True,
    )


@torch.no_grad()
def validate(
    model: nn.Module,
    training: TrainingCells,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
) -> dict[str, float]:
    """Return the losses on the validation donors, hidden positions fixed per cell."""
    model.eval()
    sums = dict.fromkeys(("loss", "gep", "mvc", "cls", "accuracy"), 0.0)
    for batch in training.tokenizer.batches(
        training.validation, compute.batch_size, mask_ratio=settings.mask_ratio
    ):
        with autocast(device):
            found = losses(model, batch.to(device))
        values = {"loss": found.total(settings), **vars(found)}
        for name, value in values.items():
            sums[name] += float(value) * len(batch.cells)
    if training.validation.size == 0:
        return dict.fromkeys(sums, math.nan)
    return {name: value / training.validation.size for name, value in sums.items()}
