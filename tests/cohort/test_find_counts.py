"""Raw counts are found by what the matrices hold, and named when another one was read."""

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from scsw.cohort.counts import whole_counts
from scsw.cohort.find_counts import better_counts, choose_counts, find_counts
from scsw.cohort.h5_matrix import h5ad_matrix, readable
from scsw.errors import ScswError
from tests.cohort import layouts

COUNTS = layouts.counts(layouts.cells(4, 10, ("a", "b"))[1])


def written(folder, X, raw=None, **of_layers):
    adata = ad.AnnData(X=X, layers=of_layers)
    if raw is not None:
        adata.raw = ad.AnnData(X=raw)
    adata.write_h5ad(folder / "a.h5ad")
    return folder / "a.h5ad"


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, lambda m: m.toarray()])
def test_whole_numbers_are_found_in_any_form(tmp_path, form):
    path = written(tmp_path, form(COUNTS.log1p()), counts=form(COUNTS), scaled=form(COUNTS * 0.3))
    assert find_counts(path) == ["layers/counts"]
    assert choose_counts(path) == "layers/counts"


def test_the_likeliest_comes_first(tmp_path):
    layers = {"spliced": COUNTS, "UMIs": COUNTS, "raw_counts": COUNTS}
    path = written(tmp_path, COUNTS, COUNTS, **layers)
    expected = ["raw/X", "layers/raw_counts", "layers/UMIs", "X", "layers/spliced"]
    assert find_counts(path) == expected
    assert choose_counts(path, "layers/spliced") == "layers/spliced"  # the user knows better


def test_a_part_of_the_counts_is_never_taken_for_all(tmp_path):
    """As velocyto leaves them: `ambiguous` comes first by name and holds a third or so."""
    parts = dict.fromkeys(("ambiguous", "spliced", "unspliced"), COUNTS)
    path = written(tmp_path, COUNTS.log1p(), **parts)
    with pytest.raises(ScswError, match=r"whole numbers in layers/ambiguous, .*their sum"):
        choose_counts(path)
    assert choose_counts(path, "layers/spliced") == "layers/spliced"  # the user knows better
    assert choose_counts(written(tmp_path, COUNTS.log1p(), **parts, matrix=COUNTS)) == (
        "layers/matrix"
    )
    corrected = written(tmp_path, COUNTS.log1p(), **parts, cellbender=COUNTS)
    assert choose_counts(corrected) == "layers/cellbender"
    two = written(tmp_path, COUNTS.log1p(), cellbender=COUNTS, decontx=COUNTS)
    with pytest.raises(ScswError, match=r"layers/cellbender, layers/decontx only"):
        choose_counts(two)


def test_counts_off_by_rounding_count(tmp_path):
    assert find_counts(written(tmp_path, COUNTS + COUNTS.sign() * 1e-6)) == ["X"]


def test_what_is_in_the_way_is_told_of_every_matrix(tmp_path):
    empty = sparse.csr_matrix(COUNTS.shape, dtype=np.float32)
    centred = COUNTS.toarray() - 1
    missing = COUNTS.toarray()
    missing[0, 0] = np.nan
    path = written(tmp_path, COUNTS.log1p(), empty=empty, centred=centred, missing=missing)
    with h5py.File(path, "a") as file:
        file["layers/table"] = np.array([b"a", b"b"])
    with pytest.raises(ScswError) as caught:
        choose_counts(path)
    told = str(caught.value)
    assert "X holds values that are not whole numbers, such as " in told
    assert "layers/empty holds nothing but zeros" in told
    assert "layers/centred holds negative values, such as -1" in told
    assert "layers/missing holds missing or infinite values" in told
    assert "layers/table holds what cannot be read" in told


def test_a_file_without_a_matrix(tmp_path):
    ad.AnnData(shape=COUNTS.shape).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ScswError, match="holds whole numbers; it has none"):
        choose_counts(tmp_path / "a.h5ad")


def test_loom(tmp_path):
    with h5py.File(tmp_path / "a.loom", "w") as file:
        file["matrix"] = COUNTS.T.toarray() * 0.5
        file["layers/estimated_counts"] = COUNTS.T.toarray()
    assert find_counts(tmp_path / "a.loom") == ["layers/estimated_counts"]


def test_the_message_names_the_layer_to_use_instead(tmp_path):
    path = written(tmp_path, COUNTS.log1p(), UMIs=COUNTS, ambiguous=COUNTS)
    sentence = "layers/UMIs of this file holds whole numbers: name it with --counts layers/UMIs"
    assert better_counts(path, "X") == sentence
    assert better_counts(path, "layers/UMIs") == ""  # the other is a part of the counts
    for key in ("X", "layers/log"):
        with h5py.File(path, "a") as file:
            if "layers/log" not in file:
                file.copy("X", "layers/log")
        matrix = h5ad_matrix(path, key, f"{key} of the file", "keep them in X")
        block = next(matrix.blocks(10**6, tmp_path))
        with pytest.raises(ScswError) as caught:
            whole_counts(block, matrix.where, matrix.advice)
        assert f"To mend it: {sentence}; keep them in X." in str(caught.value)


def test_where_no_matrix_is_better_the_source_s_own_advice_stands(tmp_path):
    path = written(tmp_path, COUNTS)
    assert better_counts(path, "X") == ""
    assert h5ad_matrix(path, "X", "X", "keep them in X").advice == "keep them in X"


def test_a_compression_that_is_not_installed_is_told(tmp_path):
    """Zstandard, which anndata writes by way of hdf5plugin: the file is not damaged."""
    path = written(tmp_path, sparse.csr_matrix(np.eye(4)))
    with h5py.File(path, "a") as file:
        values = file["X/data"][:]
        del file["X/data"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((len(values),))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((len(values),))
        data = h5py.h5d.create(file["X"].id, b"data", h5py.h5t.NATIVE_DOUBLE, space, properties)
        data.write_direct_chunk((0,), b"compressed")
    message = "compressed with a plugin of HDF5.*gzip"
    with pytest.raises(ScswError, match=message):
        choose_counts(path)
    with pytest.raises(ScswError, match=message), readable(path, "X"), h5py.File(path) as file:
        file["X/data"][:]
