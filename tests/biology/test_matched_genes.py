"""Genes against genes of like detection rate and expression."""

import numpy as np
import pytest
from scipy import stats

from scsw.biology.matched_genes import (
    matched_z,
    n_passing,
    neighbours,
    score_against_neighbours,
)


def test_a_detection_artefact_is_not_a_gene_of_the_candidate():
    rng = np.random.default_rng(0)
    rate, mean_bin = rng.uniform(0.02, 0.9, 800), rng.uniform(5, 45, 800)
    score = np.log(rate / (1 - rate)) + 0.03 * mean_bin + rng.normal(0, 0.2, 800)
    ordinary = np.flatnonzero((rate > 0.3) & (rate < 0.6))
    planted = rng.choice(ordinary, 10, replace=False)
    score[planted] += 3
    table = score_against_neighbours(score, neighbours(rate, mean_bin, 50))
    called = set(np.flatnonzero(table["q"] < 0.05))
    assert len(called & set(planted)) >= 8
    assert len(called - set(planted)) <= 3
    # By the score alone the often detected genes would come first.
    by_score = set(np.argsort(-score)[:10]) & set(planted)
    by_z = set(table["z"].nlargest(10).index) & set(planted)
    assert len(by_score) < len(by_z)


def test_the_matched_test_is_the_prediction_t_test_and_keeps_its_level():
    rng = np.random.default_rng(1)
    rate, mean_bin = rng.uniform(0.05, 0.9, 500), rng.uniform(5, 45, 500)
    matched = neighbours(rate, mean_bin, 30)
    assert matched.shape == (500, 30)
    assert all(own not in row for own, row in enumerate(matched))
    score = rng.normal(size=500)
    table = score_against_neighbours(score, matched)
    others = score[matched[7]]
    t = (score[7] - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 30))
    assert table["z"][7] == pytest.approx(t)
    assert table["p"][7] == pytest.approx(2 * stats.t.sf(abs(t), 29))
    assert table["q"].to_numpy() == pytest.approx(stats.false_discovery_control(table["p"]))
    assert 0.02 < (table["p"] < 0.05).mean() < 0.09


def test_genes_that_pass_alone_are_those_of_the_table():
    rng = np.random.default_rng(2)
    scores, matched = rng.standard_t(2, 300), neighbours(rng.uniform(size=300), rng.random(300), 4)
    q = score_against_neighbours(scores, matched)["q"]
    for alpha in np.quantile(q, [0.01, 0.05, 0.2]):  # each the q of some gene
        assert n_passing(matched_z(scores, matched), matched, alpha) == (q <= alpha).sum() > 0


def test_too_few_genes_are_not_matched():
    assert neighbours(np.linspace(0.1, 0.9, 10), np.ones(10), 5) is None
    assert score_against_neighbours(np.ones(10), None)["p"].isna().all()


def test_a_gene_alone_among_silent_ones_stands_out():
    matched = neighbours(np.linspace(0.1, 0.9, 60), np.ones(60), 10)
    score = np.zeros(60)
    assert (matched_z(score, matched) == 0).all()
    score[30] = 1.0
    z = matched_z(score, matched)
    assert np.isfinite(z).all() and z.argmax() == 30 and z[30] > 50


def test_z_hangs_on_neither_the_scale_nor_a_shift_of_the_scores():
    rng = np.random.default_rng(2)
    matched = neighbours(rng.uniform(0.1, 0.9, 60), rng.uniform(5, 45, 60), 10)
    score = rng.normal(size=60)
    assert matched_z(1e-9 * score + 3e-9, matched) == pytest.approx(matched_z(score, matched))
