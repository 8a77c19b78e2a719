"""Verdicts from made-up effects, one rule at a time."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from scsw.errors import ScswError
from scsw.settings import section_settings
from scsw.superweight.statistics import rank_p
from scsw.superweight.verdicts import (
    _Run,
    check_complete,
    floor_gaps,
    needed_effect,
    verdict_table,
)

N_CONTROLS = 199


def effects(candidates: dict[str, tuple[float, float]], n_donors=12, spread=0.01, seed=0):
    """Build effects: for each candidate its mean rise when zeroed and when set to its mean."""
    rng = np.random.default_rng(seed)
    donors = [f"d{i}" for i in range(n_donors)]
    edits = [
        ("candidate", name, mode, rise)
        for name, rises in candidates.items()
        for mode, rise in zip(("zero", "mean"), rises, strict=True)
    ]
    edits += [("random", f"c{i}", "zero", rng.normal(0, 0.001)) for i in range(N_CONTROLS)]
    rows = []
    for weight_set, name, mode, rise in edits:
        for donor in donors:
            own = rise + (rng.normal(0, spread) if weight_set == "candidate" else 0)
            rows.append((weight_set, name, 0, mode, 0.0, donor, "A", 10, 10 * (0.5 + own), 5.0))
    columns = (
        "weight_set candidate_id block mode scale donor_id cell_type n_cells sum_nll sum_nll_intact"
    )
    table = pd.DataFrame(rows, columns=columns.split())
    return table.assign(
        n_correct=8, n_correct_intact=9, sum_sq_error=110.0, sum_sq_error_intact=100.0
    )


def candidates(names, **changes):
    base = {
        "cohort": "x",
        "arm": "real",
        "seed": 0,
        "family": "ffn_down",
        "block": 0,
        "row": 1,
        "column": 2,
        "weight": 0.3,
        "spike_ratio": 50.0,
        "found_by": "spike",
        "contribution": 0.9,
        "stability": 1.0,
        "iteration": 1,
    } | changes
    return pd.DataFrame(
        [base | {"rank": i + 1, "candidate_id": name} for i, name in enumerate(names)]
    )


def gaps(mean, n_donors=12):
    """Return the donors' distances to the floor: alike, but not the same."""
    return pd.Series(mean + 0.01 * np.linspace(-1, 1, n_donors))


def judge(rises, *, gap=2.0, split_unit="donor", n_donors=12, family=None, **settings):
    run = _Run(
        section_settings("search"),
        section_settings("prune", {"n_controls": N_CONTROLS, **settings}),
        section_settings("statistics", {"bootstrap": 1000}),
        n_donors=n_donors,
        split_unit=split_unit,
        gaps=gaps(gap, n_donors),
        n_cohort_donors=3 * n_donors if n_donors > 1 else 1,
    )
    family = candidates(rises) if family is None else family
    return verdict_table(family, effects(rises, n_donors), run).set_index("candidate_id")


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
    assert table.loc["bias", "effect_nll"] == pytest.approx(0.5, abs=0.02)
    assert table.loc["bias", "min_effect"] == pytest.approx(0.05 * 2.0)
    assert table.loc["bias", "effect_low"] < table.loc["bias", "effect_nll"]
    assert table.loc["bias", "effect_accuracy"] == pytest.approx(-0.1)
    assert table.loc["bias", "effect_gep_mse"] == pytest.approx(0.1)
    assert "199 random scalars" in table.loc["bias", "null"]


def test_p_and_q():
    table = judge({"bias": (0.5, 0.02), "none": (0.0, 0.0)})
    assert table.loc["bias", "p"] == 1 / 200
    assert table["q"].to_numpy() == pytest.approx(false_discovery_control(table["p"]))


