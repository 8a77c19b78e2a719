"""The search core on networks whose answer is known."""

import pytest
import torch
from torch import nn

from scsw.superweight.capture import capture
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


class Fused(Block):
    def forward(self, x):
        hidden = torch.relu(self.up(x))
        return self.norm(x + nn.functional.linear(hidden, self.down.weight, self.down.bias))


def test_a_fused_path_that_hides_hooks_is_an_error():
    with pytest.raises(RuntimeError, match="hooks"):
        find(network(Block(), Fused()))


def test_a_fused_path_that_hides_every_hook_is_an_error_at_the_first_batch():
    ran = []
    model = network(Fused(), Fused())
    model[1].norm.register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(RuntimeError, match="these hooks saw nothing"):
        find(model, sums=[None, None])
    assert len(ran) == 1


def test_the_rounds_end_when_nothing_spikes_any_more():
    model, ran = network(), []
    model[1].norm.register_forward_hook(lambda *_: ran.append(1))
    find(model, sums=SUMS, max_iterations=9)
    assert len(ran) == 3  # one pass over three batches
    plant(model[1], 4, 9)
    ran.clear()
    assert find(model, sums=SUMS, max_iterations=9).iloc[0]["found_by"] == "spike"
    assert len(ran) == 6


def test_the_hooks_that_fired_are_counted_and_none_is_left():
    model, data = network(), batches()
    points = {
        f"{b}.{s}": (model[b].get_submodule(s), "output") for b in (0, 1) for s in ("up", "down")
    }
    shapes = []
    with capture(points, lambda name, x: shapes.append((name, x.shape))) as fired:
        assert set(fired.values()) == {0}
        for x, _ in data:
            model(x)
        assert fired == dict.fromkeys(points, 3)
    assert len(shapes) == 12 and shapes[0] == ("0.up", (4, 7, HIDDEN))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model(data[0][0])
    assert len(shapes) == 12
    with pytest.raises(RuntimeError, match="unequally"), capture(points, lambda *_: None):
        model[0](data[0][0])


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


SUMS = ["0.norm", "1.norm"]


def test_a_generator_of_batches_gives_the_same_as_a_list():
    model = network()
    plant(model[1], 4, 9)
    assert find(model, (batch for batch in batches())).equals(find(model, batches()))


def test_the_norms_are_found_as_if_named():
    model = network()
    plant(model[1], 4, 9)
    assert find(model).equals(find(model, sums=SUMS))


def test_a_spike_of_the_sum_alone_has_the_site_pre_norm2():
    class Quiet(Block):
        """Its residual is tiny but for one channel, so that the sums' median is the outputs'."""

        def forward(self, x):
            return self.norm(x + self.down(torch.relu(self.up(torch.ones_like(x)))))

    model, data = network(Quiet()), batches()
    with torch.no_grad():
        model[0].down.weight[:] = 0.0
        model[0].down.weight[torch.arange(D), torch.arange(D)] = 1.0
        model[0].up.weight[:] = 0.0
        model[0].up.bias[:] = 1.0
        model[0].down.bias[:] = 0.0
        model[0].down.weight[4, 4] = 15.0
    for x, _ in data:
        x[:] = 0.0
        x[..., 4] = 10.0
    best = find(model, data, ["0.down"]).iloc[0]
    assert (best["row"], best["column"], best["site"]) == (4, 4, "pre_norm2")
    assert best["found_by"] == "spike"
    # Closed form: (15 + 10) medians of 1, of which the weight makes 15.
    assert best["spike_ratio"] == pytest.approx(25, rel=0.04)
    assert best["contribution"] == pytest.approx(0.6) and best["residual_share"] == pytest.approx(
        0.4
    )
    assert (find(model, data, ["0.down"], sums=[None])["found_by"] == "below_rule").all()


def test_what_the_residual_drives_is_below_the_rule():
    model, data = network(Block()), batches()
    for x, _ in data:
        x[..., 4] = 500.0
    with torch.no_grad():
        model[0].up.weight[:, 4] = 0.0
    found = find(model, data, ["0.down"], max_candidates=100)
    own = found[(found["row"] == 4) & (found["site"] == "pre_norm2")]
    assert len(own) and (own["spike_ratio"] > 20).all()
    assert (own["found_by"] == "below_rule").all() and (own["residual_share"] > 0.9).all()


