import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.counts import check_barcodes, check_shape, sum_columns, whole_counts
from scsw.errors import ScswError

DENSE = np.array([[0, 3, 1], [2, 0, 0]], float)


def unsorted_csr():
    """Cell 0 lists gene 2 before gene 1, as in some ROSMAP files."""
    return sparse.csr_matrix((np.array([1.0, 3.0, 2.0]), [2, 1, 0], [0, 2, 3]), shape=(2, 3))


@pytest.mark.parametrize(
    "matrix",
    [
        DENSE,
        DENSE.astype(np.uint8),
        sparse.csr_matrix(DENSE),
        sparse.csc_matrix(DENSE),
        sparse.coo_matrix(DENSE),
        sparse.csr_array(DENSE.astype(np.float32)),
        unsorted_csr(),
        DENSE + 9e-4 * (DENSE > 0),
        DENSE - 1e-11 * (DENSE > 0),
    ],
)
def test_any_form_becomes_sorted_int32_csr(matrix):
    counts = whole_counts(matrix, "X", "advice")
    assert isinstance(counts, sparse.csr_matrix) and counts.dtype == np.int32
    assert counts.has_canonical_format
    np.testing.assert_array_equal(counts.toarray(), DENSE)


def test_stored_zeros_and_entries_given_twice():
    matrix = sparse.csr_matrix((np.array([1.0, 2.0, 0.0]), [1, 1, 2], [0, 3]), shape=(1, 3))
    counts = whole_counts(matrix, "X", "advice")
    assert counts.nnz == 1
    np.testing.assert_array_equal(counts.toarray(), [[0, 3, 0]])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "not whole numbers, such as 1.5"),
        (2.0011, "not whole numbers"),
        (-1, "negative values, such as -1"),
        (np.nan, "missing or infinite"),
        (-np.inf, "missing or infinite"),
        (2.0**31, "too large"),
    ],
)
def test_refused_values(value, message):
    matrix = DENSE.copy()
    matrix[0, 1] = value
    with pytest.raises(ScswError, match=message) as caught:
        whole_counts(matrix, "layers['UMIs'] of f.h5ad", "look in raw.X")
    assert "layers['UMIs'] of f.h5ad" in str(caught.value)
    assert "look in raw.X" in str(caught.value)


def test_texts_are_no_counts():
    with pytest.raises(ScswError, match="not numbers"):
        whole_counts(sparse.csr_matrix(DENSE.astype(complex)), "X", "advice")


def test_orientation():
    check_shape((5, 3), 5, 3, "X")
    with pytest.raises(ScswError, match="the wrong way round"):
        check_shape((3, 5), 5, 3, "X")
    with pytest.raises(ScswError, match="belong to different files"):
        check_shape((4, 3), 5, 3, "X")


def test_barcodes():
    check_barcodes(pd.Index(["a", "b"]))
    with pytest.raises(ScswError, match=r"1 barcodes occur more than once, such as a"):
        check_barcodes(pd.Index(["a", "b", "a"]))
    with pytest.raises(ScswError, match="1 cells have no barcode"):
        check_barcodes(pd.Index(["a", ""]))


def test_sum_columns_keeps_empty_groups():
    summed = sum_columns(whole_counts(DENSE, "X", ""), np.array([3, 0, 3]), 4)
    np.testing.assert_array_equal(summed.toarray(), [[3, 0, 0, 1], [0, 0, 0, 2]])
    assert summed.dtype == np.int32 and summed.has_sorted_indices
