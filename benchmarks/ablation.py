"""Pruning one scalar: scsw's grouped suffix pass against zero-and-rerun with the stock model.

    python -m benchmarks.ablation [--size demo|half]

Both sides give the cell-type logits of the same cells under the same edits, in float32, with the
same number of threads, one after the other in this process. The peer is the published way (Yu et
al. 2024): edit the weight, run the whole package model, restore.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

from scsw.scgpt.model import exchange_layers
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.superweight.ablation import GROUP, Edit, groups_of_edits, logits, prefix

SIZES = {
    "demo": {"d": 64, "heads": 4, "blocks": 4, "tokens": 96, "cells": 32},
    "half": {"d": 256, "heads": 8, "blocks": 6, "tokens": 300, "cells": 16},
}


def stock_model(size: dict[str, int]) -> torch.nn.Module:
    from scgpt.model import TransformerModel

    vocabulary = {"<pad>": 0, "<cls>": 1}
    torch.manual_seed(0)
    model = TransformerModel(
        2000, size["d"], size["heads"], size["d"], size["blocks"], 3, 12, vocabulary, 0.2,
        "<pad>", -2, do_mvc=True,
    )  # fmt: skip
    return model.eval()


def random_batch(size: dict[str, int]) -> TokenBatch:
    """Return cells of which 30 % of the tokens are padding on average."""
    generator = torch.Generator().manual_seed(1)
    shape = size["cells"], size["tokens"]
    lengths = torch.randint(
        int(0.4 * size["tokens"]), size["tokens"] + 1, shape[:1], generator=generator
    )
    lengths[0] = size["tokens"]
    padding = torch.arange(size["tokens"]) >= lengths[:, None]
    genes = torch.randint(2, 2000, shape, generator=generator).masked_fill(padding, 0)
    values = torch.randint(1, 51, shape, generator=generator).float().masked_fill(padding, -2.0)
    nothing = torch.zeros(shape, dtype=torch.bool)
    cells = torch.arange(size["cells"])
    return TokenBatch(cells, genes, values, values, padding, nothing, cells % 12)


def random_edits(size: dict[str, int], per_block: int) -> list[Edit]:
    rng = np.random.default_rng(0)
    return [
        Edit(f"e{i:03d}", "random", "zero", block, *map(int, rng.integers(size["d"], size=2)))
        for block in range(size["blocks"])
        for i in range(per_block)
    ]


@torch.no_grad()
def rerun(model: torch.nn.Module, batch: TokenBatch, edits: list[Edit]) -> torch.Tensor:
    found = []
    for edit in edits:
        weight = model.transformer_encoder.layers[edit.block].linear2.weight
        original = weight[edit.row, edit.column].item()
        weight[edit.row, edit.column] = 0.0
        found.append(model(batch.genes, batch.values, batch.padding, CLS=True)["cls_output"])
        weight[edit.row, edit.column] = original
    return torch.stack(found)


def suffix(model: torch.nn.Module, batch: TokenBatch, edits: list[Edit]) -> torch.Tensor:
    start = prefix(model, batch)
    groups = groups_of_edits(edits)
    return torch.cat([logits(model, start, group)[: len(group)] for group in groups])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="demo")
    size = SIZES[parser.parse_args().size]
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    stock = stock_model(size)
    batch, edits = random_batch(size), random_edits(size, GROUP - 1)
    times: dict[str, list[float]] = {"zero-and-rerun, stock": [], "suffix, scsw": []}
    for _ in range(3):
        started = time.perf_counter()
        expected = rerun(stock, batch, edits)
        times["zero-and-rerun, stock"].append(time.perf_counter() - started)
    ours = exchange_layers(stock)
    for _ in range(3):
        started = time.perf_counter()
        found = suffix(ours, batch, edits)
        times["suffix, scsw"].append(time.perf_counter() - started)
    order = sorted(edits, key=lambda e: (e.block, e.name))
    expected = expected[[edits.index(edit) for edit in order]]
    print(f"size {size}, {len(edits)} edits, 1 thread, torch {torch.__version__}")
    for name, seconds in times.items():
        each = 1e3 * min(seconds) / len(edits) / size["cells"]
        print(f"{name}: {min(seconds):.2f} s, {each:.3f} ms per edit and cell")
    best = [min(seconds) for seconds in times.values()]
    print(f"ratio: {best[0] / best[1]:.1f}")
    print(f"largest difference of a logit: {(found - expected).abs().max():.1e}")


if __name__ == "__main__":
    main()
