"""Pruning single weights: scsw's suffix pass of changes against editing the weight and rerunning.

    python -m benchmarks.ablation [--size demo half full] [--cpu]

Both sides give the cell-type logits of the same cells under the same edits, one after the other in
this process. The peer is the published way (Yu et al. 2024): edit the weight, run the whole model,
restore; the model is the untouched `scgpt.model.TransformerModel` on padded cells, in float32 and,
on a GPU, under fp16 autocast, as scGPT's tutorials run it; scsw's changes are in bf16 there. Edits
are random scalars of linear2, as many in every block. The third number is the effect: how the
changes of the cells' NLL rank beside those of the stock model in float64 (Spearman over edits and
cells).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

import scsw.scgpt  # noqa: F401  (makes `import scgpt` possible)
from benchmarks.model import CLS, N_CLS, PAD, VOCABULARY, cells_like
from scsw.scgpt.model import encoder_layers, exchange_layers
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.training.micro_batches import cells_of
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.pruning.ablation import Readout, ablated, half_layers
from scsw.superweight.pruning.edits import GROUP, Edit, groups_of_edits
from scsw.superweight.pruning.intact import intact_pass, parts_of

SIZES = {
    "demo": {"d": 64, "heads": 4, "blocks": 4, "tokens": 96, "cells": 32},
    "half": {"d": 256, "heads": 8, "blocks": 6, "tokens": 300, "cells": 16},
    "full": {"d": 512, "heads": 8, "blocks": 12, "tokens": 1200, "cells": 32},
}
ROUNDS = 3
PER_BLOCK = {"cuda": 128, "cpu": GROUP}  # `scsw prune` has 1,000 and more
# Edits of a group, and in all, that the peer reruns; its time per edit is the same for all.
RERUN, MOST_RERUNS = 4, 192


def stock_model(size: dict[str, int]) -> nn.Module:
    from scgpt.model import TransformerModel

    torch.manual_seed(0)
    model = TransformerModel(
        VOCABULARY, size["d"], size["heads"], size["d"], size["blocks"], 3, N_CLS,
        {"<pad>": PAD, "<cls>": CLS}, 0.2, "<pad>", -2, do_mvc=True,
    )  # fmt: skip
    return model.eval()


def random_edits(size: dict[str, int], per_block: int) -> list[Edit]:
    rng = np.random.default_rng(0)
    places = [
        (block, *map(int, rng.integers(size["d"], size=2)))
        for block in range(size["blocks"])
        for _ in range(per_block)
    ]
    return [
        Edit(candidate_id("ffn_down", *place), "random", "zero", "ffn_down", *place)
        for place in places
    ]


@torch.no_grad()
def rerun(model: nn.Module, batch, edits: list[Edit]) -> Tensor:
    """Return the logits of the model with each weight set to zero, (edits, cells, types)."""
    found = []
    for edit in edits:
        weight = model.transformer_encoder.layers[edit.block].linear2.weight
        original = weight[edit.row, edit.column].clone()
        weight[edit.row, edit.column] = 0.0
        found.append(model(batch.genes, batch.values, batch.padding, CLS=True)["cls_output"])
        weight[edit.row, edit.column] = original
    return torch.stack(found)


@torch.no_grad()
def suffix(
    model: nn.Module, packed: PackedBatch, groups: list[list[Edit]], device: torch.device
) -> Tensor:
    """Return the changes of the logits, in the groups' order, (edits, cells, types)."""
    half = device.type == "cuda"
    layers = half_layers(model) if half else encoder_layers(model)
    readout, found = Readout(model), []
    for part in parts_of(packed.lengths, model.d_model, GROUP, device):
        cells = cells_of(packed, part.start, part.stop).to(device)
        intact = intact_pass(model, cells)
        intact = intact.in_half() if half else intact
        changes = torch.cat([ablated(layers, intact, group).cells for group in groups])
        found.append(readout.types(intact.cells, changes)[1])
    return torch.cat(found, 1)


