import gseapy
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from scsw.biology.enrich.preranked import preranked

pytestmark = pytest.mark.usefixtures("no_network")
PERMUTATIONS = 200


@pytest.fixture
def ranking():
    z = np.random.default_rng(1).normal(size=600)
    names = [f"GENE{i}" for i in range(600)]
    return pd.Series(z, index=names).sort_values(ascending=False)


@pytest.fixture
def library(ranking):
    rng = np.random.default_rng(2)
    sets = {f"SET{k:02d}": list(rng.choice(ranking.index, 15, replace=False)) for k in range(20)}
    return {**sets, "TOP": list(ranking.index[:15]), "BOTTOM": list(ranking.index[-15:])}


def test_scores_and_leading_edges_are_gseapys_and_p_is_never_zero(ranking, library):
    ours = preranked(ranking, {"lib": library}, permutations=PERMUTATIONS, seed=3)
    theirs = gseapy.prerank(
        ranking,
        library,
        outdir=None,
        min_size=1,
        max_size=600,
        threads=1,
        permutation_num=PERMUTATIONS,
        seed=int(np.random.SeedSequence(3).generate_state(1)[0]),
    ).res2d.set_index("Term")
    theirs = theirs.loc[ours["gene_set"]]
    np.testing.assert_allclose(ours["statistic"], theirs["NES"].astype(float))
    assert ours["leading_edge"].tolist() == theirs["Lead_genes"].tolist()
    raw, p = theirs["NOM p-val"].to_numpy(float), ours["p"].to_numpy()
    assert (raw == 0).any()
    assert p.min() >= 1 / (PERMUTATIONS + 1)
    # raw = k/n and p = (k+1)/(n+1) with one n ≤ PERMUTATIONS: n follows from both.
    n = (1 - p) / (p - raw)
    assert np.allclose(n, np.round(n))
    assert n.max() <= PERMUTATIONS
    assert np.allclose(raw * n, np.round(raw * n))


def test_several_batches_are_pooled(ranking, library, monkeypatch):
    whole = preranked(ranking, {"lib": library}, permutations=1000, seed=3)
    monkeypatch.setattr("scsw.biology.enrich.preranked._BATCH", 70)
    pooled = preranked(ranking, {"lib": library}, permutations=1000, seed=3)
    assert pooled["p"].min() < 1 / 400
    np.testing.assert_allclose(pooled["statistic"], whole["statistic"], rtol=0.15)
    np.testing.assert_allclose(pooled["p"], whole["p"], atol=0.1)
    assert not np.array_equal(pooled["p"], whole["p"])


def test_same_seed_same_table_and_other_seed_other_p(ranking, library):
    first, again, other = (
        preranked(ranking, {"lib": library}, permutations=PERMUTATIONS, seed=s) for s in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not np.array_equal(first["p"], other["p"])


def test_p_of_random_sets_is_uniform(ranking):
    rng = np.random.default_rng(5)
    sets = {f"S{k:03d}": list(rng.choice(ranking.index, 12, replace=False)) for k in range(150)}
    p = preranked(ranking, {"lib": sets}, permutations=PERMUTATIONS, seed=0)["p"]
    assert kstest(p, "uniform").pvalue > 0.01


def test_a_set_whose_scores_are_all_zero_is_not_enriched():
    flat = pd.Series(0.0, index=[f"GENE{i}" for i in range(40)])
    table = preranked(flat, {"lib": {"A": list(flat.index[:12])}}, permutations=20, seed=0)
    assert table["p"].tolist() == [1.0]
    assert table["statistic"].isna().all()
