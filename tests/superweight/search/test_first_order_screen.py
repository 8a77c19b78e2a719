"""The screen of a scGPT model: both losses, slopes at three scales, and the table."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from scsw.errors import ScswError
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.superweight.ablate import WeightEdit, ablate
from scsw.superweight.search.freeze import predicted_rise
from scsw.superweight.search.scale_gradients import scale_gradients, spread_over_types
from scsw.superweight.search.screen import COLUMNS, PLACE, TYPE_COLUMNS, largest, screen
from tests.tiny import COMPUTE, TYPES

SETTINGS = SimpleNamespace(first_order_top=30, gradient_cells=24, mask_ratio=0.4)
CPU = torch.device("cpu")
LARGE = (0, 5, 11)


@pytest.fixture(scope="module")
def large(tuned):
    """Return the trained model with one weight made large, fed by a bias and by its input."""
    model = copy.deepcopy(tuned.network)
    block, row, column = LARGE
    with torch.no_grad():
        encoder_layers(model)[block].linear2.weight[row, column] = 4.0
        encoder_layers(model)[block].linear1.bias[column] = 1.0
    return model


def run(model, tokenizer, *, batch_size=8, also=(), **changes):
    return screen(
        model,
        tokenizer,
        np.arange(len(tokenizer)),
        settings=SimpleNamespace(**vars(SETTINGS) | changes),
        compute=SimpleNamespace(**vars(COMPUTE) | {"batch_size": batch_size}),
        device=CPU,
        also=also,
    )


@pytest.fixture(scope="module")
def screened(large, tuned):
    return run(large, tuned.tokenizer, also=[LARGE])


def sampled(tokenizer):
    return spread_over_types(tokenizer.labels, tokenizer.cell_keys, SETTINGS.gradient_cells)


def nll(scores, labels):
    logp = F.log_softmax(scores.double(), dim=-1)
    return -logp.gather(-1, labels.expand(scores.shape[:-1])[..., None])[..., 0].numpy()


def losses(model, batch, place, scale):
    """Return the NLL of each cell with a weight multiplied by a number."""
    block, row, column = place
    edit = WeightEdit(f"transformer_encoder.layers.{block}.linear2", row, column)
    with torch.no_grad(), ablate(model, [edit], scale):
        return nll(forward_padded(model, batch)["cls_output"], batch.labels)


def test_effects_are_those_of_autograd_for_both_losses(large, tuned, screened):
    model, tokenizer = copy.deepcopy(large).double(), tuned.tokenizer
    weights = [layer.linear2.weight for layer in encoder_layers(model)]
    expected = {"nll": 0, "reconstruction": 0}
    for kind in range(len(TYPES)):
        batch = tokenizer.batch(np.flatnonzero(tokenizer.labels == kind), mask_ratio=0.4)
        batch.values, batch.target = batch.values.double(), batch.target.double()
        hidden_output = forward_padded(model, batch)["mlm_output"]
        per_cell = [
            F.mse_loss(predicted[hidden], target[hidden])
            for predicted, target, hidden in zip(
                hidden_output, batch.target, batch.hidden, strict=True
            )
        ]
        batch.values = batch.target
        shown = forward_padded(model, batch)["cls_output"]
        losses = {
            "nll": F.cross_entropy(shown, batch.labels),
            "reconstruction": torch.stack(per_cell).mean(),
        }
        for name, loss in losses.items():
            found = torch.autograd.grad(loss, weights)
            expected[name] += np.stack(
                [(-w * g).abs().detach().numpy() for w, g in zip(weights, found, strict=True)]
            )
    for name, effects in screened.effects.items():
        assert expected[name].max() > 1e-3
        np.testing.assert_allclose(effects, expected[name], rtol=2e-3, atol=1e-6)


def test_simpson_foresees_the_ablation_where_first_order_does_not(large, tuned, screened):
    tokenizer, sample = tuned.tokenizer, sampled(tuned.tokenizer)
    batch = tokenizer.batch(sample)
    change = losses(large, batch, LARGE, 0.0) - losses(large, batch, LARGE, 1.0)
    labels = tokenizer.labels[sample]
    measured = np.array([change[labels == kind].mean() for kind in range(len(TYPES))])
    assert np.abs(measured).max() > 0.05
    own = screened.by_type.query("loss == 'nll' and block == 0 and row == 5 and column == 11")
    assert own["cell_type"].tolist() == TYPES and own["n_sample"].tolist() == [8, 8, 8]
    slopes = run(large, tokenizer_of(tuned, sample), also=[LARGE]).by_type
    slopes = slopes.query("loss == 'nll' and block == 0 and row == 5 and column == 11")
    np.testing.assert_allclose(slopes["simpson"], own["simpson"], rtol=1e-3, atol=1e-6)
    error = np.abs(own["simpson"] - measured).max()
    first_order_error = np.abs(slopes["first_order"] - measured).max()  # of the same cells
    assert error < 0.15 * np.abs(measured).max()
    assert error < first_order_error / 5
    row = screened.table.query("loss == 'nll' and block == 0 and row == 5 and column == 11")
    assert row["simpson"].item() == pytest.approx(np.abs(own["simpson"]).sum(), rel=1e-12)


def test_the_predicted_rise_has_the_sign_and_order_of_what_is_measured(large, tuned, screened):
    """A weight whose removal helps has a large Σ over types of |·| too, and is no candidate."""
    table = screened.table.query("loss == 'nll'").set_index(PLACE)
    batch = tuned.tokenizer.batch(np.arange(len(tuned.tokenizer)))
    intact = losses(large, batch, LARGE, 1.0)
    measured = np.array([(losses(large, batch, p, 0.0) - intact).mean() for p in table.index])
    predicted = predicted_rise(table)
    assert measured.min() < 0 < measured.max()
    assert spearmanr(predicted, measured).statistic > 0.9
    assert abs(spearmanr(table["simpson"], measured).statistic) < 0.6
    at = table.index.get_loc(LARGE)
    error, first_order_error = abs(
        np.array([predicted.iloc[at], table["first_order_signed"].iloc[at]]) - measured[at]
    )
    assert error < first_order_error / 2


def test_the_predicted_rise_is_exact_for_a_quadratic_loss():
    """f'(s) = a + b·s: zeroing changes it by −a − b/2, also where the sample is of other cells."""
    a, b, elsewhere = np.array([0.3, 0.4, 0.05]), np.array([-0.2, 0.1, 0.0]), 0.07
    table = pd.DataFrame({"g0": a, "g_half": a + b / 2, "g1": a + b})
    rise = predicted_rise(table.assign(first_order_signed=-(a + b) + elsewhere))
    np.testing.assert_allclose(rise, -a - b / 2 + elsewhere, rtol=1e-12)