def nll_change(intact: Tensor, change: Tensor, labels: Tensor) -> np.ndarray:
    intact, changed = intact.double(), intact.double() + change.double()
    labels = labels.expand(len(change), -1).flatten()
    after = F.cross_entropy(changed.flatten(0, 1), labels, reduction="none").view(len(change), -1)
    before = F.cross_entropy(intact, labels[: len(intact)], reduction="none")
    return (after - before).cpu().numpy()


def seconds(run: Callable[[], Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def contest(name: str, device: torch.device) -> None:
    size = SIZES[name]
    stock = stock_model(size).to(device)
    packed = cells_like(size["tokens"], size["cells"], 0)
    batch = packed.padded(PAD, -2).to(device)
    groups = groups_of_edits(random_edits(size, PER_BLOCK[device.type]))
    edits = [edit for group in groups for edit in group]
    step = max(GROUP // RERUN, len(edits) // MOST_RERUNS)
    few = edits[::step]
    ours = exchange_layers(stock_model(size)).to(device)

    def peer(half: bool, edits: list[Edit]) -> Tensor:
        with torch.autocast("cuda", torch.float16, enabled=half):
            return rerun(stock, batch, edits)

    on_gpu, some = device.type == "cuda", few[:: len(few) // 12]
    halves = {"fp16": (lambda: peer(True, few), len(few))} if on_gpu else {}
    peers = {**halves, "float32": (lambda: peer(False, some), len(some))}
    runs = {
        **{f"edit, rerun, restore (stock, {name})": run for name, run in peers.items()},
        "suffix of changes (scsw)": (
            lambda: suffix(ours, packed, groups, device),
            len(groups) * GROUP,
        ),
    }
    print(f"== {name}: {size}, {packed.n_tokens} real tokens of {batch.genes.numel()}", flush=True)
    each = {}
    for label, (run, n) in runs.items():
        run()  # compiles
        best = min(seconds(run, device) for _ in range(ROUNDS))
        each[label] = best / n / size["cells"]
        print(f"    {label}: {1e3 * each[label]:.4f} ms per edit and cell", flush=True)
    *stock_ms, our_ms = each.values()
    ratios = ", ".join(
        f"{name} {ms / our_ms:.2f}" for name, ms in zip(peers, stock_ms, strict=True)
    )
    print(f"    ratio to stock in {ratios}", flush=True)

    double = stock_model(size).to(device).double()
    batch.values = batch.values.double()
    with torch.no_grad():
        base = double(batch.genes, batch.values, batch.padding, CLS=True)["cls_output"]
    true = nll_change(base, rerun(double, batch, few) - base, batch.labels)
    found = nll_change(base, suffix(ours, packed, groups, device)[::step], batch.labels)
    batch.values = batch.values.float()
    with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=on_gpu):
        intact = stock(batch.genes, batch.values, batch.padding, CLS=True)["cls_output"]
    theirs = nll_change(intact, peer(on_gpu, few) - intact, batch.labels)
    error = np.abs(found - true).max() / np.abs(true).max()
    if device.type == "cuda":
        print(f"    memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    print(f"    changes of the NLL: {np.abs(true).mean():.1e} nats on average")
    print(f"    Spearman with float64: scsw {rank(found, true)}, stock {rank(theirs, true)}")
    print(f"    largest error of scsw over the largest change: {error:.1e}", flush=True)


def rank(found: np.ndarray, true: np.ndarray) -> str:
    """Return the rank correlations over edits and cells, and over edits (mean over cells)."""
    one = spearmanr(found.ravel(), true.ravel()).statistic
    mean = spearmanr(found.mean(1), true.mean(1)).statistic
    return f"{one:.4f} ({mean:.4f} of means over cells)"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["demo", "half"])
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    device = torch.device("cpu" if given.cpu or not torch.cuda.is_available() else "cuda")
    print(torch.cuda.get_device_name() if device.type == "cuda" else "CPU, 1 thread")
    print("torch", torch.__version__)
    for size in given.size:
        contest(size, device)
