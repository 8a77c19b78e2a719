import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scsw.biology.replicate.matching import correlate_pairs, match_candidates, profiles, unit_ranks

GENES = [f"GENE{i:03d}" for i in range(120)]


def noise(columns, seed, genes=GENES):
    values = np.random.default_rng(seed).normal(size=(len(genes), len(columns)))
    return pd.DataFrame(values, index=genes, columns=list(columns))


def match(a, b, seed=0, permutations=199):
    return match_candidates(a, b, permutations=permutations, rng=np.random.default_rng(seed))


def test_planted_partners_are_found_with_scipys_spearman():
    a = noise("xyz", 0)
    b = noise("pqr", 1, [*GENES[20:], "OTHER"])
    b.loc[GENES[20:], "r"] += 3 * a.loc[GENES[20:], "x"]
    b.loc[GENES[20:], "p"] += 3 * a.loc[GENES[20:], "z"]
    table = match(a, b).set_index("candidate_a")
    assert table.loc["x", "candidate_b"] == "r" and table.loc["z", "candidate_b"] == "p"
    assert table.loc["x", "p"] == table.loc["z", "p"] == 1 / 200
    assert table.loc["y", "p"] > 0.05
    assert (table["n_genes"] == 100).all()
    for candidate, row in table.iterrows():
        rho = spearmanr(a.loc[GENES[20:], candidate], b.loc[GENES[20:], row["candidate_b"]])
        assert row["spearman"] == pytest.approx(rho.statistic)


def test_an_opposite_profile_is_no_partner():
    a, b = noise("xy", 0), noise("pq", 1)
    b["p"] = -a["x"]
    table = match(a, b).set_index("candidate_a")
    assert table.loc["x", "candidate_b"] == "q" and table.loc["y", "candidate_b"] == "p"
    assert table["p"].min() > 0.05
    alone = match(a[["x"]], b[["p"]]).iloc[0]
    assert alone["spearman"] == pytest.approx(-1) and alone["p"] == 1


def test_the_null_holds_the_optimism_of_choosing_partners():
    """Of unrelated models the best pair passes 0.05 in about 5 % of the trials, not more.

    Its p without the matching would pass in about 1 − 0.95^4 = 19 % of them or more.
    """
    best, naive = [], []
    for seed in range(150):
        table = match(noise("wxyz", 2 * seed), noise("pqrs", 2 * seed + 1), seed, permutations=99)
        best.append(table["p"].min())
        a, b = noise("wxyz", 2 * seed), noise("pqrs", 2 * seed + 1)
        pairs = zip(table["candidate_a"], table["candidate_b"], strict=True)
        naive.append(min(spearmanr(a[x], b[y]).pvalue for x, y in pairs))
    assert np.mean(np.array(best) <= 0.05) <= 0.10
    assert np.mean(np.array(best) <= 0.5) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(naive) <= 0.05) > 0.25


def test_given_pairs_are_correlated_without_a_new_match():
    a, b = noise("xy", 0), noise("pq", 1)
    b["q"] += 4 * a["x"]
    pairs = pd.DataFrame({"candidate_a": ["x", "y", "y"], "candidate_b": ["q", "p", "gone"]})
    table = correlate_pairs(a, b, pairs, permutations=199, rng=np.random.default_rng(0))
    assert table["candidate_b"].tolist() == ["q", "p"]
    assert table["spearman"].iloc[1] == pytest.approx(spearmanr(a["y"], b["p"]).statistic)
    assert table["p"].iloc[0] == 1 / 200 and table["p"].iloc[1] > 0.05


def test_too_few_shared_genes_give_no_pairs():
    a, b = noise("xy", 0, GENES[:20]), noise("pq", 1, GENES[12:40])
    assert match(a, b).empty
    pairs = pd.DataFrame({"candidate_a": ["x"], "candidate_b": ["p"]})
    assert correlate_pairs(a, b, pairs, permutations=9, rng=np.random.default_rng(0)).empty
    assert match(pd.DataFrame(), pd.DataFrame()).empty


def test_models_may_have_different_numbers_of_candidates():
    table = match(noise("wxyz", 0), noise("pq", 1))
    assert len(table) == 2 and table["candidate_a"].is_unique and table["candidate_b"].is_unique


def test_candidates_without_a_profile_are_left_out(make_scores):
    rng = np.random.default_rng(0)
    z = {name: {"read_in": rng.normal(size=120)} for name in ("good", "flat", "sparse", "none")}
    z["flat"]["read_in"] = np.full(120, 2.0)
    z["sparse"]["read_in"][10:] = np.nan
    z["none"]["read_in"][:] = np.nan
    table = profiles(make_scores(z, GENES), "read_in")
    assert table.columns.tolist() == ["good"] and len(table) == 120


def test_equal_values_share_their_rank():
    values = pd.Series([3.0, 1.0, 1.0, 2.0])
    other = pd.Series([1.0, 2.0, 5.0, 5.0])
    assert unit_ranks(values) @ unit_ranks(other) == pytest.approx(
        spearmanr(values, other).statistic
    )
    assert not unit_ranks(pd.Series([4.0, 4.0, 4.0])).any()