def tokenizer_of(tuned, rows):
    """Return the tokenizer of some of the cells."""
    from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer

    return cohort_tokenizer(tuned.cells[rows].copy(), tuned.model)


def test_slopes_are_those_of_finite_differences(large, tuned):
    model = copy.deepcopy(large).double()
    batch = tuned.tokenizer.batch(np.arange(5))
    batch.values = batch.values.double()
    places = np.array([LARGE, (1, 3, 2), (2, 15, 23), (0, 5, 12)])
    step = 1e-4
    for scale in (0.0, 0.5, 1.0):
        found = scale_gradients(model, [batch], places, [scale])[0]
        assert np.abs(found).max() > 1e-4
        for index, place in enumerate(places):
            ends = [losses(model, batch, place, s) for s in (scale - step, scale + step)]
            slope = (ends[1] - ends[0]) / (2 * step)
            np.testing.assert_allclose(found[index], slope, rtol=1e-4, atol=1e-8)


def test_the_slope_at_one_is_that_of_the_engine(large, tuned, screened):
    table = screened.table.query("loss == 'nll'")
    places = table[["block", "row", "column"]].to_numpy()
    assert len(places) >= 30
    batches = [tuned.tokenizer.batch(part) for part in np.split(sampled(tuned.tokenizer), 4)]
    slopes = scale_gradients(large, batches, places, (0.0, 0.5, 1.0)).mean(2)
    for name, expected in zip(["g0", "g_half", "g1"], slopes, strict=True):
        np.testing.assert_allclose(table[name], expected, rtol=1e-3, atol=1e-6)


def test_the_table_ranks_each_loss_by_its_own_effects(screened):
    assert screened.table.columns.tolist() == COLUMNS
    assert screened.by_type.columns.tolist() == TYPE_COLUMNS
    for loss, table in screened.table.groupby("loss"):
        flat = np.concatenate([effect.ravel() for effect in screened.effects[loss]])
        assert table["rank"].tolist()[:30] == list(range(1, 31))
        np.testing.assert_array_equal(table["first_order"], -np.sort(-flat)[table["rank"] - 1])
        assert (table["first_order_signed"].abs() <= table["first_order"]).all()
        np.testing.assert_allclose(
            table["saliency"], 0.5 * table["weight"] ** 2 * table["fisher"], rtol=1e-12
        )
        # No mean square is below the square of the mean.
        assert (
            table["fisher"] * table["weight"] ** 2 >= table["first_order_signed"] ** 2 * (1 - 1e-9)
        ).all()
        types = screened.by_type.query("loss == @loss")
        sums = types.groupby(["block", "row", "column"])["first_order"].agg(lambda x: x.abs().sum())
        np.testing.assert_allclose(
            table.set_index(["block", "row", "column"])["first_order"].sort_index(), sums, rtol=1e-9
        )
    slopes = screened.table[["g0", "g_half", "g1", "simpson"]]
    by_nll = screened.table["loss"] == "nll"
    assert slopes[by_nll].notna().all(axis=None) and slopes[~by_nll].isna().all(axis=None)


