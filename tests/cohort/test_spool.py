"""Counts on disk: measured once, read again as they were, continued after an interruption."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
from scipy import sparse

from scsw.cohort.spool import Spool
from scsw.errors import ScswError
from tests.cohort.in_memory import InMemory

N_CELLS, N_GENES = 30, 8
# Genes 0 and 5 share a symbol, so there are seven unique ones; the sixth is mitochondrial.
GROUPS = np.array([0, 1, 2, 3, 4, 0, 5, 6])
IS_MITO = np.arange(7) == 5


class Killed(Exception):
    """Stands for whatever ends a run that is no user's mistake."""


class Source(InMemory):
    """Counts that say from which cell on they were asked, and may be cut off."""

    def __init__(self, matrix, fail_after=None):
        super().__init__(matrix, "layers['UMIs'] of made.h5ad", "look elsewhere")
        self.asked_from, self.given, self.fail_after = [], 0, fail_after

    def blocks(self, limit, scratch, start=0):
        self.asked_from.append(start)
        for number, block in enumerate(super().blocks(limit, scratch, start)):
            if number == self.fail_after:
                raise Killed
            self.given += block.shape[0]
            yield block


@pytest.fixture
def dense():
    counts = np.random.default_rng(0).poisson(0.8, (N_CELLS, N_GENES))
    counts[[4, 29]] = 0
    return counts.astype(float)


def summed(dense):
    unique = np.zeros((len(dense), 7))
    for gene, group in enumerate(GROUPS):
        unique[:, group] += dense[:, gene]
    return unique


def fill(folder, source, keep=None, limit=12):
    spool = Spool(folder / "cells", N_CELLS, 7)
    spool.fill(source, GROUPS, IS_MITO, np.ones(N_CELLS, bool) if keep is None else keep, limit)
    return spool


def read_back(spool):
    blocks = list(spool.blocks())
    assert [block.first for block in blocks] == [0, *[block.stop for block in blocks[:-1]]]
    kept = np.concatenate([block.kept for block in blocks])
    return kept, sparse.vstack([block.counts for block in blocks], format="csr")


@pytest.mark.parametrize("limit", [1, 12, 10**6])
def test_counts_and_measures(dense, tmp_path, limit):
    spool = fill(tmp_path, Source(sparse.csr_matrix(dense)), limit=limit)
    kept, counts = read_back(spool)
    expected = summed(dense)
    assert kept.tolist() == list(range(N_CELLS))
    assert counts.dtype == np.int32 and counts.has_sorted_indices
    np.testing.assert_array_equal(counts.toarray(), expected)
    measures = spool.measures()
    assert (measures.dtypes == np.int64).all()
    np.testing.assert_array_equal(measures["total_counts"], dense.sum(axis=1))
    np.testing.assert_array_equal(measures["n_genes"], (expected > 0).sum(axis=1))
    np.testing.assert_array_equal(measures["mito_counts"], dense[:, 6])


def test_cells_that_are_not_kept_are_measured_only(dense, tmp_path):
    keep = np.arange(N_CELLS) % 3 == 1
    spool = fill(tmp_path, Source(sparse.csr_matrix(dense)), keep)
    kept, counts = read_back(spool)
    assert kept.tolist() == np.flatnonzero(keep).tolist()
    np.testing.assert_array_equal(counts.toarray(), summed(dense)[keep])
    np.testing.assert_array_equal(spool.measures()["total_counts"], dense.sum(axis=1))


@pytest.mark.parametrize("largest", [200, 70_000, 2**31 - 1])
def test_counts_of_any_size_come_back_as_they_were(dense, tmp_path, largest):
    dense[3, 2] = largest
    _, counts = read_back(fill(tmp_path, Source(sparse.csr_matrix(dense))))
    assert counts[3, 2] == largest
    np.testing.assert_array_equal(counts.toarray(), summed(dense))


def test_more_genes_than_two_bytes_can_number(tmp_path):
    n_genes = (1 << 16) + 5
    cells = sparse.csr_matrix(([3.0, 4.0], ([0, 1], [n_genes - 1, 7])), shape=(2, n_genes))
    spool = Spool(tmp_path / "cells", 2, n_genes)
    spool.fill(Source(cells), np.arange(n_genes), np.zeros(n_genes, bool), np.ones(2, bool), 10)
    assert (read_back(spool)[1] != cells).nnz == 0


@pytest.mark.parametrize("n_blocks", [0, 1, 3])
def test_an_interrupted_run_asks_only_for_the_rest(dense, tmp_path, n_blocks):
    matrix = sparse.csr_matrix(dense)
    first = Source(matrix, fail_after=n_blocks)
    with pytest.raises(Killed):
        fill(tmp_path, first)
    again = Source(matrix)
    spool = fill(tmp_path, again)
    assert again.asked_from == [first.given]
    assert first.given + again.given == N_CELLS
    np.testing.assert_array_equal(read_back(spool)[1].toarray(), summed(dense))
    np.testing.assert_array_equal(spool.measures()["total_counts"], dense.sum(axis=1))


def test_a_complete_spool_asks_the_source_for_nothing(dense, tmp_path):
    fill(tmp_path, Source(sparse.csr_matrix(dense)))
    again = Source(sparse.csr_matrix(dense))
    spool = fill(tmp_path, again)
    assert again.given == 0 and again.asked_from == []
    np.testing.assert_array_equal(read_back(spool)[1].toarray(), summed(dense))


def test_a_block_that_was_half_written_is_read_again(dense, tmp_path):
    with pytest.raises(Killed):
        fill(tmp_path, Source(sparse.csr_matrix(dense), fail_after=2))
    (tmp_path / "cells" / "block.part").write_bytes(b"half a block")
    again = Source(sparse.csr_matrix(dense))
    np.testing.assert_array_equal(read_back(fill(tmp_path, again))[1].toarray(), summed(dense))


def test_blocks_after_a_gap_are_not_used(dense, tmp_path):
    fill(tmp_path, Source(sparse.csr_matrix(dense)))
    files = sorted((tmp_path / "cells").glob("*.npy"))
    assert len(files) > 3
    files[2].unlink()
    again = Source(sparse.csr_matrix(dense))
    spool = fill(tmp_path, again)
    assert again.asked_from == [int(files[2].stem.split("-")[0])]
    np.testing.assert_array_equal(read_back(spool)[1].toarray(), summed(dense))


def test_the_scratch_of_the_source_is_removed_at_the_end(dense, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "0.entries").write_bytes(b"x")
    fill(tmp_path, Source(sparse.csr_matrix(dense)))
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_a_source_that_ends_early(dense, tmp_path):
    with pytest.raises(ScswError, match=r"made\.h5ad ends after 20 of 30 cells.*download the file"):
        fill(tmp_path, Source(sparse.csr_matrix(dense[:20])))


@pytest.mark.parametrize("limit", [12, 10**6])
def test_values_that_are_no_counts_name_their_source(dense, tmp_path, limit):
    dense[25, 3] = 0.5
    message = r"layers\['UMIs'\] of made\.h5ad holds .*not whole numbers, such as 0\.5.*elsewhere"
    with pytest.raises(ScswError, match=message):
        fill(tmp_path, Source(sparse.csr_matrix(dense)), limit=limit)


def test_a_full_disk_is_told_before_reading(dense, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1e9, 1e9, 10))
    source = Source(sparse.csr_matrix(dense))
    with pytest.raises(ScswError, match=r"0\.0 GB free.*temporary files.*--work"):
        fill(tmp_path, source)
    assert source.given == 0
