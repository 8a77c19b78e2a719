"""The suffix engine against zero-and-rerun with the package's model in float64."""

import copy
import dataclasses
import sys
import types

import numpy as np
import pytest
import torch

from scsw.scgpt.model import encoder_layers
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.pruning.ablation import Readout, ablated
from scsw.superweight.pruning.difference import (
    IntactNorm,
    attention_difference,
    norm_difference,
    relu_difference,
)
from scsw.superweight.pruning.edits import FAMILIES, GROUP, Edit, groups_of_edits, shard_of
from scsw.superweight.pruning.intact import intact_pass, parts_of

CELLS = 5


def an_edit(family, block, row, column, mode="zero", **more):
    row, column = (
        (None if family == "column" else row),
        (column if family in ("ffn_down", "attn_out", "column") else None),
    )
    name = candidate_id(family, block, row, column)
    return Edit(name, "candidate", mode, family, block, row, column, **more)


def package(model, packed):
    """Run the package's own forward pass in float64: logits, and expression at real tokens."""
    batch = packed.padded(0, -2.0)
    with torch.no_grad():
        out = model(batch.genes, batch.values.double(), batch.padding, CLS=True)
    return out["cls_output"], out["mlm_output"][batch.real]


PARAMETERS = {
    "ffn_down": "linear2.weight",
    "row": "linear2.weight",
    "column": "linear2.weight",
    "attn_out": "self_attn.out_proj.weight",
    "norm1_gamma": "norm1.weight",
    "norm1_beta": "norm1.bias",
    "norm2_gamma": "norm2.weight",
    "norm2_beta": "norm2.bias",
}


def edited(model, edit):
    """Return a copy of the model with the weights changed by hand."""
    model = copy.deepcopy(model)
    layers = encoder_layers(model)
    with torch.no_grad():
        parameter = layers[edit.block].get_parameter(PARAMETERS[edit.family])
        if parameter.ndim == 1:
            parameter[edit.row] *= edit.scale
        else:
            place = tuple(slice(None) if x is None else x for x in (edit.row, edit.column))
            weight = parameter[place].clone()
            parameter[place] *= edit.scale
            if edit.offset:
                module = layers[edit.block].get_submodule(PARAMETERS[edit.family][:-7])
                module.bias[edit.row] += weight * edit.offset
        for block, row, column in edit.others:
            layers[block].linear2.weight[row, column] *= edit.scale
    return model


def found(network, packed, edits, **more):
    """Run the engine on each of its groups; changes of logits and expression by edit."""
    intact, readout, changes = intact_pass(network, packed), Readout(network), {}
    layers, everything = encoder_layers(network), torch.arange(packed.n_tokens)
    for group in groups_of_edits(edits):
        whole = ablated(layers, intact, group, at=everything, **more)
        alone = ablated(layers, intact, group, **more)
        _, of_types = readout.types(intact.cells, whole.cells)
        _, of_first = readout.types(intact.cells, alone.cells)
        _, of_values = readout.expression(intact.tokens, whole.tokens)
        torch.testing.assert_close(of_first, of_types, rtol=1e-3, atol=1e-9)
        for place, edit in enumerate(group):
            changes[edit] = of_types[place], of_values[place]
    return changes


def assert_as_rerun(network, packed, edits, digits=1e-6):
    """Assert that every change from 1e-6 on is right to 1e-3, in float32 and in float64.

    In float32 a number that hardly changes, while others of the same output change a million times
    as much, cannot have three digits; it has those of the largest.
    """
    double = copy.deepcopy(network).double()
    base = package(double, packed)
    for engine, share in ((network, digits), (double, 0.0)):
        dtype = engine.cls_decoder.out_layer.weight.dtype
        cells = dataclasses.replace(
            packed, values=packed.values.to(dtype), levels=packed.levels.to(dtype)
        )
        changes = found(engine, cells, edits)
        n_moved = 0
        for edit in edits:
            expected = package(edited(double, edit), packed)
            for change, pruned, intact in zip(changes[edit], expected, base, strict=True):
                wanted = pruned - intact
                moved = wanted.abs() >= 1e-6
                allowed = 1e-3 * wanted.abs() + share * wanted.abs().max()
                n_moved += int(moved.sum())
                assert ((change - wanted).abs() <= allowed)[moved].all(), edit
        assert n_moved > 100


@pytest.fixture
def packed(tuned):
    return tuned.tokenizer.packed(np.arange(CELLS), mask_ratio=0.4)


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_change_equals_zero_and_rerun(tuned, packed, family, block):
    """In float32, to 1e-3 of every change from 1e-6 on."""
    network = copy.deepcopy(tuned.network)
    with torch.no_grad():  # a weight ten times its value must not be special
        encoder_layers(network)[block].linear2.weight[3, 5] *= 10
    places = [(3, 5), (0, 1), (7, 11), (15, 2)]
    edits = [an_edit(family, block, *place) for place in places]
    edits += [an_edit(family, block, 3, 5, "scale", scale=scale) for scale in (0.5, 3.0, 10.0)]
    if family in ("ffn_down", "attn_out"):
        edits += [an_edit(family, block, 3, 5, "mean", offset=0.7)]
    assert_as_rerun(network, packed, edits)


