"""From the genes of a source to columns: duplicate symbols, tokens, sums."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.gene_columns import select, token_columns, unique_genes
from scsw.cohort.qc import QcLog


def genes(*rows):
    table = pd.DataFrame(rows, columns=["symbol", "ensembl_id", "from_table"])
    return table.astype({"from_table": bool})


def test_genes_of_one_symbol_share_a_number_and_the_first_ones_id():
    groups, unique = unique_genes(genes(("B", "b1", 0), ("A", "a1", 0), ("B", "b2", 0)))
    assert groups.tolist() == [0, 1, 0]
    assert unique["symbol"].tolist() == ["B", "A"]
    assert unique["ensembl_id"].tolist() == ["b1", "a1"]


def test_symbols_of_the_gene_table_unite_nothing():
    """The source told two genes apart; that our table has one name for both changes nothing."""
    groups, unique = unique_genes(
        genes(("B", "b1", 1), ("B", "b2", 1), ("B", "b3", 0), ("B", "b4", 0))
    )
    assert groups.tolist() == [0, 1, 2, 2]
    assert unique["ensembl_id"].tolist() == ["b1", "b2", "b3"]


def matched(*rows):
    columns = ["symbol", "ensembl_id", "token", "token_id", "matched_by"]
    return pd.DataFrame(rows, columns=columns)


def test_columns_follow_the_token_ids_and_the_surest_match_names_them():
    log = QcLog()
    columns, var = token_columns(
        matched(
            ("APP", "e1", "APP", 9, "symbol"),
            ("NEW", "e2", "", -1, ""),
            ("CLU-OLD", "e3", "CLU", 4, "ensembl_id"),
            ("CLU", "e4", "CLU", 4, "symbol"),
        ),
        log,
    )
    assert columns.tolist() == [1, -1, 0, 0]
    assert var["symbol"].tolist() == var.index.tolist() == ["CLU", "APP"]
    assert var["token_id"].tolist() == [4, 9] and var["token_id"].dtype == np.int64
    assert var["ensembl_id"].tolist() == ["e4", "e1"]
    rows = log.table().set_index("filter")
    assert rows.loc["vocabulary", ["before", "removed"]].tolist() == [4, 1]
    assert rows.loc["same_token", ["before", "removed", "after"]].tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "columns",
    [
        [2, -1, 0, 1],  # another order, one gene dropped
        [0, 1, 2, 3],
        [-1, 0, 0, -1],  # two that are added up
        [1, 0, 1, 1],
    ],
)
def test_genes_are_taken_to_their_columns(columns):
    dense = np.random.default_rng(0).poisson(1, (30, 4))
    n_columns = max(columns) + 1
    found = select(sparse.csr_matrix(dense.astype(np.int32)), np.array(columns), n_columns)
    expected = np.zeros((30, n_columns), int)
    for gene, column in enumerate(columns):
        if column >= 0:
            expected[:, column] += dense[:, gene]
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.dtype == np.int32 and found.has_sorted_indices
    assert found.nnz == np.count_nonzero(expected)
