"""Our layers: names, the first token alone, hooks; the numbers are compared in test_parity."""

import copy

import pytest
import torch

from scsw.scgpt.encoder_layer import EncoderLayer
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


def inputs():
    generator = torch.Generator().manual_seed(1)
    genes = torch.randint(0, 40, (6, 15), generator=generator)
    values = torch.randint(1, 51, (6, 15), generator=generator).float()
    padding = torch.zeros(6, 15, dtype=torch.bool)
    for row in range(6):
        padding[row, 15 - row :] = True
    return genes.masked_fill(padding, 40), values.masked_fill(padding, -2.0), padding


def test_the_first_token_alone_equals_the_whole_layer(models):
    layer = encoder_layers(models[1].eval())[0]
    x, (_, _, padding) = torch.randn(6, 15, 32), inputs()
    with torch.no_grad():
        whole = layer(x, src_key_padding_mask=padding)[:, :1]
        torch.testing.assert_close(layer.forward_cls(x, padding), whole, rtol=1e-5, atol=1e-6)


def test_every_site_is_seen_once_per_block_in_eval_mode(models):
    seen = []
    sites = ["attn_heads", "attn_out", "pre_norm1", "mlp_in", "mlp_hidden", "mlp_out", "pre_norm2"]
    points = encoder_points(encoder_layers(models[1].eval()), [*sites, "out"])
    with torch.no_grad(), capture(points, lambda name, x: seen.append((name, x.shape))):
        models[1](*inputs())
    assert sorted(name for name, _ in seen) == sorted(points)
    assert all(shape[:2] == (6, 15) for _, shape in seen)


def test_a_layer_of_another_form_is_refused():
    for changes in ({"norm_first": True}, {"activation": "gelu"}, {"batch_first": False}):
        given = torch.nn.TransformerEncoderLayer(8, 2, 8, **{"batch_first": True} | changes)
        with pytest.raises(ValueError, match="post-norm, ReLU, batch-first"):
            EncoderLayer.from_stock(given)