def test_a_huge_contribution_is_taken_away_exactly(tuned, packed):
    """Nearly all of the variance before the norm goes with it."""
    network = copy.deepcopy(tuned.network)
    layer = encoder_layers(network)[1]
    with torch.no_grad():
        layer.linear2.weight[4, 6] = 50.0
        layer.linear1.bias[6] = 5.0
    edits = [an_edit("ffn_down", 1, 4, 6), an_edit("row", 1, 4, None)]
    # Float32 knows the other channels to 2e-5 only beside a number of 250.
    assert_as_rerun(network, packed, edits, digits=5e-5)


def test_attention_that_turns_from_one_token_to_another(tuned, packed):
    """Scores change so much that the exponential of the change alone would overflow."""
    network = copy.deepcopy(tuned.network)
    layers = encoder_layers(network)
    with torch.no_grad():
        layers[1].self_attn.in_proj_weight[:32] *= 40
        layers[0].linear2.weight[4, 6], layers[0].linear1.bias[6] = 20.0, 3.0
    assert_as_rerun(network, packed, [an_edit("ffn_down", 0, 4, 6)])


@pytest.mark.parametrize("common", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("amount", [1e-6, 1e-2])
def test_what_all_keys_have_in_common_costs_no_digits(common, amount):
    torch.manual_seed(0)
    lengths, heads, size = [7, 30], 2, 8
    qkv = torch.randn(37, 3, heads, size, dtype=torch.float64)
    change = amount * torch.randn(3, 37, 3, heads, size, dtype=torch.float64)
    change[:, :, 1] += common
    out = torch.cat(
        [
            (torch.softmax(q @ k.mT / size**0.5, -1) @ v).transpose(0, 1)
            for q, k, v in (cell.permute(1, 2, 0, 3) for cell in qkv.split(lengths))
        ]
    )
    exact = attention_difference(qkv, out, change, lengths)
    found = attention_difference(qkv.float(), out.float(), change.float(), lengths)
    # The numbers themselves have their digits beside the common part alone.
    digits = 3e-6 + 3e-7 * common / amount
    assert (found - exact).abs().max() <= digits * exact.abs().max()


def test_further_weights_must_be_others():
    with pytest.raises(ValueError, match="each once"):
        dataclasses.replace(an_edit("ffn_down", 1, 2, 3), others=((1, 2, 3),))
    with pytest.raises(ValueError, match="each once"):
        dataclasses.replace(an_edit("row", 1, 2, None), others=((1, 2, 3),))


@pytest.mark.parametrize("n", [1, 12])
def test_weights_of_several_blocks_go_together(tuned, packed, n):
    rng = np.random.default_rng(n)
    others = tuple(
        (int(b), int(r), int(c))
        for b, r, c in zip(
            rng.integers(1, 3, n), rng.integers(16, size=n), rng.integers(24, size=n), strict=True
        )
    )
    edits = [
        dataclasses.replace(an_edit("ffn_down", 1, 2, 3), others=others),
        dataclasses.replace(an_edit("ffn_down", 2, 2, 3), others=((0, 1, 1), *others)),
    ]
    edits = [dataclasses.replace(e, others=tuple(sorted(set(e.others)))) for e in edits]
    assert_as_rerun(tuned.network, packed, edits)


def test_the_way_through_the_gpu_kernels_is_the_same(tuned, packed, monkeypatch):
    """With the kernel's formula in float32 in the kernel's place, and nothing compiled."""

    def kernel(qkv, out, lse, change, offsets, longest):
        assert lse is lse_of_kernels and change.is_contiguous() and len(change) % 2 == 0
        return attention_difference(qkv, out, change, packed.lengths)

    def norm(change, unit, inverse, gamma):
        assert all(x.is_contiguous() for x in (change, unit, inverse, gamma))
        return norm_difference(IntactNorm(unit, inverse, None, gamma, None), change)

    def relu(change, hidden, below):
        assert all(x.is_contiguous() for x in (change, hidden, below))
        return relu_difference(hidden, below, change)

    modules = {
        "attention_change": {"attention_change": kernel},
        "pointwise_change": {"norm_change": norm, "relu_change": relu},
    }
    for name, functions in modules.items():
        module = types.ModuleType(f"scsw.scgpt.kernels.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    lse_of_kernels = torch.zeros(0)
    layers, intact = encoder_layers(tuned.network), intact_pass(tuned.network, packed)
    fast = dataclasses.replace(
        intact, blocks=[dataclasses.replace(block, lse=lse_of_kernels) for block in intact.blocks]
    )
    edits = [an_edit(family, 0, 3, 5) for family in FAMILIES] + [an_edit("ffn_down", 0, 1, 2)]
    every = torch.arange(packed.n_tokens)
    for group in groups_of_edits(edits):
        for at in (None, every):
            expected = ablated(layers, intact, group, at=at)
            found = ablated(layers, fast, group, at=at)
            torch.testing.assert_close(found.cells, expected.cells, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_null_edit_changes_exactly_nothing(tuned, packed, family):
    edits = [an_edit(family, block, 1, 2, "scale", scale=1.0) for block in range(3)]
    real = an_edit("ffn_down", 0, 3, 4)
    for edit, parts in found(tuned.network, packed, [*edits, real]).items():
        assert all(bool(part.any()) == (edit == real) for part in parts)


def test_shuffled_noise_and_restored(tuned, packed):
    """Modes that are no change of weights, against the same done by a hook on linear2."""
    network = copy.deepcopy(tuned.network)
    layer, row, column = encoder_layers(network)[1], 4, 6
    with torch.no_grad():
        layer.linear2.weight[row, column] = 3.0
        layer.linear1.bias[column] = 1.0
    intact = intact_pass(network, packed)
    block = intact.blocks[1]
    shuffled = torch.cat(
        [
            first + torch.randperm(n, generator=torch.Generator().manual_seed(n))
            for first, n in zip(packed.offsets[:-1].long(), packed.lengths, strict=True)
        ]
    )
    threshold = float(block.norm2.input(row).abs().median())
    edits = {
        "shuffled": an_edit("ffn_down", 1, row, column, "shuffled"),
        "noise": an_edit("ffn_down", 1, row, column, "noise", channel=9),
        "restored": an_edit("ffn_down", 1, row, column, "restored", threshold=threshold),
    }
    h, weight = block.hidden[:, column].double(), 3.0
    spikes = block.norm2.input(row).abs() >= threshold
    assert 0 < spikes.sum() < len(spikes)
    wanted = {
        "shuffled": (row, weight * (h[shuffled] - h)),
        "noise": (9, -weight * h),
        "restored": (row, torch.where(spikes, 0.0, -weight * h)),
    }
    double = copy.deepcopy(network).double()
    base = package(double, packed)
    changes = found(network, packed, list(edits.values()), shuffled=shuffled)
    real = packed.padded(0, -2.0).real
    for mode, (channel, values) in wanted.items():
        added = torch.zeros(*real.shape, 16, dtype=torch.float64)
        added[real] = torch.nn.functional.one_hot(torch.tensor(channel), 16) * values[:, None]
        handle = encoder_layers(double)[1].linear2.register_forward_hook(
            lambda _m, _i, out, added=added: out + added
        )
        pruned = package(double, packed)
        handle.remove()
        for change, one, other in zip(changes[edits[mode]], pruned, base, strict=True):
            torch.testing.assert_close(change, one - other, rtol=1e-3, atol=1e-7)


def test_an_edit_hardly_depends_on_its_group(tuned, packed):
    edits = [an_edit("ffn_down", 0, i, 2 * i) for i in range(9)]
    layers, intact = encoder_layers(tuned.network), intact_pass(tuned.network, packed)
    together = ablated(layers, intact, edits).cells
    for place, edit in enumerate(edits):
        alone = ablated(layers, intact, [edit]).cells[0]
        torch.testing.assert_close(alone, together[place], rtol=1e-4, atol=1e-8)


def test_the_model_is_left_bit_identical(tuned, packed):
    before = {k: v.clone() for k, v in tuned.network.state_dict().items()}
    found(tuned.network, packed, [an_edit("ffn_down", 1, 2, 3)])
    assert all(v.equal(before[k]) for k, v in tuned.network.state_dict().items())


def test_groups_start_at_one_place_and_shards_hold_whole_groups():
    edits = [an_edit("ffn_down", i % 3, 0, i) for i in range(100)]
    edits += [an_edit("attn_out", i % 3, 0, i) for i in range(20)]
    groups = groups_of_edits(edits)
    assert groups == groups_of_edits(edits[::-1])
    for group in groups:
        assert len(group) <= GROUP
        assert len({(edit.start, edit.before_mlp, edit.detailed) for edit in group}) == 1
    assert sorted(e.name for g in groups for e in g) == sorted(e.name for e in edits)
    sharded = [group for shard in range(4) for group in shard_of(groups, shard, 4)]
    assert sorted(map(str, sharded)) == sorted(map(str, groups))


def test_parts_hold_every_cell_once_and_fit_the_memory():
    lengths = [70, 90, 3, 3, 500_000, 4]  # up to 128 tokens go together at this width
    parts = list(parts_of(lengths, 512, GROUP, torch.device("cpu")))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(6))
    assert parts == [slice(0, 1), slice(1, 4), slice(4, 5), slice(5, 6)]
