"""False verdicts and power, counted on tables made up for it."""

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from scsw.superweight.calibration.summary import (
    false_verdicts,
    power_by_effect,
    power_by_strength,
)


def null_row(model, family, **changes):
    row = {
        "model": model,
        "family": family,
        "q": 0.5,
        "effect_low": -0.1,
        "min_effect": 0.05,
        "verdict": "not causal",
        "verdict_without_least": "not causal",
    }
    return row | changes


def test_a_family_counts_once_and_a_masked_pair_is_a_claim():
    beyond = {"q": 0.01, "effect_low": 0.01, "verdict_without_least": "causal, informative"}
    rows = [
        null_row(0, 0, **beyond),
        null_row(0, 0, **beyond),
        null_row(0, 1, verdict="masked pair", verdict_without_least="masked pair"),
        null_row(1, 0, q=0.01),
        null_row(1, 1),
    ]
    table = false_verdicts(pd.DataFrame(rows)).set_index("question")
    assert table["families"].eq(4).all()
    assert table["passed"].to_dict() == {"q": 2, "lower": 1, "lenient": 1, "least": 0, "causal": 1}
    assert table.loc["causal", "most_of_one_model"] == 0.5
    low, high = proportion_confint(1, 4, method="wilson")
    assert table.loc["causal", ["low", "high"]].tolist() == pytest.approx([low, high])


def implants():
    kind = "implanted_constant"
    rows = [
        (kind, 1.0, -1, "not found", -0.01),
        (kind, 1.0, 2, "not causal", 0.04),
        (kind, 2.0, 1, "causal, informative", 0.3),
        (kind, 2.0, 1, "causal, constant", 3.0),
    ]
    names = ["kind", "strength", "found_rank", "verdict", "effect_nll"]
    return pd.DataFrame(rows, columns=names).assign(gap=1.0)


def test_power_by_strength_tells_found_from_causal_from_grade():
    table = power_by_strength(implants()).set_index(["strength", "outcome"])
    assert table["n"].eq(2).all()
    assert table["passed"].to_dict() == {
        (1.0, "found"): 1,
        (1.0, "causal"): 0,
        (1.0, "grade"): 0,
        (2.0, "found"): 2,
        (2.0, "causal"): 2,
        (2.0, "grade"): 1,
    }
    assert table.loc[(2.0, "found"), "median_effect"] == pytest.approx(1.65)


def test_power_by_effect_bins_by_the_share_of_the_gap():
    table = power_by_effect(implants()).set_index(["below", "outcome"])
    own = table.xs("causal", level="outcome")
    assert own["n"].to_dict() == {0.01: 1, 0.05: 1, 0.5: 1, float("inf"): 1}
    assert own["passed"].to_dict() == {0.01: 0, 0.05: 0, 0.5: 1, float("inf"): 1}
