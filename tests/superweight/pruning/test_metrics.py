from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch

from scsw.errors import ScswError
from scsw.superweight.pruning.metrics import (
    DETAILED,
    EXPRESSION,
    PRIMARY,
    EffectSums,
    cosine_distance,
    nll_rise,
    probability_change,
)

getcontext().prec = 60


def exact(logits, change, label):
    """Rise of the NLL and change of the probabilities, with 60 digits."""
    z = [Decimal(float(x)) for x in logits]
    moved = [a + Decimal(float(b)) for a, b in zip(z, change, strict=True)]
    parts, after = [x.exp() for x in z], [x.exp() for x in moved]
    rise = (z[label] - sum(parts).ln()) - (moved[label] - sum(after).ln())
    return rise, [b / sum(after) - a / sum(parts) for a, b in zip(parts, after, strict=True)]


def made_up(seed, edits=4, cells=9, types=6, scale=2.0):
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(cells, types, generator=draw, dtype=torch.float64)
    change = torch.randn(edits, cells, types, generator=draw, dtype=torch.float64)
    return logits, change, torch.randint(types, (cells,), generator=draw)


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e-6, 1e-2, 1.0, 30.0, 800.0])
def test_rise_and_probabilities_keep_their_digits(size):
    logits, change, labels = made_up(0)
    change = size * change
    rise = nll_rise(logits, change, labels)
    moved = probability_change(logits, change, labels, rise)
    for e in range(len(change)):
        for c, label in enumerate(labels.tolist()):
            expected, shares = exact(logits[c], change[e, c], label)
            # What the sums inside may cancel is bounded by the size of the change.
            largest = change[e, c].abs().max().item()
            allowed = 1e-14 * abs(float(expected)) + 4e-15 * largest
            assert abs(float(Decimal(rise[e, c].item()) - expected)) <= allowed
            for k, share in enumerate(shares):
                error = abs(float(Decimal(moved[e, c, k].item()) - share))
                assert error <= 4e-15 * min(1.0, largest) + (1e-13 + 1e-15 * largest) * abs(
                    float(share)
                )


def test_a_change_common_to_all_types_is_none():
    logits, change, labels = made_up(1)
    common = change[..., :1].expand_as(change)
    assert nll_rise(logits, common, labels).abs().max() == 0


def test_no_change_is_exactly_zero():
    logits, change, labels = made_up(2)
    rise = nll_rise(logits, 0 * change, labels)
    assert not rise.any()
    assert not probability_change(logits, 0 * change, labels, rise).any()


def test_certain_types_and_enormous_changes_stay_finite():
    logits = torch.tensor([[900.0, -900.0, 0.0]], dtype=torch.float64)
    change = torch.tensor([[[-2000.0, 3000.0, 0.0]]], dtype=torch.float64)
    for label in (0, 1):
        rise = nll_rise(logits, change, torch.tensor([label]))
        before = -torch.log_softmax(logits, -1)[0, label]
        after = -torch.log_softmax(logits + change[0], -1)[0, label]
        assert rise.item() == pytest.approx((after - before).item(), rel=1e-14)
        moved = probability_change(logits, change, torch.tensor([label]), rise)
        assert moved[0, 0].tolist() == pytest.approx([-1.0, 1.0, 0.0], abs=1e-14)


def test_cosine_distance_keeps_its_digits():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    across = torch.tensor([[-4.0, 3.0]], dtype=torch.float64)
    for size in (1e-9, 1e-5, 0.5, 10.0):
        expected = 1 - 1 / Decimal(1 + Decimal(size) ** 2).sqrt()
        found = cosine_distance(x, size * across[None])
        assert found.item() == pytest.approx(float(expected), rel=1e-13)
    for factor, expected in ((0.0, 0.0), (2.0, 0.0), (-1.0, 1.0), (-3.0, 2.0)):
        assert cosine_distance(x, factor * x[None]).item() == pytest.approx(expected, abs=1e-15)


def filled(detailed=True, expression=True, seed=3, parts=(40,), scale=1.0, edits=5, error=1e-5):
    """Return sums over cells that are handed over in parts, and what they were made of."""
    n, groups, types, d, vocabulary = sum(parts), 4, 6, 8, 30
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    made = {
        "z": 2 * normal(n, types),
        "dz": scale * normal(edits, n, types),
        "labels": torch.randint(types, (n,), generator=draw),
        "codes": torch.randint(groups, (n,), generator=draw),
        "x": normal(n, d),
        "dx": scale * normal(edits, n, d),
        "cell": torch.randint(n, (12 * n,), generator=draw).sort().values,
        "p": normal(12 * n),
        "t": normal(12 * n),
        "dp": scale * normal(edits, 12 * n),
        "genes": torch.randint(vocabulary, (12 * n,), generator=draw),
        "rates": torch.rand(vocabulary, generator=draw, dtype=torch.float64),
    }
    sums = EffectSums(
        edits,
        groups,
        types,
        detailed=detailed,
        relative_error=error,
        detection_rates=made["rates"] if expression else None,
    )
    start = 0
    for size in parts:
        own = slice(start, start + size)
        sums.add_cells(
            made["z"][own],
            made["dz"][:, own],
            made["labels"][own],
            made["codes"][own],
            made["x"][own],
            made["dx"][:, own],
        )
        if expression:
            at = (made["cell"] >= start) & (made["cell"] < start + size)
            sums.add_expression(
                made["p"][at],
                made["t"][at],
                made["dp"][:, at],
                made["cell"][at] - start,
                made["genes"][at],
                made["codes"][own],
            )
        start += size
    return sums.columns(), made


