import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.qc import QcLog, check_cell_types, keep_cells, keep_genes, measure
from scsw.cohort.sampling import cap_at_random, cap_rare_first
from scsw.errors import ScswError
from scsw.settings import section_settings

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


def test_measure_counts_over_all_genes():
    counts = sparse.csr_matrix(np.array([[5, 0, 5], [0, 0, 0]], np.int32))
    measured = measure(
        counts, pd.Series(["A", "B", "MT-ND1"]), pd.DataFrame({"pct_mito": [9.0, 9.0]})
    )
    assert measured["total_counts"].tolist() == [10, 0]
    assert measured["n_genes"].tolist() == [2, 0]
    assert measured["pct_mito"].tolist() == [50, 0]


def test_measure_keeps_the_sources_share_where_no_mitochondrial_gene_is_left():
    counts = sparse.csr_matrix(np.array([[5, 1]], np.int32))
    measured = measure(counts, pd.Series(["A", "MTOR"]), pd.DataFrame({"pct_mito": [9.0]}))
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


def test_genes_need_enough_cells():
    counts = sparse.csr_matrix(np.array([[5, 0, 1], [1, 0, 0]], np.int32))
    log = QcLog()
    assert keep_genes(counts, settings(min_cells_per_gene=2), log).tolist() == [True, False, False]
    assert log.table()[["axis", "before", "removed"]].values.tolist() == [["genes", 3, 2]]


def test_one_cell_type_cannot_be_classified():
    check_cell_types(pd.Series(["A", "B"]), QcLog())
    with pytest.raises(ScswError, match="one cell type only: 'A'"):
        check_cell_types(pd.Series(["A", "A"]), QcLog())
