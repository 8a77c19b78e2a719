"""Recovery: scores that order effects perfectly, by chance, and in parts."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scsw.errors import ScswError
from scsw.superweight.search.weight_table import weight_table
from scsw.superweight.verdict.recovery import (
    SCORES,
    precision_at,
    recovery,
    recovery_table,
    scores_of_sample,
)

SHAPE = (8, 12)


def sample(n=240, seed=0):
    rng = np.random.default_rng(seed)
    effect = rng.lognormal(size=n)
    return pd.DataFrame(
        {
            "block": np.arange(n) % 2,
            "effect": effect,
            "floor": np.median(effect),
            "spike": rng.normal(size=n),
            "hidden_spike": np.nan,
            "weight": effect**2,
            "wanda": 3.0,
            "first_order": np.log(effect) + rng.normal(0, 1, n),
        }
    )


def test_a_score_that_orders_the_effects_recovers_them_all():
    found = recovery(sample(), "weight", seed=0)
    assert found["spearman"] == pytest.approx(1) and found["spearman_low"] == pytest.approx(1)
    assert found["precision_at_10"] == found["precision_at_100"] == 1
    assert (found["n"], found["n_resolved"]) == (240, 120)
    assert found["chance_at_10"] == pytest.approx(10 / 240)


def test_a_score_by_chance_does_not():
    found = recovery(sample(), "spike", seed=0)
    assert found["spearman_low"] < 0 < found["spearman_high"]
    assert found["precision_at_100"] == pytest.approx(found["chance_at_100"], abs=0.15)


def test_a_noisy_score_lies_between_and_its_interval_holds_scipys_rho():
    table = sample()
    found = recovery(table, "first_order", seed=0)
    rho = spearmanr(table["first_order"], table["effect"]).statistic
    assert found["spearman"] == pytest.approx(rho)
    assert 0.5 < found["spearman_low"] < rho < found["spearman_high"] < 0.95
    # The half-width is near that of the Fisher transform.
    half = (found["spearman_high"] - found["spearman_low"]) / 2
    assert half == pytest.approx(1.96 * 1.03 * (1 - rho**2) / np.sqrt(len(table)), rel=0.35)


def test_what_does_not_vary_or_is_unknown_has_no_correlation():
    assert np.isnan(recovery(sample(), "wanda", seed=0)["spearman"])
    found = recovery(sample(), "hidden_spike", seed=0)
    assert found["n"] == 0 and np.isnan(found["spearman"]) and np.isnan(found["precision_at_10"])


def test_ties_at_the_edge_count_by_their_share():
    effect = np.arange(10.0)[::-1]  # the first are the largest
    assert precision_at(np.ones(10), effect, 4) == pytest.approx(0.4)
    score = np.array([2.0, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert precision_at(score, effect, 3) == pytest.approx((1 + 2 * 2 / 4) / 3)


def test_a_small_sample_has_no_precision():
    found = recovery(sample(n=150), "weight", seed=0)
    assert found["precision_at_10"] == 1 and np.isnan(found["precision_at_100"])


def test_the_table_has_a_row_per_scope_and_score():
    table = recovery_table(sample(), seed=0)
    assert table["scope"].unique().tolist() == ["all", "block 0", "block 1"]
    assert all(tuple(own["score"]) == SCORES for _, own in table.groupby("scope"))
    assert table.set_index(["scope", "score"]).loc[("block 1", "weight"), "n"] == 120
    pd.testing.assert_frame_equal(table, recovery_table(sample(), seed=0))


@pytest.fixture
def files(tmp_path):
    """Weights, spikes and effects of two tensors, each control with an effect of |w|."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=SHAPE) for _ in range(2)]
    weight_table(weights, [w**2 for w in weights]).to_parquet(tmp_path / "weights.parquet")
    spikes = [
        (
            block,
            site,
            channel,
            "all",
            2.0 + channel,
            10.0 * (block + 1) + channel + (site == "mlp_out"),
        )
        for block in range(2)
        for site, width in (("mlp_hidden", 12), ("mlp_out", 8), ("pre_norm2", 8))
        for channel in range(width)
    ]
    columns = ["block", "site", "channel", "group_by", "mean", "ratio"]
    pd.DataFrame(spikes, columns=columns).to_parquet(tmp_path / "spikes.parquet")
    rows = [
        (
            "random",
            f"ffn_down.b{b}.r{r}.c{c}",
            "",
            b,
            r,
            c,
            "zero",
            0.0,
            0,
            donor,
            4,
            -4 * abs(weights[b][r, c]),
        )
        for b, r, c in [(0, 1, 2), (0, 7, 11), (1, 0, 0)]
        for donor in ("d0", "d1")
    ]
    columns = (
        "weight_set candidate_id of block row column mode scale draw donor_id n_cells sum_d_nll"
    )
    effects = pd.DataFrame(rows, columns=columns.split()).assign(floor_nll=0.04)
    return tmp_path, weights, effects


def test_each_control_gets_its_scores(files):
    folder, weights, effects = files
    found = scores_of_sample(effects, folder / "spikes.parquet", folder / "weights.parquet")
    assert found[["block", "row", "column"]].to_numpy().tolist() == [
        [0, 1, 2],
        [0, 7, 11],
        [1, 0, 0],
    ]
    w = np.abs([weights[0][1, 2], weights[0][7, 11], weights[1][0, 0]])
    assert found["effect"].to_numpy() == pytest.approx(w)  # its size, though the NLL falls
    assert found["weight"].to_numpy() == pytest.approx(w)
    assert found["wanda"].to_numpy() == pytest.approx(w * [4, 13, 2])
    assert found["first_order"].to_numpy() == pytest.approx(w**2)
    assert found["spike"].tolist() == [12, 18, 21]  # the larger of both sites
    assert found["hidden_spike"].tolist() == [12, 21, 20]
    assert found["floor"].tolist() == pytest.approx([0.01] * 3)


def test_weights_of_another_model_are_refused(files):
    folder, weights, effects = files
    weight_table(weights[:1], weights[:1]).to_parquet(folder / "weights.parquet")
    with pytest.raises(ScswError, match="lacks weights that were ablated"):
        scores_of_sample(effects, folder / "spikes.parquet", folder / "weights.parquet")


def test_the_weight_table_has_every_weight_in_order():
    weights = [np.arange(6.0).reshape(2, 3), -np.arange(6.0).reshape(2, 3)]
    table = weight_table(weights, [10 * w for w in weights])
    assert len(table) == 12 and table["weight"].tolist() == [*range(6), *(-i for i in range(6))]
    row = table.iloc[10]
    assert (row["block"], row["row"], row["column"], row["first_order"]) == (1, 1, 1, -40)
