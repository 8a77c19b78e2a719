"""The tests of uniformity: against scipy where it applies, on planted departures where not."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from scsw.superweight.calibration.uniformity import (
    clustered_ks_p,
    deviation,
    family_ks,
    ks_distance,
    uniformity,
)


def rank_ps(rng, families, members, n_controls):
    """Rank p-values of candidates and controls of one population, as a family has them."""
    own = rng.random((families, members, 1))
    controls = rng.random((families, 1, n_controls))
    return ((controls >= own).sum(2) + 1) / (n_controls + 1)


def table_of(p, n_models):
    families, members = p.shape
    number = np.repeat(np.arange(families), members)
    scopes = np.where(number % 2, "all_blocks", "same_tensor")
    return pd.DataFrame(
        {"model": number % n_models, "family": number, "scope": scopes, "p": p.ravel()}
    )


def test_the_distance_is_scipys_but_for_the_grid():
    p = rank_ps(np.random.default_rng(0), 40, 10, 200).ravel()
    assert ks_distance(p, 200) == pytest.approx(kstest(p, "uniform").statistic, abs=1 / 201)


def test_values_spread_evenly_over_the_grid_do_not_deviate():
    np.testing.assert_allclose(deviation(np.arange(1, 22) / 21, 20), 0, atol=1e-12)
    assert ks_distance(np.full(5, 1 / 21), 20) == pytest.approx(20 / 21)


def test_the_families_null_is_that_of_families():
    """A distance of real families is as often beyond its quantile as the quantile says."""
    null = family_ks(20, 10, 60, draws=400, seed=1)
    rng = np.random.default_rng(2)
    own = np.array([ks_distance(rank_ps(rng, 20, 10, 60).ravel(), 60) for _ in range(400)])
    assert 0.02 < (own > np.quantile(null, 0.95)).mean() < 0.09
    assert np.median(own) == pytest.approx(np.median(null), rel=0.1)


def test_models_that_deviate_alike_are_seen_and_others_are_not():
    rng = np.random.default_rng(3)
    p = rank_ps(rng, 80, 10, 60)
    assert clustered_ks_p(table_of(p, 8), 60) > 0.05
    small = np.ceil(p**1.6 * 61) / 61  # too small throughout
    assert clustered_ks_p(table_of(small, 8), 60) == pytest.approx(2 / 2**8)


def test_one_odd_model_is_much_less_evidence_with_models_as_clusters():
    table = table_of(rank_ps(np.random.default_rng(4), 80, 10, 60), 8)
    odd = table["model"] == 0
    table.loc[odd, "p"] = np.ceil(table.loc[odd, "p"] ** 4 * 61) / 61
    found = uniformity(table, 60, draws=200, seed=0).iloc[0]
    assert found["p_families"] == pytest.approx(1 / 201)
    assert found["p_models"] > 5 * found["p_families"]


def test_uniform_and_planted_tables():
    p = rank_ps(np.random.default_rng(5), 60, 10, 60)
    fine = uniformity(table_of(p, 6), 60, draws=200, seed=0).set_index("scope")
    assert list(fine.index) == ["all", "all_blocks", "same_tensor"]
    assert (fine["p_families"] > 0.01).all() and fine.loc["all", "families"] == 60
    wrong = np.ceil(p**1.3 * 61) / 61
    planted = uniformity(table_of(wrong, 6), 60, draws=200, seed=0).set_index("scope")
    assert planted.loc["all", "p_families"] == pytest.approx(1 / 201)
    assert planted.loc["all", "share_05"] > fine.loc["all", "share_05"]


def test_the_clustered_test_errs_as_often_as_it_says():
    rng = np.random.default_rng(6)
    tables = [table_of(rank_ps(rng, 32, 10, 60), 8) for _ in range(200)]
    p = np.array([clustered_ks_p(table, 60) for table in tables])
    assert 0.01 < (p <= 0.05).mean() < 0.1 and 0.4 < np.median(p) < 0.6
