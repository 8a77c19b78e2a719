"""A candidate's channel in later blocks, against forward passes by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scsw.superweight.paths import follow, persistence
from tests.superweight.test_find import D, batches, network, plant

RUN = {"forward": lambda m, batch: m(batch[0]), "token_mask": lambda batch: batch[1]}


def test_amplitudes_are_those_of_a_forward_pass_by_hand():
    model, data = network(), batches()
    plant(model[0], 4, 9)
    candidates = pd.DataFrame(
        {"module": ["0.down", "1.down"], "block": [0, 1], "row": [4, 2], "column": [9, 3]}
    )
    points = {f"{b}.out": (model[b].norm, "output") for b in range(2)}
    points |= {f"{b}.pre_norm2": (model[b].norm, "input") for b in range(2)}
    table = follow(model, data, candidates, points, **RUN)
    assert (table["block"] >= table["candidate"]).all() and len(table) == 4 + 2

    @torch.no_grad()
    def by_hand():
        found = {}
        for x, mask in data:
            for block in range(2):
                total = x + model[block].down(torch.relu(model[block].up(x)))
                x = model[block].norm(total)
                for site, at in ((f"{block}.pre_norm2", total), (f"{block}.out", x)):
                    found.setdefault(site, []).append(at[mask].abs().amax(0))
        return {site: torch.stack(each).amax(0) for site, each in found.items()}

    intact = by_hand()
    for number, candidate in candidates.iterrows():
        weight = model.get_submodule(candidate["module"]).weight
        old = weight[candidate["row"], candidate["column"]].item()
        with torch.no_grad():
            weight[candidate["row"], candidate["column"]] = 0.0
        pruned = by_hand()
        with torch.no_grad():
            weight[candidate["row"], candidate["column"]] = old
        for own in table[table["candidate"] == number].itertuples():
            for sizes, amplitude, rank in (
                (intact, own.amplitude, own.rank),
                (pruned, own.amplitude_pruned, own.rank_pruned),
            ):
                of_site = sizes[f"{own.block}.{own.site}"]
                size = of_site[candidate["row"]]
                assert amplitude == pytest.approx(size.item(), rel=1e-5)
                assert rank == 1 + (of_site > size).sum().item()
    first = table.iloc[0]
    assert first["amplitude"] > first["amplitude_pruned"]


def ranks(values, site="out", start=0):
    return pd.DataFrame({"block": np.arange(len(values)) + start, "site": site, "rank": values})


@pytest.mark.parametrize(
    ("values", "onset", "expected"),
    [
        ([1, 1, 1, 1], 0, (3, 1.0)),
        ([1, 1, 2, 1], 0, (1, 2 / 3)),  # a gap ends it, but the share counts what comes after
        ([2, 1, 1], 0, (-1, 1.0)),
        ([1, 2, 2], 0, (0, 0.0)),
        ([5, 5, 1, 1, 3], 2, (3, 0.5)),
    ],
)
def test_persistence(values, onset, expected):
    path = pd.concat([ranks(values), ranks([9] * len(values), site="pre_norm2")])
    last, share = persistence(path.sample(frac=1, random_state=0), onset, "out")
    assert (last, share) == (expected[0], pytest.approx(expected[1]))


def test_the_last_block_has_no_later_ones():
    last, share = persistence(ranks([1], start=7), 7, "out")
    assert last == 7 and np.isnan(share)
    last, share = persistence(ranks([2], start=7), 7, "out")
    assert last == -1 and np.isnan(share)


def test_hidden_hooks_are_an_error():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.norm = nn.Linear(D, D), nn.LayerNorm(D)

        def forward(self, x):
            return nn.functional.linear(x, self.down.weight, self.down.bias)

    candidates = pd.DataFrame({"module": ["down"], "block": [0], "row": [0], "column": [0]})
    model = Hidden()
    with pytest.raises(RuntimeError, match=r"0\.out"):
        follow(model, batches(), candidates, {"0.out": (model.norm, "output")}, **RUN)
