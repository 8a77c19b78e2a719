"""The suffix engine against zero-and-rerun with the model's own forward pass."""

import copy

import numpy as np
import pytest
import torch

from scsw.scgpt.model import encoder_layers
from scsw.superweight.ablation import (
    GROUP,
    Edit,
    expression,
    groups_of_edits,
    logits,
    prefix,
    shard_of,
)


def double(tuned, n=5):
    model = copy.deepcopy(tuned.network).double()
    batch = tuned.tokenizer.batch(np.arange(n), mask_ratio=0.4)
    batch.values = batch.values.double()
    return model, batch


def rerun(model, batch, edit):
    """Set the weight by hand and run the whole model."""
    layer = encoder_layers(model)[edit.block].linear2
    intact_weight, intact_bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    with torch.no_grad():
        weight = intact_weight[edit.row, edit.column]
        layer.weight[edit.row, edit.column] = edit.scale * weight
        layer.bias[edit.row] += edit.offset * weight
        output = model(batch.genes, batch.values, batch.padding, CLS=True)
        layer.weight.copy_(intact_weight)
        layer.bias.copy_(intact_bias)
    return output["cls_output"], output["mlm_output"]


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (0.0, 0.7), (3.0, 0.0)])
def test_the_difference_equals_zero_and_rerun(tuned, block, scale, offset):
    model, batch = double(tuned)
    rng = np.random.default_rng(block)
    rows, columns = rng.integers(16, size=4), rng.integers(24, size=4)
    with torch.no_grad():  # a weight ten times its value must not be special
        encoder_layers(model)[block].linear2.weight[rows[0], columns[0]] *= 10
    edits = [
        Edit(f"e{i}", "candidate", "zero", block, int(r), int(c), scale, offset)
        for i, (r, c) in enumerate(zip(rows, columns, strict=True))
    ]
    start = prefix(model, batch)
    found_logits, found_values = logits(model, start, edits), expression(model, start, edits)
    with torch.no_grad():
        intact = model(batch.genes, batch.values, batch.padding, CLS=True)
    real = batch.real
    for index, edit in enumerate(edits):
        expected_logits, expected_values = rerun(model, batch, edit)
        for found, expected, base in (
            (found_logits[index], expected_logits, intact["cls_output"]),
            (found_values[index][real], expected_values[real], intact["mlm_output"][real]),
        ):
            change = expected - base
            moved = change.abs() >= 1e-6
            relative = ((found - base - change).abs() / change.abs())[moved]
            assert relative.numel() == 0 or relative.max() <= 1e-3


def test_a_null_edit_gives_exactly_the_intact_values(tuned):
    batch = tuned.tokenizer.batch(np.arange(11), mask_ratio=0.4)
    start = prefix(tuned.network, batch)
    for block in range(3):
        nulls = [Edit(f"n{i}", "candidate", "zero", block, i, i, scale=1.0) for i in range(15)]
        for run in (logits, expression):
            found = run(tuned.network, start, nulls)
            assert len(found) == GROUP
            assert all(row.equal(found[-1]) for row in found)


def test_an_edit_does_not_depend_on_its_group(tuned):
    batch = tuned.tokenizer.batch(np.arange(9))
    start = prefix(tuned.network, batch)
    edits = [Edit(f"e{i}", "random", "zero", 0, i, 2 * i) for i in range(9)]
    together = logits(tuned.network, start, edits)
    for index, edit in enumerate(edits):
        assert logits(tuned.network, start, [edit])[0].equal(together[index])


def test_the_model_is_left_bit_identical(tuned):
    before = {k: v.clone() for k, v in tuned.network.state_dict().items()}
    start = prefix(tuned.network, tuned.tokenizer.batch(np.arange(4)))
    logits(tuned.network, start, [Edit("e", "random", "zero", 1, 2, 3)])
    assert all(v.equal(before[k]) for k, v in tuned.network.state_dict().items())


def test_groups_hold_one_block_and_shards_hold_whole_groups():
    edits = [Edit(f"e{i:03d}", "random", "zero", i % 3, 0, i) for i in range(100)]
    groups = groups_of_edits(edits[::-1])
    assert groups == groups_of_edits(edits)
    assert all(len(group) < GROUP and len({e.block for e in group}) == 1 for group in groups)
    assert sorted(e.name for g in groups for e in g) == sorted(e.name for e in edits)
    sharded = [group for shard in range(4) for group in shard_of(groups, shard, 4)]
    assert sorted(map(str, sharded)) == sorted(map(str, groups))
