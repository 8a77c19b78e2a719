"""Edits of weights: what they compute while they last, and nothing afterwards."""

import pandas as pd
import pytest
import torch
from torch import nn

from scsw.superweight.ablate import WeightEdit, ablate


class Conv1D(nn.Module):
    """Hugging Face's GPT-2 layer: the weight is stored as (input, output)."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.T.clone()), nn.Parameter(bias.clone())

    def forward(self, x):
        return x @ self.weight + self.bias


WEIGHT = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -0.0]])
BIAS = torch.tensor([0.5, -1.0])
X = torch.tensor([[1.0, 10.0, 100.0]])


def linear():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(WEIGHT)
        layer.bias.copy_(BIAS)
    return layer


def model(layer=None):
    return nn.Sequential(layer or linear(), nn.LayerNorm(2))


def bits(network):
    return {name: x.detach().view(torch.int32).clone() for name, x in network.state_dict().items()}


@pytest.mark.parametrize("layer", [linear(), Conv1D(WEIGHT, BIAS)])
@pytest.mark.parametrize(
    ("edit", "mode", "expected"),
    [
        (("0", 0, 1), "zero", [301.5, 53.0]),
        (("0", 0, 1), 0.5, [291.5, 53.0]),
        (("0", 0, 1), -1, [321.5, 53.0]),
        (("0", 0, None), "zero", [0.5, 53.0]),
        (("0", None, 2), "zero", [-18.5, 53.0]),
        (("0", None, 1), 3, [241.5, 153.0]),
        (("0", 1, None, "bias"), "zero", [281.5, 54.0]),
        (("0", 0, 1, "weight", 7.0), "mean", [301.5 - 14.0, 53.0]),
        (("0", None, 1, "weight", 7.0), "mean", [301.5 - 14.0, 3.0 + 35.0]),
    ],
)
def test_the_output_is_that_of_the_hand_made_sum(layer, edit, mode, expected):
    network = model(layer)
    before = bits(network)
    with ablate(network, [edit], mode) as changed, torch.no_grad():
        assert changed[0](X)[0].tolist() == expected
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_gamma_and_beta_are_edited():
    network = model()
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([2.0, 3.0]))
        network[1].bias.copy_(torch.tensor([0.25, 0.75]))
    with torch.no_grad(), ablate(network, [("1", 0)], "zero"):
        assert network(X)[0].tolist() == pytest.approx([0.25, 0.75 - 3.0], abs=1e-4)
    with torch.no_grad(), ablate(network, [WeightEdit("1", 1, parameter="bias")], "zero"):
        assert network(X)[0].tolist() == pytest.approx([2.25, -3.0], abs=1e-4)


def test_bits_come_back_also_of_minus_zero_nan_and_after_an_error():
    network = model()
    with torch.no_grad():
        network[0].weight[0, 0] = torch.nan
        network[0].weight[0, 2] = torch.inf
    before = bits(network)
    with pytest.raises(KeyError), ablate(network, [("0", None, None)], "zero"):
        # Exactly zero, and not infinity times zero.
        assert not network[0].weight.any()
        raise KeyError("anything")
    with ablate(network, [("0", 1, 2)], 0.1):
        pass
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_what_the_block_itself_changes_in_an_edited_layer_is_taken_back():
    network = model()
    before = bits(network)
    with ablate(network, [("0", 0, 0)]), torch.no_grad():
        network[0].weight.fill_(9.0)
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_tied_weights_change_and_come_back_together():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    before = bits(network)
    with ablate(network, [("0", 0, 1), ("1", 2, 2), ("1", 0, 1)], 0.5):
        assert network[1].weight is network[0].weight
        old = before["0.weight"].view(torch.float32)
        assert network[0].weight[0, 1] == old[0, 1] * 0.25  # it is one weight, edited twice
        assert network[0].weight[2, 2] == old[2, 2] * 0.5
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_edits_nest_and_overlap():
    network = model()
    before = bits(network)
    with ablate(network, [("0", 0, 1)]):
        with ablate(network, [("0", 0, None), ("0", 0, 2)], "zero"):
            assert network[0].weight[0].tolist() == [0, 0, 0]
        assert network[0].weight[0].tolist() == [1, 0, 3]
    # A weight within a column that went to its mean already has nothing left to add.
    twice = [("0", None, 1, "weight", 7.0), ("0", 0, 1, "weight", 7.0)]
    with ablate(network, twice, "mean"):
        assert network[0].bias.tolist() == [0.5 - 14.0, -1.0 + 35.0]
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_a_table_holds_missing_channels_and_more_columns():
    table = pd.DataFrame(
        {"rank": [1, 2], "module": "0", "row": [0, pd.NA], "column": [pd.NA, 2], "weight": 0.0}
    ).astype({"row": "Int64", "column": "Int64"})
    network = model()
    with ablate(network, table), torch.no_grad():
        assert network[0].weight.tolist() == [[0, 0, 0], [4, 5, 0]]
    assert network[0].weight.tolist() == WEIGHT.tolist()


@pytest.mark.parametrize(
    ("edit", "mode", "message"),
    [
        (("nowhere", 0, 0), "zero", "has no .*nowhere"),
        (("0", 2, 0), "zero", "rows are numbered 0 to 1"),
        (("0", 0, 3), "zero", "columns are numbered 0 to 2"),
        (("0", -1, 0), "zero", "rows are numbered"),
        (("0", 0.5, 0), "zero", "rows are numbered"),
        (("1", None, 1), "zero", "column"),  # a norm has rows only: γ as a whole was not meant
        (("0", 0, 0, "gain"), "zero", "gain"),
        (("0", 0, 0), "median", "mode is 'median'"),
        (("0", 0, 0), "mean", "mean input"),
        (("0", 0, None, "weight", 1.0), "mean", "needs a column"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused_before_any_is(edit, mode, message):
    network = model()
    before = bits(network)
    good = WeightEdit("0", 0, 0, mean_input=1.0)
    with pytest.raises(ValueError, match=message), ablate(network, [good, edit], mode):
        pass
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_a_linear_module_without_a_bias_has_one_while_a_weight_is_at_its_mean():
    network = nn.Sequential(nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(WEIGHT)
    before = bits(network)
    with torch.no_grad(), ablate(network, [("0", 0, 1, "weight", 7.0)], "mean"):
        assert network(X)[0].tolist() == [301.0 - 14.0, 54.0]
    assert network[0].bias is None and bits(network).keys() == before.keys()
    assert all(x.equal(before[name]) for name, x in bits(network).items())


def test_a_tensor_of_three_axes_is_refused():
    """A row and a column of it are no single weight, as in the fused experts of a mixture."""
    network = nn.Sequential(nn.Conv1d(3, 2, 4))
    with pytest.raises(ValueError, match="3 axes"), ablate(network, [("0", 1, 2)]):
        pass


def test_a_mean_needs_a_bias_where_none_would_be_added():
    network = nn.Sequential(Conv1D(WEIGHT, BIAS))
    network[0].bias = None
    edit = WeightEdit("0", 0, 0, mean_input=1.0)
    with pytest.raises(ValueError, match="bias"), ablate(network, [edit], "mean"):
        pass