def test_a_wide_donor_interval_is_not_causal():
    wide = effects({"x": (0.3, 0.3)}, spread=1.5, seed=3)
    run = _Run(
        section_settings("search"),
        section_settings("prune", {"n_controls": N_CONTROLS}),
        section_settings("statistics", {"bootstrap": 1000}),
        n_donors=12,
        split_unit="donor",
        gaps=gaps(2.0),
    )
    row = verdict_table(candidates(["x"]), wide, run).iloc[0]
    assert row["effect_low"] < row["min_effect"] and row["verdict"] == "not causal"


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
    assert all(math.isnan(row[name]) for name in ("effect_low", "effect_high", "p", "q"))


def test_a_model_at_the_floor_cannot_collapse():
    row = judge({"bias": (0.5, 0.0)}, gap=-0.1).iloc[0]
    assert row["verdict"] == "not causal" and "nothing that could collapse" in row["reason"]
    assert math.isnan(row["min_effect"]) and math.isnan(row["detectable_effect"])


@pytest.mark.parametrize(
    ("change", "structural"),
    [
        ({}, True),
        ({"spike_ratio": 5.0}, False),
        ({"contribution": 0.01}, False),
        ({"stability": 0.5}, False),
    ],
)
def test_structural_is_told_apart_from_causal(change, structural):
    row = judge({"x": (0.0, 0.0)}, family=candidates(["x"], **change)).iloc[0]
    assert row["structural"] == structural and not row["causal"]


def test_a_gap_that_donors_do_not_show_is_none():
    run_gaps = pd.Series([0.5, -0.5] * 6) + 0.01
    run = _Run(
        section_settings("search"),
        section_settings("prune"),
        section_settings("statistics", {"bootstrap": 500}),
        n_donors=12,
        split_unit="donor",
        gaps=run_gaps,
    )
    assert run.gaps.mean() > 0 and run.gap == 0


def test_a_find_of_a_later_round_is_not_structural():
    row = judge({"x": (0.0, 0.0)}, family=candidates(["x"], iteration=2)).iloc[0]
    assert not row["structural"]


@pytest.mark.parametrize(("n", "m"), [(1000, 20), (399, 20), (200, 10), (199, 10)])
def test_the_needed_effect_is_where_the_rank_p_turns(n, m):
    null = np.random.default_rng(0).normal(size=n)
    needed = needed_effect(null, 0.05 / m)
    assert rank_p(needed + 1e-9, null) <= 0.05 / m < rank_p(needed, null)


def test_the_detectable_effect_counts_the_donors_spread():
    table = judge({"x": (0.3, 0.3)}).iloc[0]
    half = table["effect_nll"] - table["effect_low"]
    assert table["detectable_effect"] == pytest.approx(table["min_effect"] + half)


def whole(names=("x",)):
    keys = {"cohort": "x", "arm": "real", "seed": 0}
    table = effects(dict.fromkeys(names, (0.1, 0.1))).assign(**keys)
    return table, section_settings(
        "prune", {"n_controls": N_CONTROLS, "control_scope": "all_blocks"}
    )


def test_complete_shards_are_accepted():
    table, prune = whole()
    check_complete(table, candidates(["x"]), prune)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: pd.concat([t, t.head(5)]), "same edit twice"),
        (lambda t: t[t["mode"] != "mean"], "lack mean of x"),
        (lambda t: t[t["candidate_id"] != "c7"], "198 random controls"),
        (lambda t: t.assign(seed=1), "not of the candidates' model"),
    ],
)
def test_incomplete_or_mixed_shards_are_refused(change, text):
    table, prune = whole()
    with pytest.raises(ScswError, match=text):
        check_complete(change(table), candidates(["x"]), prune)


def test_the_floor_is_that_of_the_training_frequencies():
    table = effects({"x": (0.5, 0.5)})
    found = floor_gaps(table, pd.Series({"A": 0.25, "B": 0.75}))
    assert found.to_numpy() == pytest.approx(-math.log(0.25) - 0.5)
    assert len(found) == 12
