"""The first-order core against autograd on single cells, on models that are not scGPT."""

import numpy as np
import pytest
import torch
from torch import nn

from scsw.superweight import first_order
from scsw.superweight.find import oriented_weight
from scsw.superweight.first_order import at, cell_gradients

TYPES = 3


class Block(nn.Module):
    """x -> norm(x + down(relu(up(x)))), which writes into the output of `down`."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(24, 40), nn.Linear(40, 24), nn.LayerNorm(24)

    def forward(self, x):
        y = self.down(torch.relu(self.up(x)))
        y += x
        return self.norm(y)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 24)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, ids, _mask):
        return self.blocks(self.embedding(ids))


def plain():
    return Plain(), ["blocks.0.down", "blocks.1.down"]


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    return model, [f"encoder.layer.{block}.output.dense" for block in range(2)]


def gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=50, n_embd=24, n_layer=2, n_head=2, n_inner=40)
    return transformers.GPT2Model(config), [f"h.{block}.mlp.c_proj" for block in range(2)]


@pytest.fixture(params=[plain, bert, gpt2])
def made(request):
    torch.manual_seed(0)
    model, downs = request.param()
    return model.double().eval(), downs


def cells(n=7):
    """Return cells of different lengths and mixed types, padded with a token that is none."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 49, (n, 9), generator=generator)
    mask = torch.arange(9) < torch.tensor([9, 5, 7, 9, 3, 8, 6])[:n, None]
    ids[~mask] = 49
    return ids, mask, torch.tensor([2, 0, 2, 1, 0, 0, 2])[:n]


def batches(size=7):
    ids, mask, kinds = cells()
    return [
        (ids[i : i + size], mask[i : i + size], kinds[i : i + size])
        for i in range(0, len(ids), size)
    ]


def forward_loss(model, batch):
    """Return the NLL of each cell's type, read from the mean over its real tokens."""
    ids, mask, kinds = batch
    if isinstance(model, Plain):
        x = model(ids, mask)
    else:
        x = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    mean = torch.where(mask[..., None], x, 0).sum(1) / mask.sum(1, keepdim=True)
    head = torch.linspace(-2, 2, 24 * TYPES, dtype=x.dtype).reshape(TYPES, 24).sin()
    return nn.functional.cross_entropy(mean @ head.T, kinds, reduction="none")


def gradients(model, downs, data=None):
    return cell_gradients(
        model,
        batches() if data is None else data,
        downs,
        forward_loss=forward_loss,
        labels=lambda batch: batch[2],
    )


def of_single_cells(model, downs):
    """Return the gradient of each cell alone, without padding: by block (cells, rows, columns)."""
    layers = [model.get_submodule(name) for name in downs]
    found = [[] for _ in layers]
    for ids, mask, kind in zip(*cells(), strict=True):
        n = int(mask.sum())
        loss = forward_loss(model, (ids[None, :n], mask[None, :n], kind[None]))
        for own, layer in zip(found, layers, strict=True):
            (g,) = torch.autograd.grad(loss.sum(), layer.weight, retain_graph=True)
            own.append(g.T if type(layer).__name__ == "Conv1D" else g)
    return [torch.stack(own).numpy() for own in found]


def every_place(found):
    return np.array(
        [(b, *place) for b, w in enumerate(found.weights) for place in np.ndindex(*w.shape)]
    )


def test_types_are_kept_apart_as_autograd_has_them_cell_by_cell(made):
    model, downs = made
    found, kinds = gradients(model, downs), cells()[2].numpy()
    effects, single = found.effects(), of_single_cells(model, downs)
    assert found.n_cells == {0: 3, 1: 1, 2: 3}
    for block, name in enumerate(downs):
        w = oriented_weight(model.get_submodule(name)).numpy()
        assert w.shape == (24, 40) == effects[block].shape
        means = [(-w * single[block][kinds == kind].mean(0)) for kind in range(TYPES)]
        expected = np.abs(means).sum(0)
        assert expected.max() > 1e-4
        np.testing.assert_allclose(effects[block], expected, rtol=1e-9, atol=1e-13)
    places = np.array([(0, 3, 30), (1, 20, 4), (0, 23, 39)])
    for kind, values in found.effects_of_types(places).items():
        own = [
            -float(at(found.weights, place[None])[0])
            * single[place[0]][kinds == kind, place[1], place[2]].mean()
            for place in places
        ]
        np.testing.assert_allclose(values, own, rtol=1e-9, atol=1e-14)


