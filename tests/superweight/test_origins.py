"""What drives a spike, in post-norm and pre-norm blocks made by hand."""

import pytest
import torch
from torch import nn

from scsw.superweight.families import other_families
from scsw.superweight.find import find_candidates
from scsw.superweight.norms import norms_around
from scsw.superweight.observe import observe
from scsw.superweight.origins import BlockParts, _norm_parts, spike_origins

D, HIDDEN, CHANNEL = 16, 24, 5
N_BLOCKS = 2


class Mixer(nn.Module):
    """Stands for attention: each token reads its cell's mean through an output projection."""

    def __init__(self):
        super().__init__()
        self.values, self.out = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x):
        return self.out(self.values(x - x.mean(1, keepdim=True)))


class Block(nn.Module):
    """An encoder block, post-norm or pre-norm."""

    def __init__(self, pre):
        super().__init__()
        self.pre, self.mixer = pre, Mixer()
        self.up, self.down = nn.Linear(D, HIDDEN), nn.Linear(HIDDEN, D)
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, x):
        if self.pre:
            x = x + self.mixer(self.norm1(x))
            return x + self.down(self.up(self.norm2(x)).relu())
        x = self.norm1(x + self.mixer(x))
        return self.norm2(x + self.down(self.up(x).relu()))


class OnePlusRMSNorm(nn.Module):
    """As in Gemma: what is normalised is multiplied by 1 + weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(D))

    def forward(self, x):
        return x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt() * (1 + self.weight)


def network(pre=False):
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(pre) for _ in range(N_BLOCKS)), nn.LayerNorm(D)).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def batches(size=3, seed=1):
    x = torch.randn(6, 7, D, generator=torch.Generator().manual_seed(seed))
    return list(x.split(size))


RUN = {
    "forward": lambda m, batch: m(batch),
    "token_mask": lambda batch: torch.ones(batch.shape[:2], dtype=torch.bool),
}
DOWNS = [f"{block}.down" for block in range(N_BLOCKS)]


def traced(model, data=None, **rules):
    data = data or batches()
    around = norms_around(model, data[0], DOWNS, RUN["forward"])
    blocks = [
        BlockParts(d, n, f"{b}.mixer.out")
        for b, (d, n) in enumerate(zip(DOWNS, around, strict=True))
    ]
    seen = observe(model, data, DOWNS, [n.after for n in around], **RUN)
    return spike_origins(model, data, blocks, seen, **RUN, **rules), blocks


def of(origins, block, site="pre_norm2", row=CHANNEL):
    own = origins.query("block == @block and site == @site and row == @row")
    assert len(own) == 1
    return own.iloc[0]


def blamed(model, block):
    found = find_candidates(model, batches(), DOWNS, **RUN)
    own = found[(found["block"] == block) & (found["found_by"] == "spike")]
    return set(zip(own["row"], own["column"], strict=True))


def test_a_model_without_spikes_has_an_empty_table():
    origins, blocks = traced(network(), spike_ratio=50.0)
    assert origins.empty and "family" in origins
    others = other_families(network(), batches(), blocks, origins, max_candidates=3, **RUN)
    assert set(others["family"]) == {"attn_out"} and (others["found_by"] == "below_rule").all()


def test_a_weight():
    model = network()
    model[1].down.weight[CHANNEL, 9], model[1].up.bias[9] = 60.0, 5.0
    origins, _ = traced(model)
    row = of(origins, 1)
    assert (row["family"], row["module"], row["parameter"]) == ("ffn_down", "1.down", "weight")
    assert row["column"] == 9 and row["share"] > 0.8
    shares = origins[["share_weights", "share_bias", "share_residual"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1.0)


def test_gamma_of_the_norm_before():
    model = network()
    model[1].norm1.weight[CHANNEL] = 80.0
    model[1].up.weight[:, CHANNEL] = 0.0  # what reads the channel must not spike too
    row = of(traced(model)[0], 1)
    assert (row["family"], row["module"], row["parameter"]) == ("norm_gamma", "1.norm1", "weight")
    assert row["share_residual"] > 0.9 and blamed(model, 1) == set()


def test_beta_of_the_norm_before():
    model = network()
    model[1].norm1.bias[CHANNEL] = -90.0
    model[1].up.weight[:, CHANNEL] = 0.0
    row = of(traced(model)[0], 1)
    assert (row["family"], row["module"], row["parameter"]) == ("norm_beta", "1.norm1", "bias")
    assert row["share"] > 0.9 and blamed(model, 1) == set()


def one_plus_network():
    model = network()
    for block in model[:N_BLOCKS]:
        block.norm1 = OnePlusRMSNorm().requires_grad_(False)
    return model


def test_a_gamma_that_is_stored_less_one():
    model = one_plus_network()
    model[1].norm1.weight[CHANNEL] = 80.0
    model[1].up.weight[:, CHANNEL] = 0.0
    row = of(traced(model)[0], 1)
    assert (row["family"], row["module"]) == ("norm_gamma", "1.norm1")


def test_a_small_weight_beside_zeros_is_no_large_gamma():
    model = one_plus_network()
    model[0].norm1.weight[CHANNEL] = 0.1  # γ is 1.1 there and 1 elsewhere
    model[0].mixer.out.weight[CHANNEL, 3] = 200.0
    model[0].up.weight[:, CHANNEL] = 0.0
    row = of(traced(model, spike_ratio=4.0)[0], 0)
    assert (row["family"], row["module"], row["column"]) == ("attn_out", "0.mixer.out", 3)


@pytest.mark.parametrize("make", [OnePlusRMSNorm, lambda: nn.LayerNorm(D), lambda: nn.RMSNorm(D)])
def test_gamma_as_it_is_applied(make):
    norm, generator = make().requires_grad_(False), torch.Generator().manual_seed(3)
    norm.weight.copy_(torch.randn(D, generator=generator))
    if getattr(norm, "bias", None) is not None:
        norm.bias.copy_(torch.randn(D, generator=generator))
    x = torch.randn(D, generator=generator)
    gamma, beta, normalised = _norm_parts(norm, x)
    expected = norm.weight.double() + isinstance(norm, OnePlusRMSNorm)
    torch.testing.assert_close(gamma, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gamma * normalised + beta, norm(x).double(), rtol=1e-5, atol=1e-5)


def test_the_bias_of_the_down_projection():
    model = network()
    model[0].down.bias[CHANNEL] = 90.0
    row = of(traced(model)[0], 0)
    assert (row["family"], row["module"], row["parameter"]) == ("bias", "0.down", "bias")
    assert row["share"] > 0.9 and blamed(model, 0) == set()


def test_many_columns_together_are_a_row():
    model = network()
    model[0].down.weight[CHANNEL] = 3.0
    row = of(traced(model, min_share=0.4)[0], 0)
    assert (row["family"], row["module"]) == ("row", "0.down")
    assert row["share"] > 0.8 and row["top_column_share"] < 0.4


@pytest.mark.parametrize("pre", [False, True])
def test_one_weight_of_the_attentions_output(pre):
    model = network(pre)
    model[0].mixer.out.weight[CHANNEL, 3] = 200.0
    for block in model[:2]:
        block.up.weight[:, CHANNEL] = 0.0
    row = of(traced(model, spike_ratio=4.0)[0], 0)
    assert (row["family"], row["module"], row["column"]) == ("attn_out", "0.mixer.out", 3)
    assert row["share"] > 0.9


@pytest.mark.parametrize("pre", [False, True])
def test_a_whole_row_of_the_attentions_output(pre):
    model = network(pre)
    model[0].mixer.out.weight[CHANNEL] = 60.0
    for block in model[:2]:
        block.up.weight[:, CHANNEL] = 0.0
    row = of(traced(model, spike_ratio=4.0, min_share=0.45)[0], 0)
    assert (row["family"], row["module"]) == ("attn_out", "0.mixer.out")
    assert row["column"] is None or row["column"] != row["column"]


def test_a_norm_of_the_block_before():
    model = network()
    model[0].norm2.weight[CHANNEL] = 300.0
    model[1].mixer.values.weight[:, CHANNEL] = 0.0
    model[1].up.weight[:, CHANNEL] = 0.0
    row = of(traced(model, spike_ratio=4.0)[0], 1)
    assert (row["family"], row["module"], row["parameter"]) == ("norm_gamma", "0.norm2", "weight")


def test_a_stream_that_came_so_into_a_pre_norm_model():
    model, data = network(pre=True), batches()
    for x in data:
        x[..., CHANNEL] = 300.0
    row = of(traced(model, data)[0], 0)
    assert (row["family"], row["module"]) == ("residual", "")


def test_a_later_block_of_a_pre_norm_model_is_not_blamed_for_an_earlier_ones_spike():
    model = network(pre=True)
    model[0].down.weight[CHANNEL, 9], model[0].up.bias[9] = 200.0, 5.0
    origins, _ = traced(model)
    assert of(origins, 0)["family"] == "ffn_down"
    assert of(origins, 1)["family"] == "residual"
    assert blamed(model, 1) == set()


@pytest.mark.parametrize("pre", [False, True])
def test_the_batching_does_not_matter(pre):
    model = network(pre)
    model[0].mixer.out.weight[CHANNEL, 3] = 200.0
    model[1].down.weight[4, 9], model[1].up.bias[9] = 60.0, 5.0
    a, b = (traced(model, batches(size), spike_ratio=4.0)[0] for size in (1, 6))
    same = ["block", "site", "row", "family", "module", "parameter", "column", "top_column"]
    assert len(a) and a[same].equals(b[same])
    for name in ("spike_ratio", "share", "share_residual"):
        assert a[name].to_numpy() == pytest.approx(b[name].to_numpy(), rel=1e-4)


def test_batches_that_are_gone_are_an_error_and_not_an_untraced_spike():
    model, data = network(), batches()
    model[1].norm1.bias[CHANNEL] = -90.0
    _, blocks = traced(model)
    seen = observe(model, data, DOWNS, [b.norms.after for b in blocks], **RUN)
    with pytest.raises(ValueError, match="once"):
        spike_origins(model, iter([]), blocks, seen, **RUN)
