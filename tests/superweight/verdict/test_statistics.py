import itertools
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scsw.superweight.verdict.interval_coverage import DONORS, EFFECTS, coverage
from scsw.superweight.verdict.statistics import (
    donor_effects,
    rank_p,
    sign_flip_p,
    sign_flip_ps,
    studentised_interval,
    studentised_intervals,
)


def test_rank_p_is_add_one_and_one_sided():
    controls = np.arange(199.0)
    assert rank_p(1000.0, controls) == 1 / 200
    assert rank_p(198.0, controls) == 2 / 200
    assert rank_p(-1.0, controls) == 1.0


def test_rank_p_of_a_random_weight_is_uniform():
    rng = np.random.default_rng(0)
    p = [rank_p(x[0], x[1:]) for x in rng.normal(size=(2000, 100))]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_the_interval_of_many_donors_is_the_t_interval():
    values = np.random.default_rng(0).normal(1, 2, size=400)
    low, high = studentised_interval(values, n_resamples=20_000, seed=0)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=0.02)


def test_the_interval_covers_where_a_percentile_bootstrap_does_not():
    rng = np.random.default_rng(1)
    samples = rng.lognormal(0, 0.7, size=(300, 12))
    truth = math.exp(0.7**2 / 2)

    def covers(intervals):
        return np.mean([low <= truth <= high for low, high in intervals])

    own = covers(studentised_interval(x, n_resamples=1000, seed=0) for x in samples)
    percentile = covers(
        stats.bootstrap(
            (x,), np.mean, method="percentile", n_resamples=1000, rng=rng
        ).confidence_interval
        for x in samples
    )
    assert own > percentile
    assert own > 0.9


def test_many_intervals_at_once_are_those_one_by_one():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(40, 12)) * rng.gamma(1, 1, (40, 1)) + 0.3
    values[rng.random(values.shape) < 0.2] = np.nan  # donors without the gene
    values[0], values[1], values[2, 1:] = np.nan, 2.0, np.nan
    values[2, 0], values[3, :10], values[4, :11] = (
        1.0,
        0.0,
        1.0,
    )  # few differ, so some resamples have no spread
    options = {"n_resamples": 500, "seed": 3}
    found = np.stack(studentised_intervals(values, **options), axis=1)
    assert np.isnan(found[0]).all()
    for row, bounds in zip(values[1:], found[1:], strict=True):
        expected = studentised_interval(row[~np.isnan(row)], **options)
        assert bounds == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n_donors", DONORS)
@pytest.mark.parametrize("effects", EFFECTS)
def test_the_interval_covers_as_often_as_the_docs_say(effects, n_donors):
    text = (Path(__file__).parents[3] / "docs" / "verdicts.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {effects} \| {n_donors} \|(.*)\|$", text, re.MULTILINE)
    stated = [float(cell.replace("%", "")) / 100 for cell in row[1].split("|")]
    assert sum(stated) == pytest.approx(1, abs=0.002)
    found = coverage(effects, n_donors, simulations=1000, seed=1)
    # Three standard errors of a share of 9 % in 1,000 simulations.
    assert found == pytest.approx(stated, abs=0.027)
    assert found[0] > (0.93 if effects == "normal" else 0.88)


def test_a_percentile_bootstrap_would_not_pass_that():
    """At 10 donors it misses more often, so that the tolerance above tells the two apart."""
    values = np.random.default_rng([1, 10]).normal(1, 1, (1000, 10))
    drawn = np.random.default_rng(0).integers(10, size=(1000, 1000, 10))
    means = np.take_along_axis(values[:, None], drawn, axis=2).mean(2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert ((low <= 1) & (high >= 1)).mean() < 0.953 - 0.027


def test_donors_that_do_not_differ_have_no_width():
    assert studentised_interval(np.zeros(12), n_resamples=500, seed=0) == (0.0, 0.0)


def test_the_interval_is_the_same_for_the_same_seed():
    x = np.random.default_rng(2).normal(size=12)
    assert studentised_interval(x, n_resamples=500, seed=3) == studentised_interval(
        x, n_resamples=500, seed=3
    )


def test_sign_flip_equals_every_pattern_by_hand():
    x = np.random.default_rng(0).normal(0.4, 1, size=10)
    means = [np.mean(x * signs) for signs in itertools.product([1, -1], repeat=10)]
    assert sign_flip_p(x, seed=0) == pytest.approx(np.mean(np.array(means) >= x.mean() - 1e-12))


def test_sign_flip_of_many_donors_is_sampled_and_near_the_t_test():
    x = np.random.default_rng(0).normal(0.3, 1, size=60)
    assert sign_flip_p(x, seed=0) == pytest.approx(
        stats.ttest_1samp(x, 0, alternative="greater").pvalue, abs=0.02
    )


@pytest.mark.parametrize("n_donors", [10, 12, 24])
def test_the_sign_flips_are_those_of_scipy(n_donors):
    values = np.random.default_rng(0).normal(0.3, 1, size=(4, n_donors))
    found = sign_flip_ps(values, seed=0)
    expected = [
        stats.permutation_test(
            (row,),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            alternative="greater",
            n_resamples=np.inf if n_donors <= 15 else 9999,
            vectorized=True,
            rng=np.random.default_rng(1),
        ).pvalue
        for row in values
    ]
    assert found == pytest.approx(expected, abs=1e-9 if n_donors <= 15 else 0.02)


def test_sign_flip_without_evidence():
    assert sign_flip_p(np.zeros(12), seed=0) == 1.0
    assert math.isnan(sign_flip_p(np.array([3.0]), seed=0))


def test_a_donor_counts_once_however_many_cells_it_has():
    effects = pd.DataFrame(
        {
            "weight_set": "candidate",
            "candidate_id": "x",
            "of": "",
            "mode": "zero",
            "scale": 0.0,
            "draw": 0,
            "donor_id": ["a", "a", "b"],
            "sum_d_nll": [20.0, 80.0, 1.0],
            "floor_nll": [2.0, 8.0, 3.0],
            "n_cells": [10, 90, 1],
        }
    )
    found = donor_effects(effects)
    assert found["candidate", "x", "", "zero", 0.0, 0, "a"] == pytest.approx(1.0)
    assert found["candidate", "x", "", "zero", 0.0, 0, "b"] == pytest.approx(1.0)
    assert donor_effects(effects, "floor_nll").to_list() == pytest.approx([0.1, 3.0])


def test_draws_and_the_candidate_that_a_control_is_of_tell_edits_apart():
    base = {"weight_set": "wanda", "candidate_id": "c", "mode": "zero", "scale": 0.0}
    effects = pd.DataFrame(
        [
            base | {"of": of, "draw": draw, "donor_id": "a", "n_cells": 2, "sum_d_nll": rise}
            for of, draw, rise in [("x", 0, 1.0), ("y", 0, 2.0), ("y", 1, 4.0)]
        ]
    )
    assert donor_effects(effects).to_list() == [0.5, 1.0, 2.0]
