"""Time scsw's packed forward pass and training step against the stock scGPT model.

    python -m benchmarks.model [--tokens 1200 3000] [--cpu | --gpus 2 [--only rates | losses]]

Both sides have the same weights (12 x 512 x 8, vocabulary 60,697) and see the same cells, of which
30 % of the tokens would be padding. *Stock* is the untouched ``scgpt.model.TransformerModel`` on
padded batches under fp16 autocast, as scGPT's tutorials run it; both sides compute masked
expression, MVC and classification, and both train with the same fused AdamW and gradient scaler.
Rates are real tokens per second, padding not counted. The deviations are from the stock model in
float32 on the same batch. With ``--cpu`` both run in float32 on four cells at a time.
With ``--gpus`` fine-tuning on several GPUs is compared with one, see `benchmarks.devices`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import scsw.scgpt  # noqa: F401  (makes `import scgpt` possible)
from benchmarks import devices
from scsw.scgpt.forward import forward_packed
from scsw.scgpt.model import exchange_layers
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.token_batch import TokenBatch

VOCABULARY = 60_697
PAD, CLS = VOCABULARY - 3, VOCABULARY - 2
N_BINS, N_CLS, MASK_RATIO, DROPOUT = 51, 20, 0.4, 0.2
BATCHES, ROUNDS, ROUNDS_ON_CPU = 4, 5, 2
CELLS, CELLS_ON_CPU = {1200: 64, 3000: 32}, 4


def stock_model(dropout: float) -> nn.Module:
    from scgpt.model import TransformerModel

    torch.manual_seed(0)
    vocabulary = {"<pad>": PAD, "<cls>": CLS}
    return TransformerModel(
        VOCABULARY, 512, 8, 512, 12, 3, N_CLS, vocabulary, dropout, "<pad>", -2, do_mvc=True
    )  # fmt: skip


def cells_like(tokens: int, n_cells: int, seed: int) -> PackedBatch:
    """Return cells of 40 to 100 % of `tokens`, the longest of them full.

    Some genes are detected in most cells and most in few, as in tissue: the frequencies fall off
    as a power of the rank, over 36,000 genes.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(int(0.4 * tokens), tokens + 1, n_cells)
    lengths[0] = tokens
    frequency = (np.arange(36_000) + 100.0) ** -0.7
    chosen = [
        np.concatenate(
            [[CLS], rng.choice(36_000, n - 1, replace=False, p=frequency / frequency.sum())]
        )
        for n in lengths
    ]
    offsets = np.concatenate([[0], lengths.cumsum()])
    target = rng.integers(1, N_BINS, offsets[-1]).astype(np.float32)
    target[offsets[:-1]] = 0
    hidden = rng.random(offsets[-1]) < MASK_RATIO
    hidden[offsets[:-1]] = False
    n = len(lengths)
    return PackedBatch(
        cells=torch.arange(n),
        lengths=lengths.tolist(),
        offsets=torch.from_numpy(offsets).int(),
        genes=torch.from_numpy(np.concatenate(chosen)),
        values=torch.from_numpy(np.where(hidden, np.float32(-1), target)),
        levels=torch.arange(-1, N_BINS).float(),
        target=torch.from_numpy(target),
        hidden=torch.from_numpy(np.flatnonzero(hidden)),
        labels=torch.from_numpy(rng.integers(0, N_CLS, n)),
        batch_labels=torch.zeros(n, dtype=torch.int64),
    )


def stock_forward(model: nn.Module, cells: TokenBatch) -> dict[str, Tensor]:
    return model(cells.genes, cells.values, cells.padding, CLS=True, MVC=True)


def stock_loss(model: nn.Module, cells: TokenBatch) -> Tensor:
    output = stock_forward(model, cells)
    hidden, n_hidden = cells.hidden, cells.hidden.sum()
    squared = sum(
        F.mse_loss(output[name].float() * hidden, cells.target * hidden, reduction="sum")
        for name in ("mlm_output", "mvc_output")
    )
    return 0.01 * squared / n_hidden + F.cross_entropy(output["cls_output"].float(), cells.labels)


