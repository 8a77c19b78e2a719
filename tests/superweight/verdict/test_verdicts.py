"""Verdicts from made-up effects, one rule at a time."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from scsw.superweight.verdict.matched_controls import RIVALS, SETS, Comparison
from scsw.superweight.verdict.statistics import rank_p
from scsw.superweight.verdict.verdict_rules import verdict
from scsw.superweight.verdict.verdict_tables import needed_effect, verdict_tables
from scsw.superweight.verdict.verdicts import floor_gaps
from tests.superweight.verdict.made_up_effects import QUIET, candidates, effects, run


def judge(rises, *, family=None, n_donors=12, run_of=None, **given):
    names = ("gap", "split_unit", "noise_rule", "min_effect")
    settings = {name: given.pop(name) for name in names if name in given}
    family = candidates(rises) if family is None else family
    table, _ = verdict_tables(
        family, effects(rises, n_donors=n_donors, **given), run(n_donors=n_donors, **settings)
    )
    return table.set_index("candidate_id")


def test_the_two_causal_grades_and_the_null():
    table = judge(
        {"bias": (0.5, 0.02), "gate": (0.5, 0.4), "none": (0.0, 0.0), "small": (0.05, 0.05)}
    )
    assert table["verdict"].to_dict() == {
        "bias": "causal, constant",
        "gate": "causal, informative",
        "none": "not causal",
        "small": "not causal",
    }
    assert table["causal"].tolist() == [True, True, False, False]
    assert "within that of random weights" in table.loc["none", "reason"]
    assert "not above the smallest effect that counts" in table.loc["small", "reason"]
    bias = table.loc["bias"]
    assert bias["effect_nll"] == pytest.approx(0.5, abs=0.02)
    assert bias["effect_shuffled_nll"] == bias["effect_mean_nll"]
    assert bias["effect_restored_nll"] == pytest.approx(0.1, abs=0.02)
    assert bias["min_effect"] == pytest.approx(0.05 * 2.0)
    assert bias["effect_low"] < bias["effect_nll"]
    assert bias["effect_accuracy"] == pytest.approx(-0.1)
    assert bias["effect_gep_mse"] == pytest.approx(0.1)
    assert "199 random scalars" in bias["null"]
    assert (bias["wanda_n"], bias["row_neighbour_n"], bias["noise_n"]) == (20, 20, 20)
    assert bias["wanda_max"] == pytest.approx(QUIET) and bias["wanda_low"] > 0.4


@pytest.mark.parametrize(
    ("mean", "grade"), [(0.09, "causal, constant"), (0.11, "causal, informative")]
)
def test_the_grades_part_where_the_mean_restores_four_fifths(mean, grade):
    assert judge({"x": (0.5, mean)}, spread=1e-6).loc["x", "verdict"] == grade


def test_informative_is_what_donors_show():
    """The mean leaves 22 % of the effect on average, which few donors cannot tell from 20 %."""
    sure = judge({"x": (0.5, 0.11)}, spread=1e-3).loc["x"]
    unsure = judge({"x": (0.5, 0.11)}, spread=0.05).loc["x"]
    assert sure["unrestored_low"] > 0 and sure["verdict"] == "causal, informative"
    assert unsure["unrestored_low"] < 0 and unsure["verdict"] == "causal, constant"
    assert 1 - unsure["effect_mean_nll"] / unsure["effect_nll"] < 0.8
    assert "not sure over donors" in unsure["reason"] and unsure["causal"]


def test_p_and_q():
    table = judge({"bias": (0.5, 0.02), "none": (0.0, 0.0)})
    assert table.loc["bias", "p"] == 1 / 200
    assert table["q"].to_numpy() == pytest.approx(false_discovery_control(table["p"]))


def test_a_wide_donor_interval_is_not_causal():
    row = judge({"x": (0.3, 0.3)}, spread=1.5, seed=3).iloc[0]
    assert row["effect_low"] < row["min_effect"] < row["effect_nll"] and row["q"] < 0.05
    assert row["verdict"] == "not causal" and "but the lower donor bound" in row["reason"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("wanda", "nearest |w|·mean |h|"), ("row_neighbour", "other columns of the same row")],
)
def test_one_like_weight_of_a_larger_effect_is_enough(name, words):
    beaten = [QUIET] * 19 + [0.6]
    row = judge({"x": (0.5, 0.4)}, **{name: beaten}).iloc[0]
    assert row["verdict"] == "not causal" and not row["causal"]
    assert (
        f"not beyond {'weights of the same tensor with the ' * (name == 'wanda')}" in row["reason"]
    )
    assert words in row["reason"] and "one of 20 has an effect of 0.6 nats" in row["reason"]
    assert row[f"{name}_max"] == pytest.approx(0.6) and row[f"{name}_low"] > 0
    assert row["detectable_effect"] == pytest.approx(0.6)
    below = judge({"x": (0.5, 0.4)}, **{name: [QUIET] * 19 + [0.45]}).iloc[0]
    assert below["verdict"] == "causal, informative"


@pytest.mark.parametrize("name", ["wanda", "row_neighbour"])
def test_a_lead_that_donors_do_not_show_is_none(name):
    # The bound itself passes: donors differ by a little, but the set's mean is as high.
    row = judge({"x": (0.5, 0.4)}, **{name: [0.4999] * 20}, spread=0.05).iloc[0]
    assert row["effect_low"] > row["min_effect"] and row["effect_nll"] > row[f"{name}_max"]
    assert row["verdict"] == "not causal" and "not sure over donors" in row["reason"]
    assert row[f"{name}_low"] < 0


@pytest.mark.parametrize(
    ("name", "words"),
    [("wanda", "nearest |w|·mean |h|"), ("row_neighbour", "other columns of the same row")],
)
def test_an_empty_set_cannot_be_asked(name, words):
    row = judge({"x": (0.5, 0.4)}, **{name: []}).iloc[0]
    assert row["verdict"] == "not assessable" and not row["causal"]
    assert f"not assessable against {'weights' if name == 'wanda' else ''}" in row["reason"]
    assert words in row["reason"]
    assert row[f"{name}_n"] == 0 and math.isnan(row[f"{name}_max"])
    assert row["effect_low"] > 0 and row["q"] < 0.05  # what can be said is said
    quiet = judge({"x": (0.0, 0.0)}, **{name: []}).iloc[0]
    assert quiet["verdict"] == "not causal"  # nothing hangs on the missing set


def test_an_informative_weight_must_do_more_than_noise_of_its_size():
    row = judge({"x": (0.5, 0.4)}, noise=0.5).iloc[0]
    assert row["verdict"] == "not causal" and "beyond its own size" in row["reason"]
    assert row["noise_mean"] == pytest.approx(0.5) and row["detectable_effect"] > 0.5
    # The draws measure one thing: a single bad channel does not decide.
    row = judge({"x": (0.5, 0.4)}, noise=[0.9] + [0.1] * 19).iloc[0]
    assert row["verdict"] == "causal, informative" and row["noise_max"] == pytest.approx(0.9)
    assert row["detectable_effect"] < 0.5


def test_noise_is_asked_of_a_constant_weight_only_where_the_config_says_so():
    rises = {"x": (0.5, 0.01)}
    row = judge(rises, noise=0.5).iloc[0]
    assert row["verdict"] == "causal, constant" and row["detectable_effect"] < 0.5
    row = judge(rises, noise=0.5, noise_rule="all").iloc[0]
    assert row["verdict"] == "not causal" and "beyond its own size" in row["reason"]


def test_effects_below_the_numerical_floor_are_unresolved():
    row = judge({"x": (0.5, 0.4)}, floor=0.6).iloc[0]
    assert row["unresolved"] and row["verdict"] == "not causal"
    assert "unresolved" in row["reason"] and row["floor_nll"] == pytest.approx(0.6)
    row = judge({"x": (0.5, 0.4)}, floor=0.001).iloc[0]
    assert not row["unresolved"] and row["causal"]
    assert not judge({"x": (0.0, 0.0)}, spread=0.0).iloc[0]["unresolved"]  # exact


def test_a_table_without_floors_is_exact():
    table = effects({"x": (0.5, 0.4)}).drop(columns="floor_nll")
    row = verdict_tables(candidates(["x"]), table, run())[0].iloc[0]
    assert row["floor_nll"] == 0 and not row["unresolved"] and row["causal"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split_unit": "cell"}, "36 donors are too few to keep test donors apart"),
        ({"n_donors": 1}, "not assessable: one donor"),
        ({"n_donors": 9}, "9 test donors, at least 10"),
    ],
)
def test_too_few_donors_are_not_assessable_and_get_no_interval(change, reason):
    row = judge({"bias": (0.5, 0.0)}, **change).iloc[0]
    assert row["verdict"] == "not assessable" and reason in row["reason"]
    assert not row["causal"]
    missing = ("effect_low", "effect_high", "p", "q", "wanda_low", "noise_low")
    assert all(math.isnan(row[name]) for name in missing)


def test_a_model_at_the_floor_cannot_collapse():
    row = judge({"bias": (0.5, 0.0)}, gap=-0.1).iloc[0]
    assert row["verdict"] == "not causal" and "nothing that could collapse" in row["reason"]
    assert math.isnan(row["min_effect"]) and math.isnan(row["detectable_effect"])
    assert math.isnan(row["causal_below"])


@pytest.mark.parametrize(
    ("change", "structural"),
    [
        ({}, True),
        ({"spike_ratio": 5.0}, False),
        ({"contribution": 0.01}, False),
        ({"stability": 0.5}, False),
        ({"iteration": 2}, False),  # a find of a later round
    ],
)
def test_structural_is_told_apart_from_causal(change, structural):
    row = judge({"x": (0.0, 0.0)}, family=candidates(["x"], **change)).iloc[0]
    assert row["structural"] == structural and not row["causal"]


def test_a_gap_that_donors_do_not_show_is_none():
    judged = run()
    judged.gaps = pd.Series([0.5, -0.5] * 6) + 0.01
    assert judged.gaps.mean() > 0 and judged.gap == 0 and math.isnan(judged.min_effect)


@pytest.mark.parametrize(("n", "m"), [(1000, 20), (399, 20), (200, 10), (199, 10)])
def test_the_needed_effect_is_where_the_rank_p_turns(n, m):
    null = np.random.default_rng(0).normal(size=n)
    needed = needed_effect(null, 0.05 / m)
    assert rank_p(needed + 1e-9, null) <= 0.05 / m < rank_p(needed, null)


def test_the_detectable_effect_counts_the_donors_spread():
    table = judge({"x": (0.3, 0.3)}).iloc[0]
    half = table["effect_nll"] - table["effect_low"]
    assert table["detectable_effect"] == pytest.approx(table["min_effect"] + half)


def test_how_far_the_least_effect_could_move_is_told():
    """Where all else is passed it is the donor bound; where something else fails there is none."""
    for rise in (0.05, 0.3):
        row = judge({"x": (rise, rise)}).iloc[0]
        assert row["causal_below"] == row["effect_low"] > 0
        assert row["causal"] == (row["causal_below"] > row["min_effect"])
    for failing in ({"wanda": 0.6}, {"noise": 0.5}):
        assert math.isnan(judge({"x": (0.5, 0.4)}, **failing).iloc[0]["causal_below"])
    assert math.isnan(judge({"x": (0.0, 0.0)}).iloc[0]["causal_below"])


@pytest.mark.parametrize("rise", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("level", [QUIET, 0.2])
def test_a_lone_effect_is_causal_exactly_beyond_the_detectable_one(rise, level):
    row = judge({"x": (rise, rise)}, wanda=level, row_neighbour=level / 2, noise=level / 3).iloc[0]
    assert row["causal"] == (row["effect_nll"] > row["detectable_effect"])


def test_controls_of_the_candidates_own_tensor_or_of_all():
    table = effects({"x": (0.0, 0.0)})
    other = table[table["weight_set"] == "random"].tail(100 * 12).index
    table.loc[other, "block"] = 1
    for scope, n in {"same_tensor": 99, "all_blocks": 199}.items():
        row = verdict_tables(candidates(["x"]), table, run(control_scope=scope))[0].iloc[0]
        assert row["n_controls"] == n
        assert ("block 0" in row["null"]) == (scope == "same_tensor")


def test_the_floor_is_that_of_the_training_frequencies():
    table = effects({"x": (0.5, 0.5)})
    found = floor_gaps(table, pd.Series({"A": 0.25, "B": 0.75}))
    assert found.to_numpy() == pytest.approx(-math.log(0.25) - 0.5)
    assert len(found) == 12


@pytest.mark.parametrize(
    ("change", "against", "expected"),
    [
        ({}, {}, "causal, informative"),
        ({"q": 0.05}, {}, "causal, informative"),  # at the level, as in Benjamini and Hochberg
        ({"effect_low": 0.1}, {}, "not causal"),
        ({}, {"max": 0.5}, "not causal"),
        ({}, {"low": 0.0}, "not causal"),
        ({"unrestored_low": 0.0}, {}, "causal, constant"),
        ({"effect_mean_nll": 0.1}, {}, "causal, constant"),  # 80 % is enough
    ],
)
def test_what_is_equal_is_not_more(change, against, expected):
    row = {"effect_nll": 0.5, "effect_low": 0.4, "effect_mean_nll": 0.4, "unrestored_low": 0.3}
    row |= {"floor_nll": 0.0, "min_effect": 0.1, "q": 0.01, "unresolved": False} | change
    beyond = {"n": 5, "mean": 0.1, "max": 0.2, "low": 0.2, "detectable": 0.3}
    matched = dict.fromkeys(SETS, Comparison(**beyond | against))
    assert verdict(SimpleNamespace(**row), matched, run())[0] == expected
    if "low" in against:
        matched |= dict.fromkeys(RIVALS, Comparison(**beyond))  # noise alone
        assert verdict(SimpleNamespace(**row), matched, run())[0] == expected
