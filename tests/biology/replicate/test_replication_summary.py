import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from scsw.biology.replicate.replicate import TABLES
from scsw.biology.replicate.replication_summary import (
    judged,
    ruger,
    simes,
    summary_rows,
    with_outcomes,
)
from scsw.biology.tables import typed


def test_simes_is_the_smallest_q_of_statsmodels():
    p = np.random.default_rng(0).uniform(size=12)
    q = multipletests(p, method="fdr_bh")[1].min()
    assert simes(pd.Series([*p, np.nan])) == pytest.approx(q)
    m = len(p)
    assert q == pytest.approx(min(m * value / (k + 1) for k, value in enumerate(sorted(p))))
    assert np.isnan(simes(pd.Series([np.nan])))


@pytest.mark.parametrize(
    ("p", "combined"),
    [([0.03], 0.03), ([0.01, 0.9], 0.02), ([0.01, 0.02, 0.9], 0.03), ([0.9, 0.8], 1.0)],
)
def test_half_of_the_pairs_of_models_must_agree(p, combined):
    assert ruger(np.array(p)) == pytest.approx(combined)
    assert np.isnan(ruger(np.array([])))


def test_the_combined_p_holds_its_level_whatever_the_dependence():
    rng = np.random.default_rng(1)
    shared = rng.uniform(size=(4000, 1))
    for p in (rng.uniform(size=(4000, 9)), np.tile(shared, 9)):
        combined = np.array([ruger(row) for row in p])
        assert np.mean(combined <= 0.05) <= 0.06


def tables(genes):
    names = ["seed_a", "seed_b", "spearman", "p", "q"]
    about = dict.fromkeys(["cohort_a", "cohort_b", "candidate_a", "candidate_b"], "x")
    about |= {"n_shared_donors": 0, "causal_a": False, "causal_b": False, "view": "read_in"}
    about |= {"shared_start": False, "same_coordinate": False, "n_genes": 90, "null": "labels"}
    about |= {"n_controls": 19, "unit_p": 0.001, "unit_q": 0.001, "unit_null": "units"}
    table = pd.DataFrame(genes, columns=names).assign(**about)
    empty = {name: typed([], columns) for name, columns in TABLES.items()}
    return empty | {"genes": typed(table, TABLES["genes"])}


def summed(genes, n_shared=0):
    rows = summary_rows(tables(genes), n_shared=n_shared, alpha=0.05, names=("one", "two"))
    return with_outcomes(pd.DataFrame(rows), 0.05).set_index("level")


def test_one_seed_of_four_is_no_replication():
    weak = [(0, 0, 0.8, 0.001, 0.004), *[(i, 0, 0.0, 0.6, 0.6) for i in (1, 2, 3)]]
    row = summed(weak).loc["genes"]
    assert row["outcome"].startswith("No agreement shown (q 1; some test passes in 1 of 4 pairs")
    strong = [(i, 0, 0.8, 0.001, 0.001) for i in range(4)]
    row = summed(strong).loc["genes"]
    assert row["outcome"] == "Agreement (q 0.002; some test passes in 4 of 4 pairs of models)."
    assert row["independent"] and row["statistic"] == 0.8
    assert "Rüger" in row["null"] and row["null"].startswith("labels")


@pytest.mark.parametrize(
    ("stages", "used"), [(("apoe_e4", "cps", "braak"), "braak"), (("apoe_e4",), None)]
)
def test_the_stage_that_is_summed_up_is_no_allele(stages, used):
    ranks = pd.DataFrame({"stage": stages, "spearman": 0.5, "p": 0.01, "q": 0.02, "null": "orders"})
    about = {"cohort_a": "x", "cohort_b": "y", "n_shared_donors": 0, "seed_a": 0, "seed_b": 0}
    ranks = ranks.assign(**about, n_pairs=2, n_classes=6, p_floor=0.001)
    given = tables([]) | {"stage_ranks": typed(ranks, TABLES["stage_ranks"])}
    rows = summary_rows(given, n_shared=0, alpha=0.05, names=("one", "two"))
    row = with_outcomes(pd.DataFrame(rows), 0.05).set_index("level").loc["stages"]
    assert row["n"] == (used is not None)
    assert f"{used} slopes" in row["statistic_is"] or row["outcome"].startswith("Not testable")


def test_so_few_classes_that_no_order_could_pass_are_no_test():
    ranks = pd.DataFrame({"stage": ["adnc"], "spearman": 1.0, "p": 1 / 6, "q": 1 / 6})
    about = {"cohort_a": "x", "cohort_b": "y", "n_shared_donors": 0, "seed_a": 0, "seed_b": 0}
    ranks = ranks.assign(**about, null="orders", n_pairs=2, n_classes=3, p_floor=1 / 6)
    given = tables([]) | {"stage_ranks": typed(ranks, TABLES["stage_ranks"])}
    rows = summary_rows(given, n_shared=0, alpha=0.05, names=("one", "two"))
    row = with_outcomes(pd.DataFrame(rows), 0.05).set_index("level").loc["stages"]
    assert row["outcome"].startswith("Not testable: too few cell classes") and row["n"] == 0


def test_levels_without_a_test_say_why():
    outcomes = summed([])["outcome"]
    assert outcomes.str.startswith("Not testable: ").all()
    assert summed([])["q"].isna().all()


def test_gene_sets_agree_only_where_the_genes_of_their_pair_do():
    own = {"seed_a": [0, 1], "seed_b": 0, "candidate_a": "x", "candidate_b": "x"}
    sets = pd.DataFrame(own | {"library": "axes", "spearman": 0.9, "p": 0.001, "q": 0.001})
    sets = sets.assign(n_sets=9, cohort_a="x", cohort_b="x", n_shared_donors=0, null="lists")
    sets = typed(sets.assign(shared_start=False), TABLES["pathways"])
    given = tables([(0, 0, 0.8, 0.002, 0.004), (1, 0, 0.1, 0.4, 0.4)]) | {"pathways": sets}
    found = judged(given, "pathways")
    assert found["p"].tolist() == [0.002, 0.4] and found["q"].tolist() == [0.004, 0.4]
    assert found["null"].eq("lists and labels and units").all()
    rows = summary_rows(given, n_shared=0, alpha=0.05, names=("one", "two"))
    row = with_outcomes(pd.DataFrame(rows), 0.05).set_index("level").loc["pathways"]
    assert (row["n_models_agree"], row["p"]) == (1, pytest.approx(0.004))
    # Of the second pair of models no genes were tested: its sets are no agreement either.
    given["genes"] = given["genes"].iloc[:1]
    assert judged(given, "pathways")[["p", "q"]].isna().all(axis=1).tolist() == [False, True]


def test_genes_without_units_to_compare_with_are_no_independent_evidence():
    given = tables([(0, 0, 0.8, 0.001, 0.001)])
    given["genes"] = given["genes"].assign(unit_p=np.nan, unit_q=np.nan, unit_null="")
    rows = summary_rows(given, n_shared=0, alpha=0.05, names=("one", "two"))
    row = with_outcomes(pd.DataFrame(rows), 0.05).set_index("level").loc["genes"]
    assert not row["independent"] and "too few units like them" in row["outcome"]


def test_people_in_both_cohorts_are_named():
    strong = [(0, 0, 0.8, 0.001, 0.001)]
    assert "1 person is in both" in summed(strong, n_shared=1).loc["genes", "outcome"]
