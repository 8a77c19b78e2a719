"""A candidate's z against those of hidden units, or edits, that are like it."""

import numpy as np
import pandas as pd
import pytest

from scsw.biology.map.unit_null import against_units
from scsw.biology.tables import benjamini_hochberg


def test_the_statistic_is_the_relative_difference_and_p_the_share_of_the_pool():
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=30), rng.normal(size=(20, 30))
    found = against_units(own, others)
    every = np.vstack([own, others])
    t = np.empty_like(every)
    for row in range(21):
        rest = np.delete(every, row, axis=0)
        sd = rest.std(0, ddof=1)
        t[row] = (every[row] - rest.mean(0)) / (sd + np.median(sd))
    assert found.z == pytest.approx(t[0])
    expected = [(1 + (np.abs(t[1:]) >= abs(x)).sum()) / (1 + 20 * 30) for x in t[0]]
    assert found.p == pytest.approx(expected)
    assert found.mean == pytest.approx(others.mean(0)) and found.n == 20
    assert found.sd == pytest.approx(others.std(0, ddof=1))


def test_a_unit_like_its_controls_keeps_the_level():
    rng = np.random.default_rng(1)
    heavy = rng.standard_t(3, size=(200, 21, 100)) * rng.gamma(1, 1, 100)
    p = np.array([against_units(x[0], x[1:]).p for x in heavy])
    assert 0.035 < (p < 0.05).mean() < 0.065
    called = [(benjamini_hochberg(pd.Series(own)) < 0.05).any() for own in p]
    assert np.mean(called) < 0.1


def test_genes_that_every_unit_reads_are_not_the_candidates_own():
    rng = np.random.default_rng(2)
    own, others = rng.normal(size=300), rng.normal(size=(50, 300))
    own[:10] += 12
    others[:, :5] += 12  # half of the module is read by all
    q = benjamini_hochberg(pd.Series(against_units(own, others).p))
    assert (q[5:10] < 0.05).all() and (q[:5] > 0.2).all() and (q[10:] < 0.05).sum() <= 1


def test_silent_units_and_few_controls():
    nothing = against_units(np.zeros(30), np.zeros((19, 30)))
    assert (nothing.z == 0).all() and (nothing.p == 1).all()
    own = np.zeros(30)
    own[3] = 5
    alone = against_units(own, np.zeros((19, 30)))  # no other unit differs anywhere
    assert np.isfinite(alone.z).all()
    few = against_units(own, np.zeros((18, 30)))
    assert np.isnan(few.p).all() and few.n == 18
    own[7] = np.nan  # one gene could not be matched
    assert np.isnan(against_units(own, np.zeros((19, 30))).p).all()


def test_a_control_that_is_as_extreme_counts_as_reached():
    others = np.random.default_rng(3).normal(size=(19, 30))
    others[0, 4], own = 8.0, np.zeros(30)
    own[4] = 8.0  # the same as one control, so that neither is more extreme
    found = against_units(own, others)
    assert found.p[4] == pytest.approx(2 / (1 + 19 * 30))