def test_weights_that_are_asked_for_are_in_the_table_with_their_rank():
    effects = [np.array([[5.0, 1.0], [3.0, 3.0]]), np.array([[4.0, 0.0]])]
    places, ranks = largest(effects, 3, [(1, 0, 1), (0, 0, 0)])
    assert places.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert ranks.tolist() == [1, 2, 3, 6]


def test_no_result_depends_on_the_batch_size(large, tuned, screened):
    again = run(large, tuned.tokenizer, also=[LARGE])
    for loss, effects in screened.effects.items():
        assert all(
            a.tobytes() == b.tobytes() for a, b in zip(effects, again.effects[loss], strict=True)
        )
    assert again.table.equals(screened.table) and again.by_type.equals(screened.by_type)
    for size in (5, 40):
        other = run(large, tuned.tokenizer, batch_size=size, also=[LARGE])
        for loss, effects in screened.effects.items():
            for a, b in zip(effects, other.effects[loss], strict=True):
                assert np.abs(a - b).max() <= 1e-6
        keys = ["loss", "block", "row", "column"]
        both = screened.table.merge(other.table, on=keys, suffixes=("", "_other"))
        assert len(both) >= 0.9 * len(screened.table)
        for name in ("first_order_signed", "fisher", "g0", "g_half", "g1", "simpson"):
            own = both[name].notna()
            assert np.abs(both[name] - both[f"{name}_other"])[own].max() <= 1e-6


def test_the_model_is_left_as_it_was(large, tuned):
    before = {name: x.clone() for name, x in large.state_dict().items()}
    flags = [p.requires_grad for p in large.parameters()]
    run(large, tuned.tokenizer, first_order_top=3)
    assert all(x.equal(before[name]) for name, x in large.state_dict().items())
    assert all(p.grad is None for p in large.parameters())
    assert [p.requires_grad for p in large.parameters()] == flags


def test_cells_of_unknown_types_are_left_out_and_alone_are_an_error(tuned):
    cells = tuned.cells[:12].copy()
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str)
    cells.obs.iloc[:4, cells.obs.columns.get_loc("cell_type")] = "never seen"
    mixed = SimpleNamespace(cells=cells, model=tuned.model)
    known = run(tuned.network, tokenizer_of(mixed, np.arange(4, 12)), first_order_top=4)
    found = run(tuned.network, tokenizer_of(mixed, np.arange(12)), first_order_top=4)
    for a, b in zip(found.effects["nll"], known.effects["nll"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert set(found.by_type["cell_type"]) <= set(TYPES)
    with pytest.raises(ScswError, match="type that the model knows"):
        run(tuned.network, tokenizer_of(mixed, np.arange(4)))


def test_a_model_that_is_not_finite_is_refused(tuned):
    model = copy.deepcopy(tuned.network)
    with torch.no_grad():
        encoder_layers(model)[1].linear2.weight[0, 0] = torch.nan
    with pytest.raises(ScswError, match="not finite"):
        run(model, tuned.tokenizer)


def test_without_a_top_the_effects_stand_alone(tuned):
    found = run(tuned.network, tuned.tokenizer, first_order_top=0)
    assert len(found.table) == 0 and found.table.columns.tolist() == COLUMNS
    assert len(found.effects["reconstruction"]) == 3


def test_the_sample_is_spread_over_types_and_hangs_on_names_alone():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 4], [50, 3, 20])
    keys = rng.integers(2**63, size=73, dtype=np.uint64)
    drawn = spread_over_types(labels, keys, 21)
    assert np.bincount(labels[drawn]).tolist() == [9, 3, 0, 0, 9]
    order = rng.permutation(73)
    again = spread_over_types(labels[order], keys[order], 21)
    assert sorted(keys[order][again]) == sorted(keys[drawn])
    assert spread_over_types(labels, keys, 100).tolist() == list(range(73))
