"""Cutting counts into blocks of cells."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from scsw.cohort import count_matrix
from scsw.cohort.count_matrix import Reordered, Stacked, even_ranges, row_ranges
from tests.cohort.in_memory import InMemory
from tests.cohort.layouts import read_counts


def random_counts(n_cells, n_genes=7, seed=0):
    random = np.random.default_rng(seed)
    return sparse.csr_matrix(random.poisson(0.7, (n_cells, n_genes)))


def check_ranges(ranges, start, n):
    assert ranges[0][0] == start and ranges[-1][1] == n
    assert all(first < stop for first, stop in ranges)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize("limit", [1, 3, 10, 10**9])
@pytest.mark.parametrize("start", [0, 4, 11])
def test_rows_are_cut_by_their_values(limit, start):
    lengths = np.array([0, 2, 9, 0, 0, 3, 1, 1, 1, 12, 0, 1])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    ranges = list(row_ranges(indptr, limit, start))
    check_ranges(ranges, start, 12)
    for first, stop in ranges:
        # One cell is never divided, even if it alone holds more.
        assert indptr[stop] - indptr[first] <= limit or stop == first + 1


def test_nearly_empty_cells_are_cut_too(monkeypatch):
    monkeypatch.setattr(count_matrix, "BLOCK_CELLS", 5)
    assert list(row_ranges(np.zeros(13, int), 100)) == [(0, 5), (5, 10), (10, 12)]
    assert list(even_ranges(12, 100)) == [(0, 5), (5, 10), (10, 12)]
    assert list(even_ranges(12, 4, 6)) == [(6, 10), (10, 12)]
    assert list(even_ranges(2, 0)) == [(0, 1), (1, 2)]
    assert list(even_ranges(0, 4)) == list(row_ranges(np.zeros(1, int), 4)) == []


@pytest.mark.parametrize("limit", [1, 8, 1000])
def test_in_memory(tmp_path, limit):
    counts = random_counts(20)
    matrix = InMemory(counts, "x", "advice")
    assert (matrix.shape, matrix.n_values) == ((20, 7), counts.nnz)
    assert (read_counts(matrix, tmp_path, limit) != counts).nnz == 0
    assert (read_counts(InMemory(counts.toarray(), "x", ""), tmp_path, limit) != counts).nnz == 0


@pytest.mark.parametrize("limit", [1, 8, 1000])
def test_stacked_matrices_begin_again_at_any_block(tmp_path, limit):
    parts = [random_counts(n, seed=n) for n in (6, 1, 9)]
    stacked = Stacked([InMemory(part, f"part {n}", "advice") for n, part in enumerate(parts)])
    whole = sparse.vstack(parts, format="csr")
    assert stacked.shape == (16, 7) and stacked.n_values == whole.nnz
    assert stacked.where == "part 0 and 2 more files" and stacked.advice == "advice"
    sizes = [block.shape[0] for block in stacked.blocks(limit, tmp_path)]
    for start in np.cumsum([0, *sizes[:-1]]):
        rest = [block.toarray() for block in stacked.blocks(limit, tmp_path, int(start))]
        np.testing.assert_array_equal(np.concatenate(rest), whole[start:].toarray())
    assert list(stacked.blocks(limit, tmp_path, 16)) == []


def test_one_stacked_matrix_keeps_its_name():
    assert Stacked([InMemory(random_counts(3), "x", "")]).where == "x"


def test_reordered_genes(tmp_path):
    counts = random_counts(9)
    order = np.array([3, 0, 6, 2, 1, 5, 4])
    found = read_counts(Reordered(InMemory(counts, "x", ""), order), tmp_path, 5)
    np.testing.assert_array_equal(found.toarray(), counts.toarray()[:, order])
