import numpy as np
import pandas as pd
import pytest

from scsw.biology.stages.axes import AXES, AXIS_SCORES, EXPRESSION
from scsw.biology.stages.stage_order import FLAT, FOUND, ORDERS, change_points, stage_order
from scsw.settings import section_settings

SETTINGS = section_settings("stages", {"covariates": ["median_genes", "sex"]})
STATISTICS = section_settings("statistics", {"bootstrap": 300})
PLANTED = {"synapse": (0.3, -8), "tau": (0.5, 8), "microglia": (0.7, 14), "astrocytes": (0.7, 14)}


@pytest.fixture(scope="module")
def make_axes():
    """Axis scores of 90 donors with given change points and slopes, as expressed and in c1."""

    def make(planted=PLANTED, *, noise=0.3, seed=0, sources=(EXPRESSION,)):
        rng = np.random.default_rng(seed)
        donors = pd.DataFrame(
            {
                "donor_id": [f"D{i:02d}" for i in range(90)],
                "split": ["train"] * 40 + ["discovery"] * 20 + ["test"] * 30,
                "cps": rng.uniform(0.15, 0.93, 90).round(3),
                "median_genes": rng.normal(2000, 300, 90),
                "sex": rng.choice(["female", "male"], 90),
                "n_cells": 50,
                "n_genes": 30,
                "pct_mito": 1.0,
                "assay_shares": '{"10x": 1.0}',
                "age_death": rng.normal(85, 5, 90),
                "age_censored": False,
                "pmi": rng.normal(6, 1, 90),
                "is_reference": False,
                "apoe_e4": 0,
                "apoe_e2": 0,
            }
        )
        tables = []
        for depth in ("as measured", "thinned"):
            for source in sources:
                for axis in AXES:
                    point, slope = planted[axis]
                    score = slope * np.maximum(0, donors["cps"] - point)
                    score = score + noise * rng.normal(size=90)
                    tables.append(donors.assign(depth=depth, source=source, axis=axis, score=score))
        return pd.concat(tables, ignore_index=True)[AXIS_SCORES]

    return make


def ordered(axes, order=(), statistics=STATISTICS):
    points, kept = change_points(axes, list(order), SETTINGS, statistics)
    return points, stage_order(points, kept)


def test_a_planted_order_is_recovered(make_axes):
    points, orders = ordered(make_axes())
    assert set(points["status"]) == {FOUND}
    for row in points.itertuples():
        planted, slope = PLANTED[row.axis]
        assert row.change_low <= planted <= row.change_high
        assert row.slope_low <= row.slope <= row.slope_high
        assert np.sign(row.slope) == np.sign(slope) and not row.at_start
        assert (row.n_donors, row.covariates) == (90, "median_genes+sex")
    assert len(orders) == 2 * len(ORDERS)
    assert (orders["probability"] > 0.95).all() and set(orders["status"]) == {"supported"}
    assert set(orders["chance"]) == {1 / 2, 1 / 6}


def test_the_opposite_order_is_contradicted_and_one_time_is_not_resolved(make_axes):
    backward = PLANTED | {"synapse": (0.7, -14), "microglia": (0.5, 8), "tau": (0.5, 8)}
    _, orders = ordered(make_axes(backward))
    status = orders.set_index(["depth", "order"])["status"]["as measured"]
    assert status["synapse → tau"] == status["synapse → microglia"] == "contradicted"
    assert status["tau → microglia"] == "not resolved"


def test_a_flat_series_has_no_change_point(make_axes):
    points, orders = ordered(make_axes(PLANTED | {"tau": (0.5, 0)}))
    tau = points[points["axis"].eq("tau")]
    assert set(tau["status"]) == {FLAT} and (tau["q"] > 0.05).all()
    assert tau[["change_point", "change_low", "change_high", "slope"]].isna().all(axis=None)
    with_tau = orders[orders["order"].str.contains("tau")]
    assert set(with_tau["status"]) == {"not testable"}
    assert with_tau["probability"].isna().all()
    assert with_tau["reason"].str.contains("tau: no change point").all()
    assert orders.loc[~orders["order"].str.contains("tau"), "probability"].notna().all()


def test_flat_axes_are_seldom_given_a_change_point(make_axes):
    flat = dict.fromkeys(AXES, (0.5, 0))
    false = 0
    for seed in range(12):
        axes = make_axes(flat, seed=seed, noise=1.0).query("depth == 'as measured'")
        few = section_settings("statistics", {"bootstrap": 200})
        false += int(change_points(axes, [], SETTINGS, few)[0]["status"].eq(FOUND).any())
    assert false <= 3  # of 12, each with a family of four at 0.05


def test_candidates_are_scored_in_held_out_donors(make_axes):
    points, _ = ordered(make_axes(sources=(EXPRESSION, "c1")), ["c1", "c2"])
    n_donors = points.groupby("source")["n_donors"].unique()
    assert n_donors[EXPRESSION].tolist() == [90] and n_donors["c1"].tolist() == [50]
    absent = points[points["source"].eq("c2")]
    assert set(absent["status"]) == {"not tested"} and absent["reason"].str.len().gt(0).all()


def test_without_cps_nothing_is_testable(make_axes):
    points, orders = ordered(make_axes().assign(cps=np.nan))
    assert set(points["status"]) == set(orders["status"]) == {"not testable"}
    assert orders["reason"].str.contains("no donor has a CPS").all()


def test_no_axis_table_is_no_crash():
    points, orders = ordered(pd.DataFrame(columns=AXIS_SCORES), ["c1"])
    assert set(orders["status"]) == {"not testable"} and len(points) == 2 * 2 * len(AXES)


def test_reference_donors_and_donors_of_few_cells_are_left_out(make_axes):
    axes = make_axes()
    axes["is_reference"] = axes["donor_id"].isin(["D01", "D02"])
    axes.loc[axes["donor_id"].eq("D05") & axes["axis"].eq("tau"), "n_cells"] = 3
    points, _ = ordered(axes)
    expected = {axis: 88 for axis in AXES} | {"tau": 87}
    for _, own in points.groupby("depth"):
        assert own.set_index("axis")["n_donors"].to_dict() == expected


def test_few_donors_are_not_tested(make_axes):
    axes = make_axes()
    points, _ = ordered(axes[axes["donor_id"] < "D19"])
    assert set(points["status"]) == {"not tested"}
    assert points["reason"].str.contains("19 donors .* 20 are needed").all()


def test_the_same_seed_gives_the_same_numbers(make_axes):
    axes = make_axes()
    first, second = ordered(axes), ordered(axes.sample(frac=1, random_state=1))
    for a, b in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(a, b)
