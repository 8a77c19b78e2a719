import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scsw.biology.enrich.over_representation import over_representation
from scsw.biology.ranking import VIEWS
from scsw.biology.replicate.pathway_agreement import (
    GeneList,
    _permuted_p,
    agreement_by_library,
    gene_list,
)
from scsw.settings import section_settings

GENES = [f"GENE{i:03d}" for i in range(400)]


@pytest.fixture(scope="module")
def sets():
    """Sets of 5 to 90 genes; each small one lies within a large one, as real libraries have it."""
    rng = np.random.default_rng(0)
    large = {f"L{k}": list(rng.choice(GENES, 30 + 10 * k, replace=False)) for k in range(7)}
    small = {
        f"S{k:02d}": list(rng.choice(large[f"L{k % 7}"], 5 + k % 6, replace=False))
        for k in range(40)
    }
    return {"lib": {**large, **small}}


def a_list(genes, sets):
    return GeneList(list(genes), GENES, sets)


def agree(a, b, sets, permutations=199, seed=0):
    rng = np.random.default_rng(seed)
    table = agreement_by_library(
        a_list(a, sets), a_list(b, sets), permutations=permutations, rng=rng
    )
    return table.set_index("library")


def test_lists_of_like_genes_agree_with_scipys_spearman(sets):
    a = sets["lib"]["L0"][:20] + sets["lib"]["L1"][:10]
    b = sets["lib"]["L0"][5:25] + sets["lib"]["L1"][3:13]
    row = agree(a, b, sets).loc["lib"]
    p_a, p_b = (over_representation(genes, GENES, sets)["p"] for genes in (a, b))
    assert row["spearman"] == pytest.approx(spearmanr(-np.log10(p_a), -np.log10(p_b)).statistic)
    assert row["p"] == 1 / 200
    assert row["n_sets"] == 47


def test_the_null_is_that_of_random_lists_tested_one_by_one(sets):
    rng = np.random.default_rng(1)
    a, b = (list(rng.choice(GENES, 30, replace=False)) for _ in range(2))
    p_a = over_representation(a, GENES, sets)["p"]
    observed = spearmanr(-p_a, -over_representation(b, GENES, sets)["p"]).statistic
    draws = [
        spearmanr(
            -p_a, -over_representation(rng.choice(GENES, 30, replace=False), GENES, sets)["p"]
        ).statistic
        for _ in range(300)
    ]
    expected = np.mean(np.array(draws) >= observed)
    p = agree(a, b, sets, permutations=2000).loc["lib", "p"]
    assert p == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 300))


def test_unrelated_lists_pass_as_often_as_they_should_but_not_under_permuted_set_labels(sets):
    rng = np.random.default_rng(2)
    ours, labels = [], []
    for seed in range(150):
        a, b = (list(rng.choice(GENES, 30, replace=False)) for _ in range(2))
        ours.append(agree(a, b, sets, permutations=99, seed=seed).loc["lib", "p"])
        ranks = [over_representation(x, GENES, sets)["p"].rank() for x in (a, b)]
        labels.append(spearmanr(*ranks, alternative="greater").pvalue)
    assert np.mean(np.array(ours) <= 0.05) <= 0.10
    assert np.mean(ours) == pytest.approx(0.5, abs=0.1)
    assert np.mean(np.array(labels) <= 0.05) > 0.1


def test_each_library_is_compared_by_itself_and_one_p_in_all_sets_gives_no_value(sets):
    apart = {"E1": GENES[380:390], "E2": GENES[390:]}
    b = [gene for gene in GENES[:30] if gene not in GENES[380:]]
    table = agree(GENES[:30], b, {**sets, "apart": apart})
    assert set(table.index) == {"lib", "apart"}
    assert table.loc["apart", "n_sets"] == 2
    assert table.loc["apart", ["spearman", "p"]].isna().all()
    assert table.loc["lib", "p"] == 1 / 200


@pytest.mark.parametrize("empty", ["query", "sets"])
def test_without_leading_genes_or_sets_there_are_no_rows(sets, empty):
    a = GENES[:30] if empty == "sets" else []
    assert agree(a, GENES[:30], sets if empty == "query" else {}).empty
    assert agree(GENES[:30], a, sets if empty == "query" else {"lib": {}}).empty


def test_the_list_is_the_one_that_enrich_tests(make_scores):
    z = np.linspace(-1, 2, 400)
    scores = make_scores({"c1": dict.fromkeys(VIEWS, z)}, GENES)
    settings = section_settings("enrich", {"top_genes": 5, "min_size": 2})
    libraries = {"lib": {"A": [*GENES[:2], "ELSE"], "B": GENES[:1]}}
    found = gene_list(scores, "c1", libraries, settings)
    assert found.query == GENES[:-6:-1]
    assert sorted(found.background) == GENES
    assert found.sets == {"lib": {"A": GENES[:2]}}
    pd.testing.assert_frame_equal(
        found.ora(),
        over_representation(found.query, GENES, found.sets)[["library", "gene_set", "p"]],
    )


def test_the_p_values_of_a_draw_are_those_of_ora(sets):
    members = list(sets["lib"].values())
    (drawn,) = _permuted_p(members, GENES, 30, 4, np.random.default_rng(7))
    keys = np.random.default_rng(7).random((4, len(GENES)))
    for p, key in zip(drawn.T, keys, strict=True):
        query = [GENES[place] for place in np.argsort(key)[:30]]
        np.testing.assert_allclose(p, over_representation(query, GENES, sets)["p"])
