import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.qc import (
    QcLog,
    add_measures,
    check_cell_types,
    count_genes,
    keep_cells,
    keep_genes,
)
from scsw.cohort.qc_tables import donor_table, qc_histograms
from scsw.cohort.sampling import cap_at_random, cap_each_type, cap_rare_first
from scsw.cohort.spool import Spool
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort.in_memory import InMemory

OPEN = {
    "min_genes": 0,
    "min_counts": 0,
    "max_pct_mito": 100,
    "min_cells_per_gene": 0,
    "min_cells_per_type": 1,
}


def settings(**given):
    return section_settings("preprocess", OPEN | given)


@pytest.fixture
def obs():
    """Twelve cells of one donor: 8 of type A, 3 of B, 1 of C."""
    return pd.DataFrame(
        {
            "cell_id": [f"c{i:02d}" for i in range(12)],
            "donor_id": "d",
            "cell_type": ["A"] * 8 + ["B"] * 3 + ["C"],
            "n_genes": np.arange(12) * 100,
            "total_counts": np.arange(12) * 200,
            "pct_mito": np.arange(12.0),
            "doublet_score": [np.nan] * 6 + [0.2] * 3 + [0.9] * 3,
        },
        index=[f"c{i:02d}" for i in range(12)],
    )


def measures(total, n_genes, mito):
    return pd.DataFrame({"total_counts": total, "n_genes": n_genes, "mito_counts": mito})


def test_measures_are_added_and_mitochondrial_counts_become_a_share():
    measured = add_measures(
        pd.DataFrame({"pct_mito": [9.0, 9.0]}, index=["a", "b"]),
        measures([10, 0], [2, 0], [5, 0]),
        pd.Series(["A", "B", "MT-ND1"]),
    )
    assert measured.index.tolist() == ["a", "b"]
    assert measured["total_counts"].tolist() == [10, 0]
    assert measured["n_genes"].tolist() == [2, 0]
    assert measured["pct_mito"].tolist() == [50, 0]  # 0 of 0 is 0


def test_the_sources_share_stands_where_no_mitochondrial_gene_is_left():
    given = pd.DataFrame({"pct_mito": [9.0]})
    measured = add_measures(given, measures([6], [2], [0]), pd.Series(["A", "MTOR"]))
    assert measured["pct_mito"].tolist() == [9.0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, range(12)),
        ({"min_genes": 300}, range(3, 12)),
        ({"min_counts": 301}, range(2, 12)),
        ({"max_pct_mito": 4}, range(5)),
        ({"max_doublet_score": 0.3}, range(9)),  # cells without a score pass
        ({"min_cells_per_type": 2}, range(11)),
        # B loses two of its three cells to the first filter, and then itself.
        ({"max_pct_mito": 8, "min_cells_per_type": 2}, range(8)),
    ],
)
def test_each_threshold(obs, given, kept):
    keep = keep_cells(obs, {}, settings(**({"max_doublet_score": 1} | given)), QcLog())
    assert np.flatnonzero(keep).tolist() == list(kept)


def test_every_loss_is_counted_in_the_order_of_filters(obs):
    log = QcLog()
    unused = np.zeros(12, bool)
    unused[:2] = True
    keep = keep_cells(
        obs,
        {"not_used": unused},
        settings(min_genes=300, max_pct_mito=9, max_doublet_score=0.5, min_cells_per_type=2),
        log,
    )
    table = log.table()
    assert table.columns.tolist() == ["axis", "filter", "before", "removed", "after", "detail"]
    assert table["filter"].tolist() == [
        "not_used",
        "min_genes",
        "min_counts",
        "max_pct_mito",
        "max_doublet_score",
        "min_cells_per_type",
    ]
    assert table["removed"].tolist() == [2, 1, 0, 2, 1, 1]
    assert (table["before"] - table["removed"] == table["after"]).all()
    assert table["before"].tolist()[1:] == table["after"].tolist()[:-1]
    assert table["after"].iloc[-1] == keep.sum()
    assert "B (1)" in table["detail"].iloc[-1]


def test_no_cell_left(obs):
    with pytest.raises(ScswError, match=r"no cell of 12 passes.*min_counts removed 12 of 12"):
        keep_cells(obs, {}, settings(min_counts=10**6), QcLog())


def test_cap_keeps_rare_types_first(obs):
    keep = cap_rare_first(obs, 6, seed=0)
    # C whole, B's share of 5 // 2 cells, A the rest: no type is crowded out.
    assert obs[keep]["cell_type"].value_counts().to_dict() == {"A": 3, "B": 2, "C": 1}


def test_cap_of_each_type_thins_the_common_ones_only(obs):
    two = pd.concat([obs, obs.assign(donor_id="e", cell_id=obs["cell_id"] + "e")])
    kept = two[cap_each_type(two, 2, seed=0)]
    for seed in range(6):
        sizes = two[cap_each_type(two, 2, seed)].groupby(["donor_id", "cell_type"]).size()
        assert sizes.to_dict() == {
            (d, t): n for d in "de" for t, n in (("A", 2), ("B", 2), ("C", 1))
        }
    # What one type loses does not depend on the others.
    alone = two[two["cell_type"] == "A"]
    assert set(alone[cap_each_type(alone, 2, seed=0)]["cell_id"]) == set(
        kept.loc[kept["cell_type"] == "A", "cell_id"]
    )