def test_the_effect_is_the_slope_of_a_small_step(made):
    model, downs = made
    found, kinds = gradients(model, downs), cells()[2]
    place = np.array([[1, 5, 20]])
    weight = model.get_submodule(downs[1]).weight
    where = (5, 20) if weight.shape == (24, 40) else (20, 5)
    value, step, ends = weight[where].item(), 1e-4, []
    with torch.no_grad():
        for factor in (1 - step, 1 + step):
            weight[where] = factor * value
            ends.append(forward_loss(model, batches()[0]))
        weight[where] = value
    slope = (ends[1] - ends[0]) / (2 * step)
    for kind, effect in found.effects_of_types(place).items():
        assert effect[0] == pytest.approx(-float(slope[kinds == kind].mean()), rel=1e-5)
    assert found.signed(place)[0] == pytest.approx(-float(slope.mean()), rel=1e-5)


def test_fisher_is_the_mean_square_of_single_cells(made):
    model, downs = made
    found = gradients(model, downs)
    expected = np.concatenate([(g**2).mean(0).ravel() for g in of_single_cells(model, downs)])
    fisher = found.fisher(every_place(found))
    np.testing.assert_allclose(fisher, expected, rtol=1e-9, atol=1e-18)
    # The square of the mean gradient, which a backward pass over a batch gives, is another thing.
    squared_mean = np.concatenate([g.mean(0).ravel() ** 2 for g in of_single_cells(model, downs)])
    assert np.median(squared_mean / expected) < 0.8


@pytest.mark.parametrize("size", [1, 3])
def test_batches_and_the_memory_bound_change_nothing(made, size, monkeypatch):
    model, downs = made
    model.float()
    whole = gradients(model, downs)
    monkeypatch.setattr(first_order, "_HELD", 2 * 24 * 40)
    parts = gradients(model, downs, batches(size))
    assert parts.n_cells == whole.n_cells
    for a, b in zip(whole.effects(), parts.effects(), strict=True):
        assert a.dtype == np.float64
        assert np.abs(a - b).max() <= 1e-6 * max(1, np.abs(a).max())
    places = every_place(whole)
    np.testing.assert_allclose(parts.fisher(places), whole.fisher(places), rtol=1e-3, atol=1e-9)


def test_padding_has_no_influence(made):
    model, downs = made
    (ids, mask, kinds) = batches()[0]
    other = torch.where(mask, ids, 7)
    for a, b in zip(
        gradients(model, downs).effects(),
        gradients(model, downs, [(other, mask, kinds)]).effects(),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(made, fails):
    model, downs = made
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]

    def loss(model, batch):
        losses = forward_loss(model, batch)
        if fails:
            raise ArithmeticError
        return losses

    with torch.no_grad():  # the caller's mode does not matter, and is not changed
        try:
            cell_gradients(
                model, batches(), downs, forward_loss=loss, labels=lambda batch: batch[2]
            )
            assert not fails
        except ArithmeticError:
            assert fails
        assert not torch.is_grad_enabled()
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert all(x.equal(before[name]) for name, x in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_cannot_be_taken_cell_by_cell_is_refused():
    torch.manual_seed(0)
    model, downs = plain()
    common = {"forward_loss": forward_loss, "labels": lambda batch: batch[2]}
    with pytest.raises(ValueError, match="no batches"):
        cell_gradients(model, [], downs, **common)
    with pytest.raises(ValueError, match="shape"):
        mean = common | {"forward_loss": lambda m, b: forward_loss(m, b).mean()}
        cell_gradients(model, batches(), downs, **mean)
    model.blocks = nn.Sequential(model.blocks[0], model.blocks[0])
    with pytest.raises(RuntimeError, match="ran 2 times"):
        cell_gradients(model, batches(), downs[:1], **common)
    with pytest.raises(RuntimeError, match="ran 0 times"):
        model.unused = Block()
        cell_gradients(model, batches(), ["unused.down"], **common)
