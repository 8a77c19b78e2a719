"""Fine-tune on one GPU and on several of one host, with the same cells per step.

    python -m benchmarks.model --gpus 2 [--tokens 1200 3000] [--only rates | losses]

Each run is the command ``scsw finetune`` on a cohort file, its loader included: 12 x 512 x 8,
vocabulary 60,697, dropout 0.2, cells of 40 to 100 % of the longest length. Rates are real tokens
per second between evaluations, the median of all but the first, in which kernels are compiled.
Then, without dropout, whose draws are each process's own, the losses are compared step by step:
of several GPUs with one, and of a run that was killed half-way and started again with one that was
not.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scsw.files import read_json, read_table
from tests.tiny import TYPES, write_counts

GENES = 60_694  # and three special tokens
DETECTED = 36_000
CELLS = {1200: 256, 3000: 128}  # of one step
STEPS = {"rate": 120, "loss": 60}
EVALUATIONS = {"rate": 6, "loss": 12}
SPLITS = {"train": (4, 2048), "test": (4, 40)}  # donors and cells


def write_cohort(
    folder: Path, tokens: int, splits: dict[str, tuple[int, int]] | None = None
) -> Path:
    """Write cells of 40 to 100 % of `tokens`; frequencies fall off as a power of the rank.

    `splits` gives each split's numbers of donors and cells.
    """
    rng = np.random.default_rng(0)
    frequency = (np.arange(DETECTED) + 100.0) ** -0.7
    frequency /= frequency.sum()
    rows = [
        (f"{split}{i}", f"{split}{i % n_donors}", TYPES[i % len(TYPES)], split)
        for split, (n_donors, n_cells) in (splits or SPLITS).items()
        for i in range(n_cells)
    ]
    n_cells = len(rows)
    lengths = rng.integers(int(0.4 * tokens), tokens, n_cells)  # and <cls>
    genes = [np.sort(rng.choice(DETECTED, n, replace=False, p=frequency)) for n in lengths]
    values = rng.integers(1, 200, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], lengths.cumsum()])
    counts = sparse.csr_matrix((values, np.concatenate(genes), offsets), (n_cells, GENES))
    return write_counts(folder, counts, rows)


def settings(tokens: int, gpus: int, kind: str, save_minutes: float) -> str:
    """Return the config of a run that is made for its rate (with dropout) or for its losses."""
    dropout = 0.2 if kind == "rate" else 0.0
    model = {"embsize": 512, "nheads": 8, "d_hid": 512, "nlayers": 12, "max_seq_len": tokens}
    tune = {"epochs": 100, "max_steps": STEPS[kind], "evaluations": EVALUATIONS[kind]}
    tune |= {"batch_size": CELLS[tokens], "save_minutes": save_minutes}
    kept = {"baseline_cells": 100, "gep_cells_per_donor": 2}
    compute = {"device": "cuda", "devices": gpus, "batch_size": 16}
    return json.dumps(
        {"model": model | {"dropout": dropout}, "finetune": tune | kept, "compute": compute}
    )


def scsw(*arguments: object, kill_after: int | None = None) -> None:
    """Run scsw; SIGKILL it and its processes once it has told a training step as late as this."""
    command = [sys.executable, "-u", "-m", "scsw.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    killed = False
    for line in process.stdout:
        if line.startswith(("going on", "out of memory")):
            print("   ", line, end="")
        if kill_after and line.startswith("step ") and _step(line) >= kill_after and not killed:
            killed = True
            os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    if status != (-signal.SIGKILL if killed else 0):
        raise SystemExit(f"`{' '.join(command)}` ended with status {status}")


def _step(line: str) -> int:
    return int(line.split()[1].split("/")[0])


def fine_tuned(
    folder: Path,
    name: str,
    tokens: int,
    gpus: int,
    *,
    kind: str = "loss",
    kill_after: int | None = None,
) -> Path:
    """Fine-tune, and return the model's folder.

    A run that is to be killed saves its state every second, others not before their end.
    """
    out = folder / name / "model"
    config = settings(tokens, gpus, kind, 0.02 if kill_after else 10)
    cohort, start = folder / "cohort.h5ad", folder / f"init {kind}"
    if not start.exists():
        scsw("init", "--cohort", cohort, "--out", start, "--config", config)
    command = ("finetune", start, "--cohort", cohort, "--out", out, "--config", config)
    if kill_after:
        scsw(*command, kill_after=kill_after)
    scsw(*command)
    return out


def history(*arguments: Any, **options: Any) -> pd.DataFrame:
    """Fine-tune, and return the rows of the training cells."""
    table = read_table(fine_tuned(*arguments, **options) / "history.parquet")
    return table[table["split"] == "train"].reset_index(drop=True)


def apart(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Say how far two loss curves are apart."""
    difference = (one["loss"] - other["loss"]).abs() / one["loss"]
    return f"{difference.max():.1e} at most, {difference.iloc[-1]:.1e} at the end"


def speeds(folder: Path, tokens: int, gpus: int) -> None:
    """Print the rates of one GPU and of several."""
    rate = {}
    for n in (1, gpus):
        out = fine_tuned(folder, f"speed {n}", tokens, n, kind="rate")
        told = read_json(out.parent / "finetune.provenance.json")["tokens_per_second"][1:]
        rate[n] = statistics.median(told)
        print(f"    {n} GPUs: {rate[n] / 1e6:.3f} M real tokens/s", flush=True)
        print(f"        from {min(told) / 1e6:.3f} to {max(told) / 1e6:.3f}")
    print(f"    ratio {rate[gpus] / rate[1]:.2f}", flush=True)


def losses(folder: Path, tokens: int, gpus: int) -> None:
    """Print how far the loss curves of one GPU, several, and killed runs are apart."""
    whole = {n: history(folder, f"whole {n}", tokens, n) for n in (1, gpus)}
    first, last = whole[1]["loss"].iloc[[0, -1]]
    print(f"    loss on one GPU: {first:.3f} to {last:.3f} in {STEPS['loss']} steps")
    print(f"    {gpus} GPUs against one: {apart(whole[1], whole[gpus])}", flush=True)
    again = history(folder, "again", tokens, 1)
    print(f"    one GPU, the same again: {apart(whole[1], again)}", flush=True)
    for n in (1, gpus):
        resumed = history(folder, f"killed {n}", tokens, n, kill_after=STEPS["loss"] // 2)
        print(f"    {n} GPUs, killed and resumed: {apart(whole[n], resumed)}", flush=True)


def main(sizes: list[int], gpus: int, only: str | None) -> None:
    print(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, torch", torch.__version__)
    for tokens in sizes:
        print(f"== {CELLS[tokens]} cells a step of up to {tokens} tokens", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            write_cohort(Path(temporary), tokens)
            if only != "losses":
                speeds(Path(temporary), tokens, gpus)
            if tokens == sizes[0] and only != "rates":
                losses(Path(temporary), tokens, gpus)
