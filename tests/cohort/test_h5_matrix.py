"""Counts in HDF5 files, in every form that anndata has had."""

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from scsw.cohort.counts import whole_counts
from scsw.cohort.h5_matrix import CountsByCell, CountsByGene, DenseCounts, h5ad_matrix
from scsw.errors import ScswError
from tests.cohort.layouts import read_counts

N_CELLS, N_GENES = 40, 9
LIMITS = [1, 17, 10**6]


@pytest.fixture
def counts():
    matrix = np.random.default_rng(0).poisson(0.6, (N_CELLS, N_GENES)).astype(np.float32)
    matrix[[0, 11, 12, N_CELLS - 1]] = 0
    matrix[:, 4] = 0
    return sparse.csr_matrix(matrix)


def written(folder, matrix, key="X"):
    path = folder / "m.h5ad"
    a = ad.AnnData(matrix)
    if key.startswith("layers/"):
        a = ad.AnnData(
            sparse.csr_matrix(matrix.shape), layers={key.removeprefix("layers/"): matrix}
        )
    elif key == "raw/X":
        a.raw = a.copy()
    a.write_h5ad(path, compression="gzip")
    return path


def found_in(path, scratch, limit=10**6, key="X"):
    return read_counts(h5ad_matrix(path, key, f"{key} of {path}", "advice"), scratch, limit)


def by_hand(folder, data, indices, indptr, form="csr_matrix", shape=(N_CELLS, N_GENES), **stored):
    """Write a sparse group as it is given, right or wrong."""
    path = folder / "m.h5ad"
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"] = form
        if shape:
            group.attrs["shape"] = np.array(shape)
        group.create_dataset("data", data=data, **stored)
        group.create_dataset("indices", data=indices, **stored)
        group["indptr"] = indptr
    return path


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_matrix.toarray])
@pytest.mark.parametrize("key", ["X", "layers/UMIs", "raw/X"])
def test_csr_csc_and_dense_are_alike(counts, tmp_path, key, form, limit):
    path = written(tmp_path, form(counts), key)
    matrix = h5ad_matrix(path, key, "where", "advice")
    assert (matrix.shape, matrix.where) == (counts.shape, "where")
    assert "advice" in matrix.advice
    found = found_in(path, tmp_path / "s", limit, key)
    assert (found != counts).nnz == 0


def test_each_form_has_its_class(counts, tmp_path):
    for form, kind in (
        (sparse.csr_matrix, CountsByCell),
        (sparse.csc_matrix, CountsByGene),
        (sparse.csr_matrix.toarray, DenseCounts),
    ):
        matrix = h5ad_matrix(written(tmp_path, form(counts)), "X", "", "")
        assert type(matrix) is kind
        if kind is not DenseCounts:  # which can only guess
            assert matrix.n_values == counts.nnz


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_matrix.toarray])
@pytest.mark.parametrize("limit", LIMITS)
def test_reading_begins_again_at_any_block(counts, tmp_path, form, limit):
    matrix = h5ad_matrix(written(tmp_path, form(counts)), "X", "", "")
    sizes = [block.shape[0] for block in matrix.blocks(limit, tmp_path / "s")]
    assert sum(sizes) == N_CELLS
    for start in np.cumsum([0, *sizes[:-1]])[::7]:
        blocks = matrix.blocks(limit, tmp_path / "s", int(start))
        rest = np.concatenate([sparse.csr_matrix(block).toarray() for block in blocks])
        np.testing.assert_array_equal(rest, counts[start:].toarray())


def test_a_block_holds_no_more_than_the_limit(counts, tmp_path):
    matrix = h5ad_matrix(written(tmp_path, counts), "X", "", "")
    for block in matrix.blocks(17, tmp_path):
        assert block.nnz <= 17 or block.shape[0] == 1


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i4", "<i8", "<u2", "u1", ">f4", ">i4"])
@pytest.mark.parametrize("stored", [{}, {"compression": "gzip", "shuffle": True, "chunks": (16,)},
                                    {"compression": "lzf", "chunks": (16,)}])  # fmt: skip
@pytest.mark.parametrize("index", ["<i4", "<i8", ">i4", "<u4"])
def test_types_and_filters(counts, tmp_path, dtype, stored, index):
    parts = counts.data.astype(dtype), counts.indices.astype(index), counts.indptr.astype("<i8")
    found = found_in(by_hand(tmp_path, *parts, **stored), tmp_path, 20)
    assert (whole_counts(found, "", "") != counts).nnz == 0


def test_unsorted_indices_duplicates_and_explicit_zeros(tmp_path):
    """As they occur in published files; the counts that come of them are canonical."""
    data = np.array([3, 1, 2, 0, 5, 4], np.float32)
    indices = np.array([2, 0, 2, 1, 1, 0], np.int32)  # cell 0 names gene 2 twice
    path = by_hand(tmp_path, data, indices, np.array([0, 3, 6]), shape=(2, 3))
    found = whole_counts(found_in(path, tmp_path), "", "")
    assert found.has_canonical_format and found.nnz == 4
    assert found.toarray().tolist() == [[1, 0, 5], [4, 5, 0]]


