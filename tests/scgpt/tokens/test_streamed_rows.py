"""Counts that stay in the file."""

import pickle
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scsw.scgpt  # noqa: F401
from scsw.cohort import hdf5_chunks
from scsw.cohort.cohort_file import cohort_file
from scsw.cohort.read import read_cohort
from scsw.errors import ScswError
from scsw.scgpt.init import init
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.count_rows import MemoryRows
from scsw.scgpt.tokens.streamed_cohort import streamed_cells
from scsw.scgpt.tokens.streamed_rows import CACHED, StreamedRows
from tests.tiny import model_settings, write_cohort

SPLITS = ["train", "validation", "test"]


@pytest.fixture(params=["as anndata writes", "as preprocess writes"])
def cohort(request, tmp_path, monkeypatch):
    """A cohort in either layout of HDF5, and small blocks, so that it has many."""
    path = write_cohort(tmp_path)
    if request.param == "as preprocess writes":
        whole = read_cohort(path)
        monkeypatch.setattr(hdf5_chunks, "CHUNK", 64)
        path = tmp_path / "written.h5ad"
        with cohort_file(path, whole.n_vars) as written:
            for start in range(0, len(whole), 50):
                written.append(whole.X[start : start + 50])
            written.finish(whole.obs, whole.var, whole.uns["scsw"], {})
        with h5py.File(path) as file:
            assert file["X/data"].compression == "gzip" and file["X/data"].chunks == (64,)
    monkeypatch.setattr("scsw.scgpt.tokens.streamed_rows.BLOCK", 8)
    return path


def assert_same_rows(rows, counts, cells):
    bounds, columns, values = rows.rows(cells)
    expected = counts[cells]
    assert bounds.dtype == np.int64 and np.array_equal(bounds, expected.indptr)
    assert np.array_equal(columns, expected.indices)
    assert np.array_equal(values, expected.data)


def in_file_order(path, splits):
    """Return cells of a cohort as they stand in the file."""
    whole = read_cohort(path, splits)
    with h5py.File(path) as file:
        names = [name for name in file["obs/cell_id"].asstr()[:] if name in set(whole.obs_names)]
    return whole[names].copy()


@pytest.mark.parametrize("splits", [SPLITS, ["validation"], ["train", "test"]])
def test_rows_are_those_of_the_file(cohort, splits):
    expected = in_file_order(cohort, splits)
    cells, rows = streamed_cells(cohort, splits)
    assert cells.X is None and len(rows) == len(expected)
    assert list(cells.obs["cell_id"]) == list(expected.obs["cell_id"])
    for name in ("cell_type", "donor_id", "split", "batch"):
        assert list(cells.obs[name].astype(str)) == list(expected.obs[name].astype(str))
    random = np.random.default_rng(0)
    for chosen in (
        np.arange(len(rows)),
        random.permutation(len(rows)),
        random.integers(0, len(rows), 20),
    ):
        assert_same_rows(rows, expected.X, chosen)
        assert_same_rows(MemoryRows(expected.X), expected.X, chosen)


def test_rows_of_which_many_are_not_wanted(cohort):
    expected = in_file_order(cohort, None)
    for file_rows in (np.array([3]), np.array([0, 40, 41, 110]), np.arange(2, 110, 7)):
        rows = StreamedRows(cohort, file_rows)
        assert_same_rows(rows, expected.X[file_rows], np.arange(file_rows.size)[::-1])


def test_a_tokenizer_gives_the_same_tokens_from_disk_as_from_memory(cohort, tmp_path):
    init(cohort, tmp_path / "init", model=model_settings(), seed=0)
    cells, rows = streamed_cells(cohort, SPLITS)
    streamed = cohort_tokenizer(cells, tmp_path / "init", seed=5, rows=rows)
    memory = cohort_tokenizer(read_cohort(cohort, SPLITS), tmp_path / "init", seed=5)
    place = pd.Index(memory.cohort.obs["cell_id"]).get_indexer(streamed.cohort.obs["cell_id"])
    cells = np.random.default_rng(0).permutation(len(streamed))[:40]
    ours = streamed.packed(cells, mask_ratio=0.4, epoch=3)
    theirs = memory.packed(place[cells], mask_ratio=0.4, epoch=3)
    for name in ("genes", "values", "target", "hidden", "offsets", "labels", "batch_labels"):
        assert getattr(ours, name).equal(getattr(theirs, name)), name


def test_few_blocks_are_held(cohort, monkeypatch):
    monkeypatch.setattr("scsw.scgpt.tokens.streamed_rows.CACHED", 3)
    _, rows = streamed_cells(cohort, SPLITS)
    n_blocks = -(-len(rows) // 8)
    for _ in range(2):
        for cell in range(len(rows)):
            rows.rows(np.array([cell]))
            assert len(rows._cache) <= 3
    assert rows.blocks_read == 2 * n_blocks
    rows.rows(np.arange(len(rows) - 1, len(rows) - 17, -1))
    assert rows.blocks_read == 2 * n_blocks  # they were still there


def test_a_copy_in_another_process_reads_for_itself(cohort):
    _, rows = streamed_cells(cohort, SPLITS)
    before = rows.rows(np.arange(20))
    copy = pickle.loads(pickle.dumps(rows))
    for ours, theirs in zip(copy.rows(np.arange(20)), before, strict=True):
        assert np.array_equal(ours, theirs)


def write_wide(path, n_cells=30_000, genes=300):
    """Write a cohort of more counts than are held; each cell detects genes by its number."""
    counts = np.arange(n_cells * genes, dtype=np.int32) % 7 + 1
    columns = np.tile(np.arange(genes, dtype=np.int32), n_cells)
    bounds = np.arange(n_cells + 1) * genes
    names = pd.Index([f"c{i}" for i in range(n_cells)])
    obs = pd.DataFrame({"cell_id": names, "split": "train"}, index=names)
    var = pd.DataFrame({"token_id": np.arange(genes)}, index=[f"g{i}" for i in range(genes)])
    with cohort_file(path, genes) as written:
        written.append(sparse.csr_matrix((counts, columns, bounds), (n_cells, genes)))
        written.finish(obs, var, {}, {})
    return counts.nbytes + columns.nbytes


def test_memory_is_bounded(tmp_path):
    size = write_wide(tmp_path / "wide.h5ad")
    tracemalloc.start()
    try:
        rows = StreamedRows(tmp_path / "wide.h5ad", np.arange(30_000))
        for start in range(0, 30_000, 50):
            counts = rows.rows(np.arange(start, start + 50))[2]
            assert np.array_equal(counts, (np.arange(300 * start, 300 * start + 15_000) % 7) + 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows.blocks_read == -(-30_000 // 256) > CACHED
    held = CACHED * 256 * 300 * 4
    assert held < peak < 1.3 * held < size / 2


@pytest.mark.parametrize("what", ["index", "count", "bounds", "cut"])
def test_damage_is_told(tmp_path, what):
    path = write_cohort(tmp_path)
    with h5py.File(path, "a") as file:
        if what == "index":
            file["X/indices"][5] = 60
        elif what == "count":
            file["X/data"][5] = 0
        elif what == "bounds":
            file["X/indptr"][-1] += 1
        else:
            del file["X/data"]
    with pytest.raises(ScswError, match=r"X of|counts of"):
        StreamedRows(path, np.arange(20)).rows(np.arange(20))


def test_splits_without_a_cell_are_told(tmp_path):
    path = write_cohort(tmp_path, split={"train": 2})
    with pytest.raises(ScswError, match="no cell in test"):
        streamed_cells(path, ["test"])
