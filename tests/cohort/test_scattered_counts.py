"""Counts in any order come out cell by cell, however small the files they are scattered into."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from scsw.cohort.scattered_counts import ScatteredCounts
from scsw.errors import ScswError
from tests.cohort.layouts import read_counts


class Entries(ScatteredCounts):
    """Values of a dense matrix in an order of their own; counts the passes over the source."""

    def __init__(self, dense, order):
        self.cells, self.genes = np.nonzero(dense)
        self.values = dense[self.cells, self.genes]
        self.order = order
        self.shape, self.n_values = dense.shape, len(self.values)
        self.where, self.advice = "made up", ""
        self.passes, self.fail_after = 0, None

    def entries(self, limit):
        self.passes += 1
        for number, first in enumerate(range(0, self.n_values, limit)):
            if number == self.fail_after:
                raise KeyboardInterrupt
            chosen = self.order[first : first + limit]
            yield self.cells[chosen], self.genes[chosen], self.values[chosen]


@pytest.fixture
def dense():
    counts = np.random.default_rng(0).poisson(0.6, (50, 9)).astype(float)
    counts[[7, 20, 21, 49]] = 0  # cells without a value, one of them the last
    return counts


def scattered(dense, by="gene"):
    n = np.count_nonzero(dense)
    if by == "gene":
        cells, genes = np.nonzero(dense)
        return Entries(dense, np.lexsort((cells, genes)))
    return Entries(dense, np.random.default_rng(1).permutation(n))


@pytest.mark.parametrize("by", ["gene", "chance"])
@pytest.mark.parametrize("limit", [1, 6, 40, 10**6])
def test_values_come_out_by_cell(dense, tmp_path, by, limit):
    found = read_counts(scattered(dense, by), tmp_path / "s", limit)
    np.testing.assert_array_equal(found.toarray(), dense)


def test_no_block_is_much_larger_than_the_limit(dense, tmp_path):
    """Cells hold four values on average, so ten of them make a block of 40 at most."""
    blocks = list(scattered(dense).blocks(40, tmp_path / "s"))
    assert len(blocks) > 5
    assert {block.shape[0] for block in blocks[:-1]} == {blocks[0].shape[0]}
    assert max(block.nnz for block in blocks) <= 80


def test_a_later_call_begins_at_any_block_without_a_second_pass(dense, tmp_path):
    source = scattered(dense)
    sizes = [block.shape[0] for block in source.blocks(12, tmp_path / "s")]
    for start in np.cumsum([0, *sizes[:-1]]):
        rest = [block.toarray() for block in source.blocks(12, tmp_path / "s", int(start))]
        np.testing.assert_array_equal(np.concatenate(rest), dense[start:])
    assert source.passes == 1


def test_an_interrupted_first_pass_is_done_again(dense, tmp_path):
    source = scattered(dense)
    source.fail_after = 3
    with pytest.raises(KeyboardInterrupt):
        list(source.blocks(12, tmp_path / "s"))
    assert any((tmp_path / "s").iterdir())
    source.fail_after = None
    found = read_counts(source, tmp_path / "s", 12)  # nothing is there twice
    np.testing.assert_array_equal(found.toarray(), dense)


def test_a_matrix_without_values(tmp_path):
    found = read_counts(scattered(np.zeros((5, 3))), tmp_path / "s", 4)
    assert found.shape == (5, 3) and found.nnz == 0


def test_parts_without_a_value_are_passed_over(dense, tmp_path, monkeypatch):
    """As a table gives them that is read line by line and holds zeros."""
    original = Entries.entries

    def with_empty_parts(self, limit):
        nothing = np.zeros(0, int)
        for part in original(self, limit):
            yield nothing, nothing, nothing.astype(float)
            yield part

    monkeypatch.setattr(Entries, "entries", with_empty_parts)
    found = read_counts(scattered(dense), tmp_path / "s", 12)
    np.testing.assert_array_equal(found.toarray(), dense)


def test_values_keep_their_fraction(tmp_path):
    """Whether they are counts is judged later, with the message that names the source."""
    found = read_counts(scattered(np.array([[0.5, 0], [0, 2]])), tmp_path / "s")
    assert isinstance(found, sparse.csr_matrix) and found[0, 0] == 0.5


def test_a_disk_without_room_for_both_passes_is_told_first(dense, tmp_path, monkeypatch):
    source = scattered(dense)
    free = source.n_values * 16  # enough for the values as they come, but not once checked beside
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(ScswError, match="GB for temporary files"):
        list(source.blocks(10, tmp_path / "scratch"))
    assert not list((tmp_path / "scratch").iterdir())
