import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from scsw.biology.enrich.calibration import (
    calibrated_columns,
    empirical_fdr,
    is_enriched,
    lower_tail_p,
    outer_tail_p,
)


def test_tails_count_the_controls_that_are_as_extreme():
    own = np.array([0.01, 0.5, 1.0])
    null = np.array([[0.01, 0.2, 0.005, 1.0], [0.6, 0.7, 0.8, 0.9], [1.0, 1.0, 0.3, 1.0]])
    np.testing.assert_allclose(lower_tail_p(own, null), [3 / 5, 1 / 5, 1.0])
    null = np.array([[0.2, 0.9, -0.9, np.nan], [0.2, 0.9, -0.9, -0.5]])
    np.testing.assert_allclose(outer_tail_p(np.array([0.5, -0.5]), null), [4 / 5, 1.0])


def test_only_more_enriched_than_the_controls_stands_out():
    null = np.tile(np.linspace(0.4, 0.6, 99), (4, 1))
    p = outer_tail_p(np.array([0.9, 0.1, -0.1, np.nan]), null)
    np.testing.assert_allclose(p, [2 / 100, 1.0, 2 / 100, 1.0])
    # A control with the same score is as far out.
    np.testing.assert_allclose(outer_tail_p(null[:2, -1], null[:2]), 4 / 100)


def test_p_of_a_candidate_like_its_controls_is_uniform():
    rng = np.random.default_rng(0)
    own, null = rng.normal(size=400), rng.normal(size=(400, 200))
    assert kstest(lower_tail_p(own, null), "uniform").pvalue > 0.01
    assert kstest(outer_tail_p(own, null), "uniform").pvalue > 0.01
    # Where all units lean one way it is conservative.
    assert np.mean(outer_tail_p(own + 1, null + 1) <= 0.1) <= 0.1


def test_fdr_follows_its_definition():
    rng = np.random.default_rng(1)
    own = np.round(rng.uniform(size=60) ** 3, 2)  # with ties
    null = np.round(rng.uniform(size=(60, 30)), 2)
    found = empirical_fdr(own, null)
    for value, fdr in zip(own, found, strict=True):
        at = []
        for threshold in own[own >= value]:
            passing = [np.sum(column <= threshold) for column in [own, *null.T]]
            at.append(np.mean(passing) / np.sum(own <= threshold))
        assert fdr == pytest.approx(min(1, *at))
    assert found.min() >= 1 / 31
    order = np.argsort(own)
    assert (np.diff(found[order]) >= 0).all()


def test_fdr_is_near_the_true_share_of_false_discoveries():
    rng = np.random.default_rng(2)
    own = np.concatenate([np.full(50, 1e-6), rng.uniform(size=950)])
    fdr = empirical_fdr(own, rng.uniform(size=(1000, 500)))
    called = fdr <= 0.2
    false = called[50:].sum() / called.sum()
    assert called[:50].all() and false < 0.3


def test_q_covers_the_primary_sets_only():
    primary = np.array([True, True, False, False])
    table = calibrated_columns(
        np.array([0.01, 0.04, 0.02, 0.5]), np.zeros(4), primary,
        n_controls=99, floor=0.01, null="99 units",
    )  # fmt: skip
    np.testing.assert_allclose(table["calibrated_q"], [0.02, 0.04, np.nan, np.nan])


def test_a_set_counts_if_it_stands_out_from_random_genes_and_from_the_controls():
    rows = pd.DataFrame(
        [
            ("both, primary", 0.01, True, 0.01, 0.01, 0.9, 99, True),
            ("at the level itself, primary", 0.05, True, 0.05, 0.05, 0.9, 99, True),
            ("as in the controls, primary", 0.01, True, 0.2, 0.5, 0.01, 99, False),
            ("both", 0.01, False, 0.01, np.nan, 0.04, 99, True),
            ("at the level itself", 0.05, False, 0.05, np.nan, 0.05, 99, True),
            ("as many as in the controls", 0.01, False, 0.01, np.nan, 0.6, 99, False),
            ("the set that all controls have", 0.01, False, 0.7, np.nan, 0.01, 99, False),
            ("no more than random genes", 0.2, True, 0.01, 0.01, 0.01, 99, False),
            ("no controls", 0.01, True, np.nan, np.nan, np.nan, 0, True),
        ],
        columns=(
            "name q primary calibrated_p calibrated_q empirical_fdr n_controls expected"
        ).split(),
    )
    assert is_enriched(rows, 0.05).tolist() == rows["expected"].tolist()
    assert is_enriched(rows.iloc[:0], 0.05).empty
