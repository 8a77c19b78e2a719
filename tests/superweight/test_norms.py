"""The norms around down-projections, told from the order in which modules run."""

import pytest
import torch
from torch import nn

from scsw.superweight.find import find_candidates
from scsw.superweight.norms import NormsAround, norms_around

transformers = pytest.importorskip("transformers")

D, HIDDEN = 12, 20
SIZES = {"vocab_size": 50, "max_position_embeddings": 32, "n_positions": 32}
IDS = torch.arange(12).view(2, 6) + 3


class RMSNorm(nn.Module):
    """As in Llama: no mean, no bias."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))

    def forward(self, x):
        return self.weight * x / x.square().mean(-1, keepdim=True).sqrt()


class Block(nn.Module):
    """Post-norm, with a norm of the hidden units too."""

    def __init__(self, norm):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(D, HIDDEN), nn.Linear(HIDDEN, D), norm
        self.inner = nn.LayerNorm(HIDDEN)

    def forward(self, x):
        return self.norm(x + self.down(self.inner(self.up(x).relu())))


class Parallel(nn.Module):
    """Two down-projections beside one another, as GPT-J's feed-forward part and its attention."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(D, HIDDEN)
        self.a, self.b = nn.Linear(HIDDEN, D), nn.Linear(HIDDEN, D)
        self.norm = nn.LayerNorm(D)

    def forward(self, x):
        hidden = self.up(x).relu()
        return self.norm(x + self.a(hidden) + self.b(hidden))


def run(model, downs, x=None):
    torch.manual_seed(0)
    x = torch.randn(2, 5, D) if x is None else x
    return norms_around(model.eval(), x, downs, lambda m, batch: m(batch))


def test_post_norm():
    config = transformers.BertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, **SIZES
    )
    model = transformers.BertModel(config)
    found = run(model, [f"encoder.layer.{b}.output.dense" for b in range(2)], IDS)
    assert found == [
        NormsAround(
            f"encoder.layer.{b}.attention.output.LayerNorm", f"encoder.layer.{b}.output.LayerNorm"
        )
        for b in range(2)
    ]


def test_pre_norm_takes_the_next_blocks_and_at_last_the_final_one():
    config = transformers.GPT2Config(n_embd=24, n_layer=2, n_head=2, n_inner=40, **SIZES)
    found = run(transformers.GPT2Model(config), ["h.0.mlp.c_proj", "h.1.mlp.c_proj"], IDS)
    assert found == [NormsAround("h.0.ln_2", "h.1.ln_1"), NormsAround("h.1.ln_2", "ln_f")]


def test_norms_of_other_widths_are_passed_over():
    model = nn.Sequential(Block(nn.LayerNorm(D)), Block(RMSNorm()))
    found = run(model, ["0.down", "1.down"])
    assert found == [NormsAround(None, "0.norm"), NormsAround("0.norm", "1.norm")]


def test_a_norm_without_gamma_is_one():
    model = nn.Sequential(Block(nn.LayerNorm(D, elementwise_affine=False)))
    assert run(model, ["0.down"]) == [NormsAround(None, "0.norm")]


@pytest.mark.parametrize("other", [nn.Identity(), nn.BatchNorm1d(5), nn.GroupNorm(1, 5)])
def test_what_does_not_normalise_over_channels_is_none(other):
    assert run(nn.Sequential(Block(other)), ["0.down"]) == [NormsAround(None, None)]


def test_a_norm_that_runs_twice_is_none():
    shared = nn.LayerNorm(D)
    model = nn.Sequential(Block(shared), Block(shared), Block(nn.LayerNorm(D)))
    found = run(model, ["0.down", "2.down"])
    assert found == [NormsAround(None, None), NormsAround(None, "2.norm")]


def test_a_norm_of_pooled_tokens_is_none():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.norm = nn.Linear(D, D), nn.LayerNorm(D)

        def forward(self, x):
            return self.norm(x + self.down(x.relu()))[:, 0]

    class Late(Pooled):
        def forward(self, x):
            return self.norm((x + self.down(x.relu()))[:, 0])

    assert run(Pooled(), ["down"]) == [NormsAround(None, "norm")]
    assert run(Late(), ["down"]) == [NormsAround(None, None)]


def test_layers_of_albert_share_everything_so_that_nothing_is_around():
    config = transformers.AlbertConfig(
        embedding_size=16,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=40,
        **SIZES,
    )
    down = "encoder.albert_layer_groups.0.albert_layers.0.ffn_output"
    model = transformers.AlbertModel(config)
    assert run(model, [down], IDS) == [NormsAround(None, None)]
    with pytest.raises(RuntimeError, match="twice"):
        find_candidates(
            model,
            [IDS],
            [down],
            forward=lambda m, x: m(x),
            token_mask=lambda x: torch.ones(x.shape, dtype=torch.bool),
        )


def test_of_two_parallel_down_projections_the_other_is_residual():
    torch.manual_seed(0)
    model = Parallel().eval()
    with torch.no_grad():
        model.up.bias[7] = 1.0
        model.a.weight[4, 7] = 60.0
    assert run(model, ["a", "b"]) == [NormsAround(None, "norm"), NormsAround(None, "norm")]
    x = torch.randn(3, 6, D)
    found = find_candidates(
        model,
        [x],
        ["a", "b"],
        forward=lambda m, batch: m(batch),
        token_mask=lambda batch: torch.ones(batch.shape[:2], dtype=torch.bool),
    )
    best = found.iloc[0]
    assert (best["module"], best["row"], best["column"]) == ("a", 4, 7)
    # What `a` writes into the sum is not blamed on `b`, but is its residual.
    other = found[(found["module"] == "b") & (found["row"] == 4)]
    assert (other["found_by"] == "below_rule").all()
    assert (other["residual_share"] > 0.9).all() and len(other)


def test_a_model_keeps_its_train_mode():
    model = Parallel().train()
    norms_around(model, torch.randn(1, 2, D), ["a"], lambda m, x: m(x))
    assert all(module.training for module in model.modules())


def test_nested_tensors_are_refused_with_the_way_out():
    layer = nn.TransformerEncoderLayer(D, 2, HIDDEN, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 3:] = True

    def forward(m, x):
        return m(x, src_key_padding_mask=padding)

    downs = ["layers.0.linear2", "layers.1.linear2"]
    with pytest.raises(RuntimeError, match="use_nested_tensor"):
        norms_around(model, torch.randn(2, 5, D), downs, forward)


class LayerNorm1P(nn.LayerNorm):
    """As in Nemotron."""


def test_a_norm_is_told_by_its_name_also_where_that_goes_on():
    assert run(nn.Sequential(Block(LayerNorm1P(D))), ["0.down"]) == [NormsAround(None, "0.norm")]