def test_a_loop_of_three_rounds_removes_nothing_for_good():
    model = network(Block(), Block())
    for column, value in ((9, 3000.0), (11, 300.0), (13, 30.0)):
        plant(model[0], 4, column, value=value)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = find(model, min_share=0.3, spike_ratio=12.0, max_candidates=50)
    rounds = found[(found["block"] == 0) & (found["row"] == 4)].set_index("column")["iteration"]
    assert rounds[[9, 11, 13]].tolist() == [1, 2, 3]
    spikes = found[found["found_by"] == "spike"]
    assert {9, 11, 13} <= set(spikes.loc[spikes["row"] == 4, "column"])
    assert (found["weight"] != 0).all()  # the values of the intact model
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())
    one = find(model, min_share=0.3, spike_ratio=12.0, max_candidates=50, max_iterations=1)
    assert (one["iteration"] == 1).all()


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**-6, 2.0**7, 2.0**25])
def test_the_stop_rule_is_relative(scale):
    model = network(Block())
    plant(model[0], 4, 9)
    data = batches()
    plain = find(model, data, ["0.down"])
    with torch.no_grad():
        for parameter in (model[0].up.bias, model[0].down.bias):
            parameter *= scale
    scaled = find(model, [(x * scale, m) for x, m in data], ["0.down"])
    same = ["block", "row", "column", "site", "found_by", "iteration", "batch", "cell", "token"]
    assert scaled[same].equals(plain[same])
    for name in ("spike_ratio", "hidden_ratio", "contribution", "residual_share"):
        assert scaled[name].to_numpy() == pytest.approx(plain[name].to_numpy(), rel=1e-5)


def test_ties_are_in_the_order_of_their_places():
    model = network(Block())
    with torch.no_grad():
        model[0].down.weight[:] = 0.0
        model[0].down.bias[:] = 0.0
        model[0].down.weight[:, 7] = 1.0
        model[0].up.bias[7] = 3.0
    found = find(model, names=["0.down"], sums=[None], max_candidates=50)
    assert found["row"].tolist() == list(range(D)) and set(found["column"]) == {7}
    assert found["contribution"].tolist() == [1.0] * D
    assert found.equals(find(model, names=["0.down"], sums=[None], max_candidates=50))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_activations_that_are_no_numbers_are_an_error(bad):
    model, data = network(), batches()
    data[1][0][0, 2, 3] = bad
    with pytest.raises(ValueError, match="no finite numbers"):
        find(model, data)


def test_padding_that_is_no_number_does_not_matter():
    model, data = network(Block()), batches()
    plain = find(model, data, ["0.down"])
    for x, mask in data:
        x[~mask] = torch.nan
    assert find(model, data, ["0.down"]).equals(plain)


def test_a_model_in_train_mode_is_searched_in_eval_mode_and_keeps_its_own():
    model = network(Block(), Block())
    model[0].up = nn.Sequential(model[0].up, nn.Dropout(0.5))
    expected = find(model, sums=SUMS)
    model.train()
    model[1].norm.eval()
    assert find(model, sums=SUMS).equals(expected) and find(model).equals(expected)
    assert [m.training for m in model.modules()] == [
        m is not model[1].norm for m in model.modules()
    ]


def test_a_spike_among_zeros_is_found():
    model = network()
    with torch.no_grad():
        for parameter in (model[0].down.weight, model[0].down.bias):
            parameter.zero_()
    plant(model[0], 4, 9)
    # A single channel is not 0: its own median is all there is to measure it by.
    with torch.no_grad():
        model[0].down.weight[:4] = 1e-3
    best = find(model).iloc[0]
    assert (best["block"], best["row"], best["column"]) == (0, 4, 9)
    assert best["found_by"] == "spike"


def test_a_module_that_runs_twice_is_an_error():
    block = Block()
    with pytest.raises(RuntimeError, match="twice"):
        find(network(block, block), names=["0.down"])


def test_packed_tokens_give_the_same_as_padded_ones():
    model = network()
    plant(model[1], 4, 9)
    packed = find_candidates(
        model,
        batches(),
        ["0.down", "1.down"],
        forward=lambda m, batch: m(batch[0][batch[1]]),
        token_mask=lambda batch: batch[1],
        max_candidates=10,
    )
    padded = find(model)
    same = ["block", "row", "column", "batch", "cell", "token", "found_by"]
    assert packed[same].equals(padded[same])


def test_tokens_that_the_mask_does_not_describe_are_an_error():
    with pytest.raises(RuntimeError, match="token mask"):
        find_candidates(
            network(),
            batches(),
            ["0.down"],
            forward=lambda m, batch: m(batch[0][:, 1:]),
            token_mask=lambda batch: batch[1],
        )


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_torchs_own_encoder_is_seen_whole_or_refused(nested):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(D, 2, HIDDEN, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested).eval()
    with torch.no_grad():
        model.layers[1].linear2.weight[4, 9] = 60.0
        model.layers[1].linear1.bias[9] = 3.0
    data = batches()
    for x, mask in data:
        x[~mask] = 1e4

    def search(**settings):
        return find_candidates(
            model,
            data,
            ["layers.0.linear2", "layers.1.linear2"],
            forward=lambda m, batch: m(batch[0], src_key_padding_mask=~batch[1]),
            token_mask=lambda batch: batch[1],
            **settings,
        )

    for settings in ({}, {"sums": ["layers.0.norm2", "layers.1.norm2"]}, {"sums": [None, None]}):
        if nested:
            with pytest.raises(RuntimeError, match="nested tensor"):
                search(**settings)
            continue
        found = search(**settings)
        assert found.loc[0, ["block", "row", "column"]].tolist() == [1, 4, 9]
        assert all(data[r.batch][1][r.cell, r.token] for r in found.itertuples())
