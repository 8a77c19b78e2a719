"""Files of one cohort: the same genes, in whatever order."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.gene_order import one_gene_order
from scsw.cohort.genes import gene_frame
from scsw.errors import ScswError
from tests.cohort.in_memory import InMemory
from tests.cohort.layouts import read_counts

NAMES = ["APP", "MAPT", "CLU", "BIN1"]


def part(names, ids=None, n_cells=3, seed=0):
    random = np.random.default_rng(seed)
    counts = random.poisson(2, (n_cells, len(names)))
    return gene_frame(series(names), None if ids is None else series(ids), "x"), InMemory(
        sparse.csr_matrix(counts), f"file {seed}", ""
    )


def series(names):
    return pd.Series(names, dtype=object)


def dense(matrix, tmp_path):
    return read_counts(matrix, tmp_path).toarray()


def test_one_file_is_taken_as_it_is():
    genes, counts = part(NAMES)
    found = one_gene_order([(genes, counts)])
    assert found[0] is genes and found[1] is counts


def test_files_are_stacked_in_the_order_of_the_first(tmp_path):
    order = [2, 0, 3, 1]
    first, second = part(NAMES), part([NAMES[n] for n in order], n_cells=5, seed=1)
    genes, counts = one_gene_order([first, second])
    assert genes["symbol"].tolist() == NAMES
    expected = np.zeros((5, 4), int)
    expected[:, order] = dense(second[1], tmp_path)
    np.testing.assert_array_equal(
        dense(counts, tmp_path), np.vstack([dense(first[1], tmp_path), expected])
    )


def test_ensembl_ids_tell_genes_before_symbols(tmp_path):
    """Two genes of one symbol, which the other file lists the other way round."""
    ids = ["ENSG00000000001", "ENSG00000000002"]
    first = part(["A", "A"], ids)
    second = part(["A", "A"], ids[::-1], seed=1)
    _, counts = one_gene_order([first, second])
    expected = dense(second[1], tmp_path)[:, ::-1]
    np.testing.assert_array_equal(dense(counts, tmp_path)[3:], expected)


def test_symbols_that_are_not_unique_may_stand_in_the_same_order(tmp_path):
    parts = [part(["A", "A", "B"], seed=seed) for seed in (0, 1)]
    _, counts = one_gene_order(parts)
    np.testing.assert_array_equal(
        dense(counts, tmp_path), np.vstack([dense(matrix, tmp_path) for _, matrix in parts])
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NAMES, NAMES[:-1]),
        (NAMES, [*NAMES, "SST"]),
        (NAMES, [*NAMES[:-1], "SST"]),
        (["A", "A", "B"], ["A", "B", "A"]),
    ],
)
def test_other_genes_are_refused(first, second):
    with pytest.raises(ScswError, match="file 1 and file 0 name different genes"):
        one_gene_order([part(first), part(second, seed=1)])


def test_a_gene_that_is_named_twice_in_one_file_only():
    """As many genes, all known, yet MAPT is missing."""
    with pytest.raises(ScswError, match="different genes"):
        one_gene_order([part(NAMES), part(["APP", "APP", "CLU", "BIN1"], seed=1)])
