"""Our layers against the untouched package model."""

import copy

import pytest
import torch

from scsw.scgpt.model import encoder_layers, exchange_layers, new_model
from scsw.superweight.capture import capture, encoder_points

ARGS = {
    "embsize": 32,
    "nheads": 4,
    "d_hid": 48,
    "nlayers": 3,
    "n_layers_cls": 3,
    "dropout": 0.0,
    "n_bins": 51,
}


@pytest.fixture(scope="module")
def models():
    """Return the package's own model and ours, with the same weights."""
    torch.manual_seed(0)
    from scgpt.model import TransformerModel

    vocabulary = {f"g{i}": i for i in range(40)} | {"<pad>": 40, "<cls>": 41}
    stock = TransformerModel(42, 32, 4, 48, 3, 3, 5, vocabulary, 0.0, "<pad>", -2, do_mvc=True)
    ours = exchange_layers(copy.deepcopy(stock))
    assert list(stock.state_dict()) == list(ours.state_dict())
    assert list(new_model(ARGS, vocabulary, 5).state_dict()) == list(stock.state_dict())
    return stock.train(), ours.train()


def inputs(padded: bool):
    generator = torch.Generator().manual_seed(1)
    genes = torch.randint(0, 40, (6, 15), generator=generator)
    values = torch.randint(1, 51, (6, 15), generator=generator).float()
    padding = torch.zeros(6, 15, dtype=torch.bool)
    if padded:
        for row in range(6):
            padding[row, 15 - row :] = True
    return genes.masked_fill(padding, 40), values.masked_fill(padding, -2.0), padding


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_outputs_equal_the_packages(models, padded, training):
    genes, values, padding = inputs(padded)
    stock, ours = (m.train(training) for m in models)
    with torch.no_grad():
        expected = stock(genes, values, padding, CLS=True, MVC=True)
        found = ours(genes, values, padding, CLS=True, MVC=True)
    for name in ("cls_output", "cell_emb"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    for name in ("mlm_output", "mvc_output"):
        torch.testing.assert_close(
            found[name][~padding], expected[name][~padding], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("padded", [True, False])
def test_gradients_equal_the_packages(models, padded):
    genes, values, padding = inputs(padded)
    gradients = []
    for model in models:
        model.train().zero_grad()
        output = model(genes, values, padding, CLS=True, MVC=True)
        (
            output["cls_output"].square().sum() + output["mlm_output"][~padding].square().sum()
        ).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        scale = expected.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(
            gradients[1][name] / scale, expected / scale, rtol=1e-4, atol=1e-4
        )


def test_the_first_token_alone_equals_the_whole_layer(models):
    layer = encoder_layers(models[1].eval())[0]
    x, (_, _, padding) = torch.randn(6, 15, 32), inputs(True)
    with torch.no_grad():
        whole = layer(x, src_key_padding_mask=padding)[:, :1]
        torch.testing.assert_close(layer.forward_cls(x, padding), whole, rtol=1e-5, atol=1e-6)


def test_every_site_is_seen_once_per_block_in_eval_mode(models):
    seen = []
    sites = ["attn_heads", "attn_out", "pre_norm1", "mlp_in", "mlp_hidden", "mlp_out", "pre_norm2"]
    points = encoder_points(encoder_layers(models[1].eval()), [*sites, "out"])
    with torch.no_grad(), capture(points, lambda name, x: seen.append((name, x.shape))):
        models[1](*inputs(True))
    assert sorted(name for name, _ in seen) == sorted(points)
    assert all(shape[:2] == (6, 15) for _, shape in seen)