def packed_loss(model: nn.Module, batch: PackedBatch, compiled: bool) -> Tensor:
    output = forward_packed(model, batch, mvc=True, decode=batch.hidden, compiled=compiled)
    target = batch.target[batch.hidden]
    squared = sum(F.mse_loss(output[name].float(), target) for name in ("mlm_output", "mvc_output"))
    return 0.01 * squared + F.cross_entropy(output["cls_output"].float(), batch.labels)


class Contest:
    """Both models and the same batches for both: on a GPU in fp16, on CPU in float32."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        n_cells = CELLS[tokens] if self.on_gpu else CELLS_ON_CPU
        packed = [cells_like(tokens, n_cells, seed) for seed in range(BATCHES)]
        self.packed = [batch.to(device) for batch in packed]
        self.padded = [batch.padded(PAD, -2).to(device) for batch in packed]
        self.real = sum(batch.n_tokens for batch in packed) / BATCHES
        self.stock = stock_model(DROPOUT).to(device)
        self.ours = exchange_layers(copy.deepcopy(self.stock))

    def autocast(self) -> torch.autocast:
        return torch.autocast("cuda", torch.float16, enabled=self.on_gpu)

    def forwards(self) -> dict[str, Callable[[int], object]]:
        """Return for each contestant a function that runs a batch, by its number."""

        def stock(number: int) -> object:
            with torch.no_grad(), self.autocast():
                return stock_forward(self.stock, self.padded[number])

        def ours(number: int) -> object:
            with torch.no_grad(), self.autocast():
                return forward_packed(
                    self.ours, self.packed[number], mvc=True, compiled=self.on_gpu
                )

        self.stock.eval(), self.ours.eval()
        return {"stock": stock, "scsw": ours}

    def steps(self) -> dict[str, Callable[[int], object]]:
        """Return for each contestant a function that makes an optimiser step on a batch."""
        self.stock.train(), self.ours.train()
        return {
            "stock": self._step(self.stock, lambda i: stock_loss(self.stock, self.padded[i])),
            "scsw": self._step(
                self.ours, lambda i: packed_loss(self.ours, self.packed[i], self.on_gpu)
            ),
        }

    def _step(self, model: nn.Module, loss_of: Callable[[int], Tensor]) -> Callable[[int], None]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        scaler = torch.amp.GradScaler("cuda", enabled=self.on_gpu)

        def step(number: int) -> None:
            optimizer.zero_grad(set_to_none=True)
            with self.autocast():
                loss = loss_of(number)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()

        return step


def seconds(
    work: dict[str, Callable[[int], object]], on_gpu: bool
) -> dict[str, tuple[float, float]]:
    """Return for each contestant its median seconds per batch and its peak GPU memory in GiB.

    The contestants take turns, so that a change of the processor's clock meets both.
    """
    times, memory = {name: [] for name in work}, dict.fromkeys(work, 0.0)
    batches = [number % BATCHES for number in range((2 if on_gpu else 1) * BATCHES)]
    for name, run in work.items():
        run_all(run, batches, on_gpu)  # compiles, and sees every batch once more
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            run(0)
            memory[name] = torch.cuda.max_memory_allocated() / 2**30
    for _ in range(ROUNDS if on_gpu else ROUNDS_ON_CPU):
        for name, run in work.items():
            times[name].append(run_all(run, batches, on_gpu) / len(batches))
    return {name: (statistics.median(times[name]), memory[name]) for name in work}


def run_all(run: Callable[[int], object], batches: list[int], on_gpu: bool) -> float:
    """Run the batches and return the seconds it took."""
    if on_gpu:
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for number in batches:
        run(number)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def deviations(contest: Contest) -> dict[str, tuple[float, float]]:
    """Return the largest deviations from the stock model in float32, of stock and of scsw in fp16.

    Outputs: the largest difference over the largest value, the worst of the outputs. Gradients,
    without dropout: the same for each parameter, the worst of them.
    """
    contest.stock.eval(), contest.ours.eval()
    cells, batch = contest.padded[0], contest.packed[0]
    real = ~cells.padding

    def outputs(half: bool, stock: bool) -> dict[str, Tensor]:
        with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=half):
            if not stock:
                return forward_packed(contest.ours, batch, mvc=True, compiled=True)
            found = stock_forward(contest.stock, cells)
        per_token = {name: found[name][real] for name in ("mlm_output", "mvc_output")}
        return per_token | {name: found[name] for name in ("cls_output", "cell_emb")}

    def gradients(half: bool, stock: bool) -> dict[str, Tensor]:
        model = contest.stock if stock else contest.ours
        model.zero_grad()
        with torch.autocast("cuda", torch.float16, enabled=half):
            loss = stock_loss(model, cells) if stock else packed_loss(model, batch, True)
        scale = 2.0**12 if half else 1.0
        (scale * loss).backward()
        found = {
            n: p.grad.float() / scale for n, p in model.named_parameters() if p.grad is not None
        }
        model.zero_grad()
        return found

    result = {}
    for what, of in (("outputs", outputs), ("gradients", gradients)):
        exact = of(False, True)
        found = [
            {name: error(other[name], exact[name]) for name in exact}
            for other in (of(True, True), of(True, False))
        ]
        worst = [max(each, key=each.get) for each in found]
        print(what, [(name, each[name]) for name, each in zip(worst, found, strict=True)])
        result[what] = tuple(max(each.values()) for each in found)
    return result


def error(found: Tensor, exact: Tensor) -> float:
    """Return the largest difference over the largest value."""
    return ((found.float() - exact).abs().max() / exact.abs().max()).item()


def matrix_rate() -> float:
    """Return the TFLOP/s of a large bf16 matrix product on this card."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(30):
        a @ b
    torch.cuda.synchronize()
    return 30 * 2 * 8192**3 / (time.perf_counter() - begun) / 1e12


