"""Pairs: which weights do more together than one by one."""

import numpy as np
import pandas as pd
import pytest

from scsw.superweight.verdict.pairs import pair_table, with_masked
from scsw.superweight.verdict.statistics import donor_effects
from scsw.superweight.verdict.verdict_tables import verdict_tables
from tests.superweight.verdict.made_up_effects import candidates, effects, run

QUIET = {"a": (0.01, 0.01), "b": (0.02, 0.02), "c": (0.0, 0.0)}
ALL = [("a", "b"), ("a", "c"), ("b", "c")]


def judge(rises, joint, **given):
    settings = {name: given.pop(name) for name in ("gap", "split_unit") if name in given}
    sums = {(x, y): rises[x][0] + rises[y][0] for x, y in ALL if x in rises and y in rises}
    table, pairs = verdict_tables(
        candidates(rises), effects(rises, pairs=sums | joint, **given), run(**settings)
    )
    return table.set_index("candidate_id"), pairs.set_index(["candidate_a", "candidate_b"])


def test_two_that_stand_in_for_each_other_are_a_masked_pair():
    table, pairs = judge(QUIET, {("a", "b"): 0.6})
    assert table["verdict"].to_dict() == {
        "a": "masked pair",
        "b": "masked pair",
        "c": "not causal",
    }
    assert table["partner"].to_dict() == {"a": "b", "b": "a", "c": ""}
    assert not table["causal"].any()
    pair = pairs.loc[("a", "b")]
    assert pair["masked"] and pair["effect_joint"] == pytest.approx(0.6, abs=0.02)
    assert pair["excess"] == pytest.approx(0.57) and pair["excess_low"] > 0.5
    assert pair["sign_flip_p"] == pytest.approx(2**-12)
    assert "zeroed together with b" in table.loc["a", "reason"]
    assert not pairs.loc[("a", "c"), "masked"]


def test_effects_that_add_up_are_no_masked_pair():
    rises = {"a": (0.08, 0.08), "b": (0.09, 0.09)}
    table, pairs = judge(rises, {})
    pair = pairs.loc[("a", "b")]
    assert pair["joint_low"] > table["min_effect"].iloc[0]
    # Not the sign of the last digits, which changes with the batch size.
    assert pair["excess"] == 0 and pair["sign_flip_p"] == 1 and not pair["masked"]
    assert (table["verdict"] == "not causal").all()


def test_a_joint_effect_below_what_counts_is_no_masked_pair():
    table, pairs = judge(QUIET, {("a", "b"): 0.09})
    assert pairs.loc[("a", "b"), "excess_low"] > 0
    assert pairs.loc[("a", "b"), "joint_high"] < table["min_effect"].iloc[0] + 0.02
    assert not pairs["masked"].any()


def test_one_large_weight_and_a_hair_more_together_are_no_masked_pair():
    """The large one is beaten by a weight like it, so that it is not causal itself."""
    rises = {"a": (0.5, 0.4), "b": (0.0, 0.0)}
    table, pairs = judge(rises, {("a", "b"): 0.5001}, wanda=0.6)
    assert (table["verdict"] == "not causal").all()
    assert pairs.loc[("a", "b"), "excess_low"] > 0 and not pairs["masked"].any()


def test_a_pair_with_a_weight_that_is_causal_alone_is_not_masked():
    table, pairs = judge({"a": (0.5, 0.4), "b": (0.0, 0.0)}, {("a", "b"): 0.9})
    assert table["verdict"].to_dict() == {"a": "causal, informative", "b": "not causal"}
    assert pairs.loc[("a", "b"), "excess_low"] > 0 and not pairs["masked"].any()


def test_an_excess_that_donors_do_not_agree_on_is_none():
    table = effects(QUIET, pairs=dict.fromkeys(ALL, 0.03))
    rng = np.random.default_rng(1)
    joint = (table["weight_set"] == "pair") & (table["candidate_id"] == "a") & (table["of"] == "b")
    table.loc[joint, "sum_d_nll"] += 10 * rng.normal(0.3, 1.0, joint.sum())
    pairs = verdict_tables(candidates(QUIET), table, run())[1]
    assert pairs.loc[0, "effect_joint"] > 0.1 and not pairs["masked"].any()


def test_many_pairs_are_corrected_for():
    table = effects(QUIET, pairs=dict.fromkeys(ALL, 0.6))
    found = pair_table(donor_effects(table).unstack("donor_id"), run())
    assert (found["q"] >= found["sign_flip_p"]).all() and (found["q"] <= 0.05).all()
    assert len(found) == 3


def test_each_interval_is_that_of_its_own_measure():
    donors = donor_effects(effects(QUIET, pairs=dict.fromkeys(ALL, 0.6))).unstack("donor_id")
    found = pair_table(donors, run()).set_index(["candidate_a", "candidate_b"]).loc[("a", "b")]
    alone = donors.xs("candidate").xs("zero", level="mode")
    both = donors.xs(("pair", "a", "b"), level=["weight_set", "candidate_id", "of"]).to_numpy()[0]
    excess = both - alone.loc["a"].to_numpy()[0] - alone.loc["b"].to_numpy()[0]
    assert (found["joint_low"], found["joint_high"]) == run().interval(both)
    assert (found["excess_low"], found["excess_high"]) == pytest.approx(run().interval(excess))


def test_the_strongest_partner_is_named():
    table, _ = judge(QUIET, {("a", "b"): 0.6, ("b", "c"): 0.9})
    assert table["partner"].to_dict() == {"a": "b", "b": "c", "c": "b"}


def test_nothing_is_masked_where_nothing_can_be_assessed_or_collapse():
    for given in ({"split_unit": "cell"}, {"gap": -0.5}):
        table, pairs = judge(QUIET, {("a", "b"): 0.6}, **given)
        assert not pairs["masked"].any() and (table["partner"] == "").all()
    _, pairs = judge(QUIET, {("a", "b"): 0.6}, split_unit="cell")
    assert len(pairs) == 3 and pairs[["sign_flip_p", "q"]].isna().all(axis=None)


def test_without_pairs_the_table_is_empty():
    table, pairs = verdict_tables(candidates(["a"]), effects({"a": (0.5, 0.4)}), run())
    assert pairs.empty and table["causal"].all()


@pytest.mark.parametrize(
    ("change", "masked"),
    [
        ({}, True),
        ({"joint_low": 0.09}, False),
        ({"excess_low": 0.09}, False),
        ({"q": 0.05}, True),
        ({"q": 0.06}, False),
        ({"candidate_a": "causal"}, False),
        ({"candidate_b": "causal"}, False),
    ],
)
def test_each_condition_of_a_masked_pair_counts_by_itself(change, masked):
    pair = {"candidate_a": "a", "candidate_b": "b", "joint_low": 0.3, "excess_low": 0.2, "q": 0.01}
    found = with_masked(pd.DataFrame([pair | change]), {"causal"}, run())
    assert found["masked"].tolist() == [masked]