def test_unsorted_rows_of_a_csc(tmp_path):
    data, indices = np.array([3.0, 1, 2]), np.array([1, 0, 1])
    path = by_hand(tmp_path, data, indices, np.array([0, 2, 2, 3]), "csc_matrix", (2, 3))
    assert found_in(path, tmp_path / "s", 1).toarray().tolist() == [[1, 0, 0], [3, 0, 2]]


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_files_of_the_time_of_h5sparse(counts, tmp_path, form):
    """Before anndata 0.7 the attributes had other names, and texts were bytes."""
    path = written(tmp_path, sparse.csr_matrix(counts) if form == "csr" else counts.tocsc())
    with h5py.File(path, "a") as file:
        group = file["X"]
        for name in list(group.attrs):
            del group.attrs[name]
        group.attrs["h5sparse_format"] = np.bytes_(form)
        group.attrs["h5sparse_shape"] = np.array(counts.shape)
    assert (found_in(path, tmp_path / "s", 20) != counts).nnz == 0


def test_genes_first_as_in_loom_files(counts, tmp_path):
    path = tmp_path / "m.loom"
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=counts.toarray().T, chunks=(4, 8), compression="gzip")
    matrix = DenseCounts(path, "matrix", "", "", genes_first=True)
    assert matrix.shape == counts.shape
    for limit in LIMITS:
        assert (read_counts(matrix, tmp_path, limit) != counts).nnz == 0


def test_a_group_that_does_not_tell_its_number_of_genes(counts, tmp_path):
    path = by_hand(tmp_path, counts.data, counts.indices, counts.indptr, shape=None)
    matrix = CountsByCell(path, "X", "", "", n_genes=N_GENES)
    assert (read_counts(matrix, tmp_path) != counts).nnz == 0
    with pytest.raises(ScswError, match="does not tell its shape"):
        CountsByCell(path, "X", "", "")


def test_no_such_matrix(counts, tmp_path):
    path = written(tmp_path, counts)
    with pytest.raises(ScswError, match="has no matrix layers/UMIs"):
        h5ad_matrix(path, "layers/UMIs", "", "")
    for key in ("obs", "uns", "X/data"):
        with pytest.raises(ScswError, match=f"{key} of .* is not a matrix"):
            h5ad_matrix(path, key, "", "")


def break_indptr(change):
    def damage(group):
        indptr = group["indptr"][:]
        del group["indptr"]
        group["indptr"] = change(indptr)

    return damage


def cut(name):
    def damage(group):
        values = group[name][:-5]
        del group[name]
        group[name] = values

    return damage


def replaced(values, place, value):
    values = values.copy()
    values[place] = value
    return values


def set_index(value):
    def damage(group):
        group["indices"][3] = value

    return damage


def without(name):
    def damage(group):
        del group[name]

    return damage


def as_text(group):
    n = group["data"].shape[0]
    del group["data"]
    group["data"] = np.full(n, b"3")


def wrong_shape(group):
    group.attrs["shape"] = np.array([N_CELLS + 1, N_GENES + 1])


def damaged_chunk(name):
    def damage(group):
        dataset = group[name]
        size = len(dataset.id.read_direct_chunk((0,))[1])
        dataset.id.write_direct_chunk((0,), b"\x07" * size)

    return damage


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_indptr(lambda p: p + 1), "damaged: its row bounds end at"),
        (break_indptr(lambda p: replaced(p, -1, p[-1] + 9)), "its row bounds end at"),
        (break_indptr(lambda p: replaced(p, 3, p[-1])), "damaged: its row bounds"),
        (break_indptr(lambda p: np.full(p.shape, b"x")), "cannot be read"),
        (break_indptr(lambda p: p[:0]), "cannot be read|damaged"),
        (cut("data"), "its row bounds end at"),
        (cut("indices"), "indices for .* values"),
        (set_index(10**6), "an index 1000000 where there are"),
        (set_index(-4), "an index -4 where there are"),
        (without("data"), "cannot be read"),
        (without("indices"), "cannot be read"),
        (without("indptr"), "cannot be read"),
        (as_text, "not numbers"),
        (damaged_chunk("data"), "cannot be read.*damaged"),
        (damaged_chunk("indices"), "cannot be read.*damaged"),
    ],
)
def test_damage_is_one_message_that_names_the_file(counts, tmp_path, form, damage, message):
    path = written(tmp_path, counts if form == "csr" else counts.tocsc())
    with h5py.File(path, "a") as file:
        damage(file["X"])
    with pytest.raises(ScswError, match=message) as caught:
        found_in(path, tmp_path / "s", 30)
    assert str(path) in str(caught.value)


def test_a_shape_that_the_rows_contradict(counts, tmp_path):
    path = written(tmp_path, counts)
    with h5py.File(path, "a") as file:
        wrong_shape(file["X"])
    with pytest.raises(ScswError, match=rf"its shape is \(41, 10\) but it holds {N_CELLS} rows"):
        found_in(path, tmp_path)


def test_a_dense_matrix_of_texts(tmp_path):
    with h5py.File(tmp_path / "m.h5ad", "w") as file:
        file["X"] = np.full((3, 2), b"1")
    with pytest.raises(ScswError, match="not numbers"):
        found_in(tmp_path / "m.h5ad", tmp_path)


def test_a_damaged_chunk_of_a_dense_matrix(counts, tmp_path):
    path = tmp_path / "m.h5ad"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=counts.toarray(), chunks=(8, N_GENES), compression="gzip")
        file["X"].id.write_direct_chunk((8, 0), b"\x07" * 30)
    with pytest.raises(ScswError, match=r"X of .* cannot be read"):
        found_in(path, tmp_path, 30)
