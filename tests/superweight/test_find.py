"""The search core on networks whose answer is known."""

import pytest
import torch
from torch import nn

from scsw.superweight.find import find_candidates

D, HIDDEN = 12, 20


class Block(nn.Module):
    """x -> norm(x + down(relu(up(x)))), as in a post-norm encoder."""

    def __init__(self, down=None):
        super().__init__()
        self.up = nn.Linear(D, HIDDEN)
        self.down = down or nn.Linear(HIDDEN, D)
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        return self.norm(x + self.down(torch.relu(self.up(x))))


class Conv1D(nn.Module):
    """Hugging Face's GPT-2 layer: the weight is stored as (input, output)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(HIDDEN, D) * 0.1)
        self.bias = nn.Parameter(torch.zeros(D))

    def forward(self, x):
        return x @ self.weight + self.bias


def network(*blocks, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*(blocks or [Block(), Block()])).eval()


def batches(seed=1, n=3):
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        mask = torch.ones(4, 7, dtype=torch.bool)
        mask[1, 5:] = False
        found.append((torch.randn(4, 7, D, generator=generator), mask))
    return found


def find(model, data=None, names=("0.down", "1.down"), **settings):
    return find_candidates(
        model,
        data or batches(),
        list(names),
        forward=lambda m, batch: m(batch[0]),
        token_mask=lambda batch: batch[1],
        **{"spike_ratio": 20.0, "max_candidates": 10} | settings,
    )


def plant(block, row, column, value=60.0, bias=1.0):
    with torch.no_grad():
        block.down.weight[(column, row) if isinstance(block.down, Conv1D) else (row, column)] = (
            value
        )
        block.up.bias[column] = bias


def test_a_planted_spike_is_found_first_and_the_model_restored():
    model = network()
    plant(model[1], 4, 9)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    best = find(model, sums=["0.norm", "1.norm"]).iloc[0]
    assert (best["block"], best["row"], best["column"]) == (1, 4, 9)
    assert best["weight"] == 60 and best["spike_ratio"] > 20
    assert best["contribution"] > 0.8 and best["residual_share"] < 0.1
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())


def test_the_share_is_that_of_the_closed_form():
    model = network(Block())
    plant(model[0], 4, 9)
    data = batches(n=1)
    best = find(model, data, ["0.down"], sums=["0.norm"]).iloc[0]
    x = data[0][0][int(best["cell"]), int(best["token"])]
    h = torch.relu(model[0].up(x))
    terms = (model[0].down.weight[4] * h).detach()
    total = terms.abs().sum() + model[0].down.bias[4].abs() + x[4].abs()
    assert best["contribution"] == pytest.approx(float(terms[9] / total), rel=1e-5)
    assert best["residual_share"] == pytest.approx(float(x[4].abs() / total), rel=1e-5)


def test_two_weights_that_mask_one_another_are_both_found():
    model = network()
    plant(model[0], 4, 9, value=80.0)
    plant(model[0], 4, 11, value=3.0)  # below the share while the other stands
    found = find(model, max_iterations=3, spike_ratio=15.0, min_share=0.2)
    first = found[(found["row"] == 4) & (found["block"] == 0)].set_index("column")["iteration"]
    assert first[9] == 1
    assert first[11] == 2


def test_a_spike_on_padding_alone_is_not_found():
    model = network(Block())
    data = batches()
    for x, mask in data:
        x[~mask] = 1e4
    assert find(model, data, ["0.down"])["spike_ratio"].max() < 20


def test_a_spike_in_gamma_alone_is_not_blamed_on_the_down_projection():
    model = network()
    with torch.no_grad():
        model[0].norm.weight[3] = 500.0
    found = find(model)
    assert found[found["block"] == 0]["spike_ratio"].max() < 20


def test_a_transposed_weight_has_the_same_rows_and_columns():
    model = network(Block(Conv1D()), Block())
    plant(model[0], 4, 9)
    best = find(model).iloc[0]
    assert (best["block"], best["row"], best["column"]) == (0, 4, 9)


def test_a_fused_path_that_hides_hooks_is_an_error():
    class Fused(Block):
        def forward(self, x):
            hidden = torch.relu(self.up(x))
            return self.norm(x + nn.functional.linear(hidden, self.down.weight, self.down.bias))

    with pytest.raises(RuntimeError, match="hooks"):
        find(network(Block(), Fused()))


def test_a_model_without_spikes_still_gives_a_full_family():
    found = find(network())
    assert len(found) == 10
    assert found["spike_ratio"].max() < 20
    assert not found.duplicated(["block", "row", "column"]).any()


def test_the_batching_does_not_matter():
    model = network()
    plant(model[0], 2, 3)
    whole = batches(n=2)
    split = [(x[i : i + 1], m[i : i + 1]) for x, m in whole for i in range(4)]
    columns = ["block", "row", "column", "iteration"]
    a, b = find(model, whole), find(model, split)
    assert a[columns].equals(b[columns])
    assert a["spike_ratio"].to_numpy() == pytest.approx(b["spike_ratio"].to_numpy(), rel=1e-6)


def test_no_batches_is_an_error():
    with pytest.raises((RuntimeError, ValueError), match=r"batches|hooks"):
        find_candidates(
            network(),
            [],
            ["0.down"],
            forward=lambda m, b: m(b[0]),
            token_mask=lambda b: b[1],
        )