def test_sums_are_additive_over_batches_and_of_the_right_groups():
    whole, made = filled()
    parted, _ = filled(parts=(7, 1, 32))
    assert set(whole) == {*PRIMARY, *DETAILED, *EXPRESSION}
    for name, values in whole.items():
        np.testing.assert_allclose(parted[name], values, rtol=1e-12, atol=1e-13, err_msg=name)
    codes = made["codes"].numpy()
    rise = nll_rise(made["z"], made["dz"], made["labels"]).numpy()
    for group in range(4):
        own = codes == group
        np.testing.assert_allclose(whole["sum_d_nll"][:, group], rise[:, own].sum(1))
        np.testing.assert_allclose(whole["sum_sq_d_nll"][:, group], (rise[:, own] ** 2).sum(1))
        assert (whole["n_cells"][:, group] == own.sum()).all()
        predicted = (made["z"] + made["dz"]).argmax(-1).numpy()[:, own]
        for e, row in enumerate(predicted):
            counts = np.bincount(row, minlength=6)
            assert whole["predicted_counts"][e, group].tolist() == counts.tolist()


def test_random_controls_keep_the_primary_sums_alone():
    found, _ = filled(detailed=False, expression=False)
    assert list(found) == PRIMARY
    full, _ = filled()
    for name in PRIMARY:
        np.testing.assert_array_equal(found[name], full[name])
        assert found[name].shape == (5, 4)


def test_no_change_leaves_every_difference_exactly_zero():
    found, _ = filled(scale=0.0)
    changes = [n for n in found if "_d_" in n or n.startswith(("floor", "sum_cosine", "sum_rela"))]
    assert len(changes) == 16
    for name in changes:
        assert not found[name].any(), name
    for name in found:
        if f"{name}_intact" in found:
            np.testing.assert_array_equal(found[name], found[f"{name}_intact"])


def test_groups_without_cells_have_zeros():
    sums = EffectSums(2, 3, 4, detailed=True, relative_error=0.0, detection_rates=torch.ones(2))
    found = sums.columns()
    assert all(not values.any() for values in found.values())
    assert found["predicted_counts"].shape == (2, 3, 4)
    assert found["bin_counts"].shape == (2, 3, 15)


@pytest.mark.parametrize("size", [1e-8, 1e-2, 1.0])
def test_the_floor_bounds_what_the_error_of_the_changes_does(size):
    error = 1e-6
    found, made = filled(scale=size, error=error)
    args = made["z"], made["dz"], made["labels"]
    rise = nll_rise(*args)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, made["dz"].shape, generator=draw).double() * 2 - 1
        wrong = made["dz"] + error * signs * made["dz"].abs().amax(-1, keepdim=True)
        off = (nll_rise(made["z"], wrong, made["labels"]) - rise).numpy()
        for group in range(4):
            own = made["codes"].numpy() == group
            assert (np.abs(off[:, own].sum(1)) <= 1.0001 * found["floor_nll"][:, group]).all()


def test_the_floor_is_reached_by_the_worst_error():
    logits, change, labels = made_up(5, edits=1, cells=1)
    error = 1e-7
    sums = EffectSums(1, 1, 6, detailed=False, relative_error=error)
    sums.add_cells(logits, change, labels, torch.zeros(1, dtype=torch.int64))
    worst = torch.ones(6, dtype=torch.float64)
    worst[labels[0]] = -1
    wrong = change + error * change.abs().amax() * worst
    off = nll_rise(logits, wrong, labels) - nll_rise(logits, change, labels)
    assert off.item() == pytest.approx(sums.columns()["floor_nll"][0, 0], rel=1e-5)


def test_outputs_that_are_no_numbers_are_refused():
    logits, change = torch.zeros(3, 2).double(), torch.zeros(4, 3, 2).double()
    change[1, 2, 0] = torch.nan
    sums = EffectSums(4, 1, 2, detailed=False, relative_error=1e-5)
    with pytest.raises(ScswError, match="no finite numbers"):
        sums.add_cells(logits, change, torch.zeros(3).long(), torch.zeros(3).long())
