"""Step `finetune`: fine-tune a starting model on the training donors of a cohort."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.files import read_json, require, whole, write_json, write_table
from scsw.provenance import recorded
from scsw.scgpt.cohort_tokens import cohort_tokenizer
from scsw.scgpt.device import autocast, device_name, prepare
from scsw.scgpt.evaluate import evaluate
from scsw.scgpt.folder import check_vocabulary, write_folder
from scsw.scgpt.model import load_model, read_args
from scsw.scgpt.objectives import losses
from scsw.scgpt.tokens import Tokenizer


def finetune(
    start: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str = "real",
    seed: int = 0,
) -> None:
    """Fine-tune on masked expression, cell embedding and cell type together; keep the best state.

    Parameters
    ----------
    start
        scGPT folder of the starting weights.
    cohort
        ``cohort.h5ad`` that was matched to the same vocabulary.
    out
        Folder to write (contract: ``model/`` in docs/outputs.md).
    settings, compute
        Sections ``finetune`` and ``compute`` of the config.
    arm
        Arm of the run; ``shuffled`` permutes the training labels within each donor.
    seed
        Seed of batch order, hidden values, tie draws and dropout.

    Raises
    ------
    ScswError
        If model and cohort have different vocabularies.
    """
    start, cohort, out = require(start), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(start, facts)
    device = prepare(compute)
    with recorded(
        "finetune",
        out.parent,
        inputs={"start": start, "cohort": cohort},
        parameters={**vars(settings), **vars(compute), "arm": arm},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        labels = read_json(start / "labels.json")
        cells = read_cohort(cohort, ["train", "validation", "test"])
        tokenizer = cohort_tokenizer(cells, start, seed)
        training = _Training(tokenizer, cells, settings, shuffle=arm == "shuffled")
        torch.manual_seed(seed)
        model = load_model(start).to(device)
        history = fit(model, training, settings, compute, device)
        performance = evaluate(model, cells, tokenizer, labels, compute, device)
        with whole(out) as folder:
            write_folder(folder, model, read_args(start), start / "vocab.json", labels)
            write_json({**vars(settings), "arm": arm, "seed": seed}, folder / "train_args.json")
            write_table(history, folder / "history.parquet")
            keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
            write_table(performance.assign(**keys), folder / "performance.parquet")


@dataclass
class _Training:
    """The cells of a fine-tuning run and its schedule."""

    tokenizer: Tokenizer
    cells: AnnData
    settings: SimpleNamespace
    shuffle: bool = False
    train: np.ndarray = field(init=False)
    validation: np.ndarray = field(init=False)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        split = self.cells.obs["split"].to_numpy(str)
        self.train = np.flatnonzero(split == "train")
        known = self.tokenizer.labels >= 0
        self.validation = np.flatnonzero((split == "validation") & known)
        if self.shuffle:
            donors = self.cells.obs["donor_id"].to_numpy(str)
            self.tokenizer.labels = shuffled_labels(
                self.tokenizer.labels, donors, self.train, self.tokenizer.seed
            )
        self.steps = self.per_epoch * self.settings.epochs
        if self.settings.max_steps:
            self.steps = min(self.steps, self.settings.max_steps)

    @property
    def per_epoch(self) -> int:
        return math.ceil(self.train.size / self.settings.batch_size)

    def batch(self, step: int):
        """Return the batch of an optimiser step; a function of (seed, step) alone."""
        epoch, position = divmod(step, self.per_epoch)
        order = self.tokenizer.shuffled(self.train, epoch)
        size = self.settings.batch_size
        chosen = order[position * size : (position + 1) * size]
        return self.tokenizer.batch(chosen, mask_ratio=self.settings.mask_ratio, epoch=epoch)


def shuffled_labels(
    labels: np.ndarray, donors: np.ndarray, rows: np.ndarray, seed: int
) -> np.ndarray:
    """Permute the labels of some rows within each donor; the other rows keep theirs."""
    rng, shuffled = np.random.default_rng([seed, 4]), labels.copy()
    for donor in np.unique(donors[rows]):
        own = rows[donors[rows] == donor]
        shuffled[own] = rng.permutation(labels[own])
    return shuffled


def fit(
    model: nn.Module,
    training: _Training,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Train, and leave the model in the state of its lowest validation loss.

    Returns
    -------
    pandas.DataFrame
        The history (contract: ``history.parquet``).
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, training.steps, settings.warmup)
    )
    every = max(1, training.steps // settings.evaluations)
    rows, best, best_state = [], math.inf, None
    clock, tokens = time.perf_counter(), 0
    for step in range(training.steps):
        batch = training.batch(step).to(device)
        model.train()
        with autocast(device):
            batch_losses = losses(model, batch)
        total = batch_losses.total(settings)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
        tokens += int(batch.real.sum())
        row = {
            "step": step + 1,
            "epoch": step // training.per_epoch,
            "lr": schedule.get_last_lr()[0],
        }
        schedule.step()
        if (step + 1) % every == 0 or step + 1 == training.steps:
            speed = tokens / (time.perf_counter() - clock)
            found = {name: x.item() for name, x in vars(batch_losses).items()}
            rows.append(
                row | {"split": "train", "loss": total.item(), **found, "tokens_per_second": speed}
            )
            checked = validate(model, training, settings, compute, device)
            rows.append(row | {"split": "validation", **checked, "tokens_per_second": math.nan})
            if checked["loss"] < best:
                best = checked["loss"]
                best_state = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            left = (training.steps - step - 1) * (time.perf_counter() - clock) / (step + 1)
            print(
                f"step {step + 1}/{training.steps}  loss {total.item():.3f}  validation "
                f"{checked['loss']:.3f}  accuracy {checked['accuracy']:.3f}  "
                f"{speed:,.0f} tokens/s  {left:.0f} s left",
                flush=True,
            )
    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    return pd.DataFrame(rows)


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine down to zero."""
    n_warm = max(1, round(steps * warmup))
    if step < n_warm:
        return (step + 1) / n_warm
    return 0.5 * (1 + math.cos(math.pi * (step - n_warm) / max(1, steps - n_warm)))


@torch.no_grad()
def validate(
    model: nn.Module,
    training: _Training,
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
