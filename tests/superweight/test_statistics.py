import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scsw.superweight.statistics import donor_effects, rank_p, sign_flip_p, studentised_interval


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


def test_sign_flip_without_evidence():
    assert sign_flip_p(np.zeros(12), seed=0) == 1.0
    assert math.isnan(sign_flip_p(np.array([3.0]), seed=0))


def test_a_donor_counts_once_however_many_cells_it_has():
    effects = pd.DataFrame(
        {
            "weight_set": "candidate",
            "candidate_id": "x",
            "mode": "zero",
            "scale": 0.0,
            "donor_id": ["a", "a", "b"],
            "sum_nll": [30.0, 90.0, 2.0],
            "sum_nll_intact": [10.0, 10.0, 1.0],
            "n_cells": [10, 90, 1],
        }
    )
    found = donor_effects(effects)
    assert found["candidate", "x", "zero", 0.0, "a"] == pytest.approx(1.0)
    assert found["candidate", "x", "zero", 0.0, "b"] == pytest.approx(1.0)