def forward_flops(batch: PackedBatch) -> float:
    """Return the operations of the matrix products of one forward pass, per real token."""
    per_token = 12 * 2 * 6 * 512**2 + 2 * 3 * 512**2  # projections and feed-forward; decoders
    return per_token + 12 * 4 * 512 * sum(n * n for n in batch.lengths) / batch.n_tokens


def compare(contest: Contest, rate: float | None) -> None:
    """Time both contestants and print the result."""
    flops = forward_flops(contest.packed[0])
    for what, work, passes in (
        ("forward", contest.forwards, 1),
        ("training step", contest.steps, 3),
    ):
        found = seconds(work(), contest.on_gpu)
        speed = {name: contest.real / s / 1e6 for name, (s, _) in found.items()}
        print(
            f"{what}: stock {speed['stock']:.4g}, scsw {speed['scsw']:.4g} M real tokens/s, "
            f"ratio {speed['scsw'] / speed['stock']:.2f}",
            flush=True,
        )
        if rate:
            share = passes * flops * speed["scsw"] / rate / 1e6
            memory = [f"{found[name][1]:.1f}" for name in ("stock", "scsw")]
            print(f"    memory {' and '.join(memory)} GiB; scsw at {share:.0%} of the matrix rate")


def main(sizes: list[int], device: torch.device) -> None:
    on_gpu, rate = device.type == "cuda", None
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}")
    if on_gpu:
        rate = matrix_rate()
        print(f"a large bf16 matrix product: {rate:.0f} TFLOP/s")
    for tokens in sizes:
        contest = Contest(tokens, device)
        cells, real = len(contest.packed[0].cells), contest.real
        print(f"== {cells} cells of up to {tokens} tokens, {real:.0f} real a batch", flush=True)
        compare(contest, rate)
        if on_gpu:
            del contest
            found = deviations(Contest(tokens, device))
            print("largest deviation (stock fp16, scsw fp16):", found, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, nargs="+", default=[1200, 3000], choices=list(CELLS))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--only", choices=["rates", "losses"], help="with --gpus")
    given = parser.parse_args()
    if given.gpus > 1:
        devices.main(given.tokens, given.gpus, given.only)
    else:
        main(given.tokens, torch.device("cpu" if given.cpu else "cuda"))