@pytest.mark.parametrize("cap", [cap_rare_first, cap_at_random, cap_each_type])
def test_caps_take_coded_texts(obs, cap):
    two = pd.concat([obs, obs.assign(donor_id="e", cell_id=obs["cell_id"] + "e")])
    coded = two.astype({"donor_id": "category", "cell_type": "category"})
    assert cap(coded, 3, seed=1).tolist() == cap(two, 3, seed=1).tolist()


@pytest.mark.parametrize("cap", [cap_rare_first, cap_at_random])
def test_caps_depend_on_names_and_seed_alone(obs, cap):
    two = pd.concat([obs, obs.assign(donor_id="e", cell_id=obs["cell_id"] + "e")])
    kept = set(two[cap(two, 5, seed=3)]["cell_id"])
    assert len(kept) == 10
    shuffled = two.sample(frac=1, random_state=1)
    assert set(shuffled[cap(shuffled, 5, seed=3)]["cell_id"]) == kept
    # Another donor's cells change nothing for this one.
    alone = two[two["donor_id"] == "e"]
    if cap is cap_at_random:
        assert set(alone[cap(alone, 5, seed=3)]["cell_id"]) == {c for c in kept if c[-1] == "e"}
    assert any(set(two[cap(two, 5, seed=s)]["cell_id"]) != kept for s in range(4, 8))
    assert cap(two, 12, seed=3).all()


def test_capped_cells_are_counted_and_rare_types_judged_again(obs):
    log = QcLog()
    keep_cells(
        obs,
        {},
        settings(max_cells_per_donor=6, min_cells_per_type=3, max_doublet_score=1),
        log,
    )
    rows = log.table().set_index("filter")
    assert rows.index.tolist()[-3:] == [
        "min_cells_per_type",
        "max_cells_per_donor",
        "min_cells_per_type",
    ]
    assert rows["removed"].tolist()[-3:] == [1, 5, 0]


def test_both_caps_each_with_its_row(obs):
    log = QcLog()
    keep = keep_cells(
        obs,
        {},
        settings(max_cells_per_donor_and_type=3, max_cells_per_donor=5, max_doublet_score=1),
        log,
    )
    rows = log.table().set_index("filter")["removed"]
    assert rows["max_cells_per_donor_and_type"] == 5  # five of eight cells of A
    assert rows["max_cells_per_donor"] == 2
    assert obs[keep]["cell_type"].value_counts().to_dict() == {"A": 2, "B": 2, "C": 1}


def test_histograms_count_kept_and_dropped_cells(obs):
    keep = obs["n_genes"].to_numpy() >= 300
    bins = qc_histograms(obs, keep)
    assert set(bins["measure"]) == {"n_genes", "total_counts", "pct_mito", "doublet_score"}
    assert (bins["low"] < bins["high"]).all()
    for measure, rows in bins.groupby("measure"):
        known = obs[measure].notna().to_numpy()
        assert rows["kept"].sum() == (keep & known).sum()
        assert rows["dropped"].sum() == (~keep & known).sum()
        values = obs.loc[keep & known, measure]
        for row in rows.itertuples():
            assert row.kept == ((values >= row.low) & (values < row.high)).sum(), measure
    absent = qc_histograms(obs.assign(doublet_score=np.nan), keep)
    assert "doublet_score" not in set(absent["measure"])


def test_one_row_a_donor():
    obs = pd.DataFrame(
        {
            "donor_id": pd.Categorical(["d2", "d1", "d1"], ["d1", "d2", "gone"]),
            "split": pd.Categorical(["test", "train", "train"]),
            "cell_type": pd.Categorical(["A", "A", "B"]),
            **dict.fromkeys(("sex", "apoe_genotype", "study"), "x"),
            **dict.fromkeys(("age_death", "pmi", "cps"), 1.0),
            **dict.fromkeys(("braak", "thal", "cerad", "adnc", "cognition"), 2),
            **dict.fromkeys(("age_censored", "is_reference"), False),
        }
    )
    table = donor_table(obs)
    assert table["donor_id"].tolist() == ["d2", "d1"]  # sorted by split
    assert table["n_cells"].tolist() == [1, 2] and table["n_cell_types"].tolist() == [1, 2]
    assert table["split"].tolist() == ["test", "train"] and set(table["braak"]) == {2}


def test_genes_are_counted_over_the_kept_cells(tmp_path):
    """One cell a block; the second was left out by the source, the last fails a later filter."""
    dense = np.array([[5, 0, 1], [7, 7, 7], [1, 0, 0], [0, 9, 9]])
    in_source = np.array([True, False, True, True])
    spool = Spool(tmp_path / "cells", 4, 3)
    source = InMemory(sparse.csr_matrix(dense), "X", "")
    spool.fill(source, np.arange(3), np.zeros(3, bool), in_source, limit=1)
    n_cells, n_counts = count_genes(spool, np.array([True, False, True, False]))
    assert n_cells.tolist() == [2, 0, 1]
    assert n_counts.tolist() == [6, 0, 1]


def test_genes_need_enough_cells():
    log = QcLog()
    keep = keep_genes(np.array([2, 0, 1]), settings(min_cells_per_gene=2), log)
    assert keep.tolist() == [True, False, False]
    assert log.table()[["axis", "before", "removed"]].values.tolist() == [["genes", 3, 2]]
    with pytest.raises(ScswError, match=r"no gene of 3 .*lower preprocess.min_cells_per_gene"):
        keep_genes(np.array([2, 0, 1]), settings(min_cells_per_gene=3), log)


def test_one_cell_type_cannot_be_classified():
    check_cell_types(pd.Series(["A", "B"]), QcLog())
    with pytest.raises(ScswError, match="one cell type only: 'A'"):
        check_cell_types(pd.Series(["A", "A"]), QcLog())
