from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scsw.biology.replicate.stage_agreement import rank_rows, slope_rows

CLASSES = ["astrocytes", "excitatory", "immune", "inhibitory", "other", "vascular"]


def slopes(a, b, stage="adnc"):
    """Slopes of pairs (columns) in classes (rows)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    rows = [
        (f"a{k}", f"b{k}", CLASSES[i], stage, a[i, k], b[i, k])
        for i in range(a.shape[0])
        for k in range(a.shape[1])
    ]
    names = "candidate_a candidate_b cell_class stage beta_a beta_b".split()
    return pd.DataFrame(rows, columns=names).dropna()


def ranked(table, n=999, seed=0):
    rows = list(rank_rows(table, permutations=n, rng=np.random.default_rng(seed)))
    return pd.DataFrame(rows).set_index("stage")


def test_the_exact_p_is_that_of_all_orders_of_the_classes():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 3))
    b = a + rng.normal(size=(6, 3))

    def statistic(b):
        return np.mean([spearmanr(a[:, k], b[:, k]).statistic for k in range(3)])

    row = ranked(slopes(a, b)).loc["adnc"]
    assert row["spearman"] == pytest.approx(statistic(b))
    null = [statistic(b[list(order)]) for order in permutations(range(6))]
    assert row["p"] == pytest.approx(np.mean(np.array(null) >= statistic(b) - 1e-9))
    assert (row["n_pairs"], row["n_classes"], row["p_floor"]) == (3, 6, 1 / 720)


def test_candidates_seen_in_the_same_donors_do_not_add_up():
    """Five copies of one pair are no surer than the pair, and opposite slopes do not agree."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 6, 1))
    once, copies = (ranked(slopes(np.tile(a, n), np.tile(b, n))).loc["adnc", "p"] for n in (1, 5))
    assert once == copies
    assert ranked(slopes(a, -a)).loc["adnc", "p"] == 1


def test_random_orders_where_there_are_too_many():
    a = np.arange(6.0)[:, None]
    row = ranked(slopes(a, a), n=99).loc["adnc"]
    assert row["p"] == row["p_floor"] == 1 / 100
    again = ranked(slopes(a, a[::-1]), n=99).loc["adnc"]
    assert again["p"] == 1


def test_p_is_uniform_without_agreement():
    rng = np.random.default_rng(2)
    p = [ranked(slopes(*rng.normal(size=(2, 5, 3))), n=120).loc["adnc", "p"] for _ in range(80)]
    assert np.mean(np.array(p) <= 0.05) <= 0.13
    assert np.mean(p) == pytest.approx(0.5, abs=0.12)


def test_classes_that_were_not_tested_for_every_pair_are_left_out():
    a = np.arange(10.0).reshape(5, 2)
    b = a.copy()
    b[1, 0] = np.nan
    assert ranked(slopes(a, b)).loc["adnc", "n_classes"] == 4
    b[2:4, 1] = np.nan
    row = ranked(slopes(a, b)).loc["adnc"]
    assert row["n_classes"] == 2 and np.isnan(row["p"]) and row["null"] == ""


def test_row_p_is_one_sided_for_the_direction_of_the_first_cohort():
    one = pd.DataFrame(
        {"candidate_id": "x", "cell_class": ["immune", "other"], "stage": "braak"}
    ).assign(beta=[0.5, -0.5], p=0.9)
    two = one.assign(candidate_id="y", beta=[0.4, 0.4], p=[0.02, 0.02])
    pairs = pd.DataFrame({"candidate_a": ["x"], "candidate_b": ["y"]})
    table = slope_rows(one, two, pairs)
    assert table["p"].tolist() == pytest.approx([0.01, 0.99])
    assert table["same_sign"].tolist() == [True, False]
    assert slope_rows(one.iloc[:0], two, pairs).empty
    assert list(rank_rows(table.iloc[:0], permutations=9, rng=np.random.default_rng(0))) == []
