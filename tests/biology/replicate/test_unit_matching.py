import numpy as np
import pytest

from scsw.biology.replicate.matching import unit_ranks
from scsw.biology.unit_matching import unit_level_p


def model(rng, planted, n_controls=20, common=0.0):
    """Candidates with `planted` profiles (genes × candidates) beside controls."""
    genes, n = planted.shape
    shared = np.random.default_rng(99).normal(size=(genes, 1)) * common
    found = []
    for k in range(n):
        own = planted[:, [k]] + rng.normal(size=(genes, 1))
        controls = rng.normal(size=(genes, n_controls))
        found.append(unit_ranks(np.hstack([own, controls]) + shared))
    return found


def p_of(a, b, rematch=True, draws=199):
    pairs = np.column_stack([np.arange(len(a))] * 2)
    rng = np.random.default_rng(0)
    return unit_level_p(a, b, pairs, rematch=rematch, draws=draws, rng=rng)


@pytest.mark.parametrize("rematch", [True, False])
def test_a_planted_pair_passes_and_what_all_units_share_does_not(rematch):
    rng = np.random.default_rng(1)
    planted = rng.normal(size=(200, 3)) * [4, 0, 0]
    p = p_of(model(rng, planted), model(rng, planted), rematch)
    assert p[0] <= 0.02 and p[1:].min() > 0.05
    none = np.zeros((200, 3))
    alike = p_of(model(rng, none, common=3.0), model(rng, none, common=3.0), rematch)
    assert alike.min() > 0.05


def test_p_is_uniform_if_candidates_are_units_like_their_controls():
    rng = np.random.default_rng(2)
    none = np.zeros((60, 3))
    best = [
        p_of(model(rng, none, 12, 1.0), model(rng, none, 12, 1.0), False, 99).min()
        for _ in range(150)
    ]
    assert np.mean(np.array(best) <= 0.05) <= 0.11
    assert np.mean(np.array(best) <= 0.5) == pytest.approx(0.5, abs=0.13)


def test_too_few_controls_or_no_pairs_give_no_p():
    rng = np.random.default_rng(3)
    none = np.zeros((50, 2))
    few = model(rng, none, n_controls=4)
    assert np.isnan(p_of(few, model(rng, none))).all()
    empty = np.empty((0, 2), int)
    p = unit_level_p([], [], empty, rematch=True, draws=9, rng=rng)
    assert p.shape == (0,)
