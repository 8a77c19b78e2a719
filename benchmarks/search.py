"""What the search's pass over the cells costs beside the forward pass that it watches.

    python -m benchmarks.search [--cpu]

A scGPT of 12 x 512 x 8 (CPU: 6 x 256 x 8) in float32 runs the same padded cells with and without
the statistics of every site: maxima, moments, histograms, by cell type, donor, region and token.
Cells of 40 to 100 % of the longest length, 1,200 tokens (CPU: 300). A pass takes 64 batches of 32
cells (CPU: 4 of 8), which are four different ones again and again. A short pass over these four
tells apart what a further batch costs and what a pass costs once, however many cells there are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import scsw.scgpt  # noqa: F401  (makes `import scgpt` possible)
from benchmarks.model import CLS, PAD, VOCABULARY, cells_like
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import exchange_layers
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.superweight.observe import observe
from scsw.superweight.search.discovery import cls_tokens, real_tokens, scgpt_blocks, scgpt_sites
from scsw.superweight.search.searched_model import MORE_SITES

GROUPINGS = {"cell_type": 24, "donor": 20, "region": 2}
BATCHES, ROUNDS = 4, 3
REPEATS_ON_GPU = 16


def model_of(d_model: int, blocks: int) -> nn.Module:
    from scgpt.model import TransformerModel

    torch.manual_seed(0)
    vocabulary = {"<pad>": PAD, "<cls>": CLS}
    stock = TransformerModel(
        VOCABULARY, d_model, 8, d_model, blocks, 3, 20, vocabulary, 0.2, "<pad>", -2, do_mvc=True
    )  # fmt: skip
    return exchange_layers(stock).eval()


class Contest:
    """One model and cells to run with and without statistics."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        cells, tokens, size = (32, 1200, (512, 12)) if self.on_gpu else (8, 300, (256, 6))
        self.model = model_of(*size).to(device)
        packed = [cells_like(tokens, cells, seed) for seed in range(BATCHES)]
        repeats = REPEATS_ON_GPU if self.on_gpu else 1
        self.once = [batch.padded(PAD, -2).to(device) for batch in packed]
        self.batches = self.once * repeats
        self.real = repeats * sum(batch.n_tokens for batch in packed)
        rng = np.random.default_rng(0)
        self.groups = {
            name: torch.from_numpy(rng.integers(n, size=cells)).to(device)
            for name, n in GROUPINGS.items()
        }
        blocks = scgpt_blocks(self.model)
        self.downs, self.sums = [b.down for b in blocks], [b.norms.after for b in blocks]

    def plain(self) -> None:
        with torch.no_grad():
            for batch in self.batches:
                forward_padded(self.model, batch)

    def peaks_only(self) -> None:
        self._observe(moments=False)

    def watched(self) -> None:
        self._observe(
            moments=True,
            more_sites=scgpt_sites(self.model, MORE_SITES),
            groupings=GROUPINGS,
            groups=self._groups,
            special=cls_tokens,
        )

    def _groups(self, batch: TokenBatch) -> dict[str, torch.Tensor]:
        return {name: group[: len(batch.cells)] for name, group in self.groups.items()}

    def _observe(self, **options: object) -> None:
        observe(
            self.model,
            self.batches,
            self.downs,
            self.sums,
            forward=forward_padded,
            token_mask=real_tokens,
            **options,
        )

    def seconds(self, run: Callable[[], None]) -> float:
        if self.on_gpu:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        run()
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - begun


def medians(
    contest: Contest, runs: dict[str, Callable[[], None]], batches: list[TokenBatch]
) -> dict[str, float]:
    contest.batches = batches
    rounds = [{name: contest.seconds(run) for name, run in runs.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in runs}


def main(device: torch.device) -> None:
    contest = Contest(device)
    name = torch.cuda.get_device_name() if contest.on_gpu else f"{torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {contest.real} real tokens")
    runs = {
        "forward pass": contest.plain,
        "rounds after the first": contest.peaks_only,
        "with all statistics": contest.watched,
    }
    whole, contest.batches = contest.batches, contest.once
    for run in runs.values():
        contest.seconds(run)  # compiles
    short = medians(contest, runs, contest.once) if len(whole) > BATCHES else {}
    for name, seconds in (long := medians(contest, runs, whole)).items():
        print(f"{name}: {seconds:.3f} s, {seconds / long['forward pass'] - 1:+.1%}")
        if name in short:
            each = (seconds - short[name]) / (len(whole) - BATCHES)
            print(f"  {each * 1e3:.1f} ms a batch, {short[name] - each * BATCHES:.3f} s once")
    if contest.on_gpu:
        print(f"memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", action="store_true")
    main(torch.device("cpu" if parser.parse_args().cpu else "cuda"))
