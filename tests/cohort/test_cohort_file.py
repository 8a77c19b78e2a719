"""``cohort.h5ad`` as other programs read it."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import sparse_dataset
from scipy import sparse

from scsw.cohort import hdf5_chunks
from scsw.cohort.cohort_file import cohort_file

N_CELLS, N_GENES = 25, 6


@pytest.fixture
def counts(monkeypatch):
    monkeypatch.setattr(hdf5_chunks, "CHUNK", 16)
    matrix = np.random.default_rng(0).poisson(1, (N_CELLS, N_GENES))
    matrix[8] = 0
    return sparse.csr_matrix(matrix.astype(np.int32))


@pytest.fixture
def obs():
    names = [f"c{n:02d}" for n in range(N_CELLS)]
    return pd.DataFrame(
        {
            "cell_id": names,
            "cell_type": pd.Categorical(["A", "B", "B", "A", "C"] * 5),
            "pmi": np.where(np.arange(N_CELLS) % 3, 4.5, np.nan),
            "braak": np.arange(N_CELLS) % 7,
            "is_reference": np.arange(N_CELLS) % 2 == 0,
            "source:Braak": pd.Categorical(["Braak V"] * N_CELLS),
            "source:barcode": pd.Categorical([f"ACGT{n}" for n in range(N_CELLS)]),
        },
        index=names,
    )


FACTS = {
    "cohort": "made",
    "simulated": True,
    "n_donors": 3,
    "warnings": np.array(["a sentence."], dtype=str),
}


def write(path, counts, obs, cuts=(10,), coordinates=None):
    names = [f"G{n}" for n in range(N_GENES)]
    var = pd.DataFrame({"symbol": names, "token_id": np.arange(N_GENES)}, index=names)
    with cohort_file(path, N_GENES) as file:
        for first, stop in zip([0, *cuts], [*cuts, N_CELLS], strict=True):
            file.append(counts[first:stop])
        file.finish(obs, var, FACTS, coordinates or {})
    return path


def test_anndata_reads_what_was_given(tmp_path, counts, obs):
    read = ad.read_h5ad(write(tmp_path / "c.h5ad", counts, obs))
    assert isinstance(read.X, sparse.csr_matrix) and read.X.dtype == np.int32
    assert read.X.has_canonical_format and (counts != read.X).nnz == 0
    plain = obs.assign(**{"source:barcode": obs["source:barcode"].astype(str)})
    pd.testing.assert_frame_equal(read.obs.astype({"source:barcode": str}), plain, check_dtype=True)
    assert read.obs["cell_type"].dtype == "category"
    assert read.var["token_id"].tolist() == list(range(N_GENES))
    facts = read.uns["scsw"]
    assert facts["cohort"] == "made" and facts["simulated"] and facts["n_donors"] == 3
    assert facts["warnings"].tolist() == ["a sentence."]


def test_h5py_finds_the_arrays_of_a_csr_matrix(tmp_path, counts, obs):
    with h5py.File(write(tmp_path / "c.h5ad", counts, obs)) as file:
        x = file["X"]
        assert x.attrs["encoding-type"] == "csr_matrix"
        assert x.attrs["shape"].tolist() == [N_CELLS, N_GENES]
        # More than 2³¹ − 1 values must be countable.
        assert x["indptr"].dtype == np.int64
        assert x["data"].dtype == x["indices"].dtype == np.int32
        np.testing.assert_array_equal(x["indptr"][:], counts.indptr)
        np.testing.assert_array_equal(x["indices"][:], counts.indices)
        np.testing.assert_array_equal(x["data"][:], counts.data)
        assert file.attrs["encoding-type"] == "anndata"
        assert set(file) == {"X", "obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers"}


def test_parts_of_it_are_read_without_the_rest(tmp_path, counts, obs):
    path = write(tmp_path / "c.h5ad", counts, obs)
    with h5py.File(path) as file:
        stored = sparse_dataset(file["X"])
        assert stored.shape == counts.shape and stored.format == "csr"
        assert (stored[7:19] != counts[7:19]).nnz == 0
    backed = ad.read_h5ad(path, backed="r")
    assert (counts[[3, 8, 24]] != backed[[3, 8, 24]].X).nnz == 0
    backed.file.close()


@pytest.mark.parametrize("cuts", [(), (1,), (8, 9), tuple(range(1, N_CELLS))])
def test_the_bytes_do_not_depend_on_the_blocks(tmp_path, counts, obs, cuts):
    one = write(tmp_path / "one.h5ad", counts, obs)
    other = write(tmp_path / "other.h5ad", counts, obs, cuts)
    assert other.read_bytes() == one.read_bytes()


def test_coordinates_go_to_obsm(tmp_path, counts, obs):
    places = np.random.default_rng(0).random((N_CELLS, 2))
    read = ad.read_h5ad(write(tmp_path / "c.h5ad", counts, obs, coordinates={"spatial": places}))
    np.testing.assert_array_equal(read.obsm["spatial"], places)


def test_a_matrix_without_values(tmp_path, obs, counts):
    empty = sparse.csr_matrix((N_CELLS, N_GENES), dtype=np.int32)
    read = ad.read_h5ad(write(tmp_path / "c.h5ad", empty, obs))
    assert read.shape == (N_CELLS, N_GENES) and read.X.nnz == 0


def test_originals_with_a_text_per_cell_are_not_coded(tmp_path, counts, obs):
    with h5py.File(write(tmp_path / "c.h5ad", counts, obs)) as file:
        assert file["obs/source:barcode"].attrs["encoding-type"] == "string-array"
        assert file["obs/source:Braak"].attrs["encoding-type"] == "categorical"
