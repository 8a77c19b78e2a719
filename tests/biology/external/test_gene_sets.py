import numpy as np

from scsw.biology.external.gene_sets import LABEL_NULL, MATCHED_NULL, competitive_tests
from scsw.biology.external.slopes import Residuals, slopes

N_GENES, SET = 60, tuple(range(10))
MATCHED = np.array([[g for g in range(N_GENES) if g != gene] for gene in range(N_GENES)])


def outcome(y, case, sets=None, permutations=199):
    residuals = Residuals.of(y, case, np.empty((len(case), 0)))
    t = slopes(y, residuals)["t"].to_numpy()
    draws = {"permutations": permutations, "seed": 0, "names": ("x", "glia")}
    return competitive_tests(sets or {("a",): SET}, t, MATCHED, residuals, **draws), t


def simulated(seed, *, everywhere=0.0, in_set=0.0, shared=0.0):
    """Expression of 40 people; the genes of the set share a factor of its own."""
    rng = np.random.default_rng(seed)
    case = np.arange(40) % 2
    y = rng.normal(size=(40, N_GENES)) + everywhere * case[:, None]
    y[:, SET] += in_set * case[:, None] + shared * rng.normal(size=(40, 1))
    return y, case


def test_the_statistic_is_the_excess_over_the_matched_genes():
    table, t = outcome(*simulated(0))
    outside = np.abs(np.delete(t, SET)).mean()
    np.testing.assert_allclose(table["effect"], np.abs(t[list(SET)]).mean() - outside)
    assert list(table["null"]) == [LABEL_NULL, MATCHED_NULL]


def test_a_planted_set_passes_both_nulls_and_a_set_without_effect_neither():
    y, case = simulated(1, in_set=1.5)
    table, _ = outcome(y, case, {("a",): SET, ("b",): tuple(range(20, 30))})
    assert (table.loc[table["key"].map("".join).eq("a"), "p"] == 1 / 200).all()
    assert (table.loc[table["key"].map("".join).eq("b"), "p"] > 0.05).all()


def test_correlated_genes_pass_no_more_often_than_they_may():
    """The label null knows that the set's genes go together; the matched one does not."""
    p = {LABEL_NULL: [], MATCHED_NULL: []}
    for seed in range(60):
        table, _ = outcome(*simulated(seed, shared=2.0))
        for row in table.itertuples():
            p[row.null].append(row.p)
    assert np.mean(np.array(p[LABEL_NULL]) <= 0.02) < 0.06
    assert np.mean(np.array(p[MATCHED_NULL]) <= 0.02) > 0.08


def test_a_difference_in_all_genes_is_none_of_the_set():
    tables = [outcome(*simulated(seed, everywhere=1.0))[0] for seed in range(40)]
    matched = np.array([table["p"].iloc[1] for table in tables])
    assert 0.02 < np.mean(matched <= 0.1) < 0.25


def test_the_order_of_sets_changes_nothing():
    y, case = simulated(3)
    sets = {("a",): SET, ("b",): tuple(range(20, 30))}
    one, _ = outcome(y, case, sets)
    other, _ = outcome(y, case, dict(reversed(sets.items())))
    both = one.merge(other, on=["key", "null"])
    assert (both["p_x"] == both["p_y"]).all() and len(both) == 4
