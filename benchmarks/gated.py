"""What the search finds in a small Llama that nothing is planted in.

    python -m benchmarks.gated

Three blocks of 64 channels learn bigram-backcopy, in which attention sinks and large activations
arise by themselves (Guo et al. 2024, arXiv:2410.13835): tokens of a Markov chain, but after one of
three triggers the token before it comes again. Needs `transformers`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from scsw.superweight.ablate import ablate
from scsw.superweight.find import find_candidates

VOCABULARY, LENGTH, TRIGGERS, STEPS = 64, 64, (1, 2, 3), 1500
DOWNS = [f"model.layers.{block}.mlp.down_proj" for block in range(3)]


def chain() -> np.ndarray:
    """Return the cumulative probabilities of the token that follows, (tokens, tokens - 1)."""
    rng = np.random.default_rng(0)
    often = rng.permutation(1 / np.arange(1, VOCABULARY))
    often /= often.sum()
    return (0.7 * rng.dirichlet(8 * often, VOCABULARY) + 0.3 * often).cumsum(1)


def sequences(n: int, rng: np.random.Generator, following: np.ndarray) -> Tensor:
    """Return token ids that begin with 0, int64, shape (n, LENGTH)."""
    x = np.zeros((n, LENGTH), np.int64)
    x[:, 1] = rng.integers(1, VOCABULARY, n)
    for t in range(2, LENGTH):
        last = x[:, t - 1]
        drawn = 1 + (rng.random((n, 1)) > following[last]).sum(1).clip(max=VOCABULARY - 2)
        x[:, t] = np.where(np.isin(last, TRIGGERS) & (t > 2), x[:, t - 2], drawn)
    return torch.from_numpy(x)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    logits = model(input_ids=x).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), x[:, 1:].flatten())


def trained(following: np.ndarray) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 128}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=3, num_attention_heads=4))
    rng, fastest = np.random.default_rng(1), 2e-3
    optimiser = torch.optim.AdamW(model.parameters(), fastest, (0.9, 0.99), weight_decay=0)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = fastest * min(1, step / 200) * (1 - 0.9 * step / STEPS)
        optimiser.zero_grad()
        loss(model, sequences(24, rng, following)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


@torch.no_grad()
def main() -> None:
    following = chain()
    with torch.enable_grad():
        model = trained(following)
    shown, test = (sequences(n, np.random.default_rng(n), following) for n in (32, 64))
    found = find_candidates(
        model,
        [shown],
        DOWNS,
        forward=lambda m, x: m(input_ids=x),
        token_mask=lambda x: torch.ones(x.shape, dtype=torch.bool),
        max_candidates=10**6,
    )
    spikes = found[found["found_by"] == "spike"]
    units = spikes.groupby(["block", "column"]).size().sort_values(ascending=False)
    print(f"{len(spikes)} spikes of {len(units)} hidden units in {found['iteration'].max()} rounds")
    print(units.head().to_string())
    columns = ["module", "row", "column", "spike_ratio", "contribution", "residual_share"]
    print(spikes[columns].head().round(2).to_string())
    intact = loss(model, test).item()
    rng = np.random.default_rng(2)
    drawn = [
        (DOWNS[1], int(r), int(c))
        for r, c in zip(rng.integers(64, size=100), rng.integers(128, size=100), strict=True)
    ]
    weights = [list(each) for each in spikes[["module", "row", "column"]].to_numpy()]
    print(f"loss {intact:.4f}")
    for name, sets in {
        "each of the first 20": [[w] for w in weights[:20]],
        "each of 100 random weights of block 1": [[w] for w in drawn],
        "all spikes together": [weights],
    }.items():
        rises = []
        for edits in sets:
            with ablate(model, edits):
                rises.append(loss(model, test).item() / intact - 1)
        print(f"{name}: rise {min(rises):+.3%} to {max(rises):+.3%}")


if __name__ == "__main__":
    main()
