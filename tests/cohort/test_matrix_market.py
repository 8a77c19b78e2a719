"""Matrix Market files: plain, gzipped, with comments, damaged."""

import gzip

import numpy as np
import pytest
from scipy import io, sparse

from scsw.cohort.matrix_market import MatrixMarket
from scsw.errors import ScswError
from tests.cohort.layouts import read_counts

HEAD = "%%MatrixMarket matrix coordinate integer general\n"
SMALL = HEAD + "% made up\n%\n3 2 3\n1 1 5\n3 1 1\n2 2 4\n"  # 3 genes × 2 cells
EXPECTED = [[5, 0, 1], [0, 4, 0]]


def written(folder, text, name="m.mtx"):
    path = folder / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["m.mtx", "m.mtx.gz"])
def test_genes_by_cells_become_cells_by_genes(tmp_path, name):
    matrix = MatrixMarket(written(tmp_path, SMALL, name), "advice")
    assert (matrix.shape, matrix.n_values, matrix.advice) == ((2, 3), 3, "advice")
    assert read_counts(matrix, tmp_path / "s").toarray().tolist() == EXPECTED


@pytest.mark.parametrize("limit", [4, 50, 10**6])
@pytest.mark.parametrize("field", ["integer", "real"])
def test_as_scipy_writes_it(tmp_path, limit, field):
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(0.5, (40, 12)))
    io.mmwrite(tmp_path / "m.mtx", sparse.coo_matrix(counts.T), field=field, comment="of a test")
    found = read_counts(MatrixMarket(tmp_path / "m.mtx", ""), tmp_path / "s", limit)
    assert (found != counts).nnz == 0


def test_values_may_stand_in_any_order_and_with_any_spaces(tmp_path):
    text = HEAD + "3 2 3\n2   2\t4\n1 1 5\n3 1 1\n"
    found = read_counts(MatrixMarket(written(tmp_path, text), ""), tmp_path / "s")
    assert found.toarray().tolist() == EXPECTED


def test_a_matrix_without_values(tmp_path):
    found = read_counts(MatrixMarket(written(tmp_path, HEAD + "3 2 0\n"), ""), tmp_path / "s")
    assert found.shape == (2, 3) and found.nnz == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line is not"),
        ("1 2 3\n", "its first line is not '%%MatrixMarket matrix coordinate"),
        ("%%MatrixMarket matrix array real general\n2 1\n1\n2\n", "its first line is not"),
        (HEAD.replace("general", "symmetric") + "3 3 1\n1 1 1\n", "symmetric, not general"),
        (HEAD + "% comment\n", "ends before its sizes"),
        (HEAD + "3 2\n", "not enough values|expected 3"),
        (HEAD + "three 2 1\n1 1 1\n", "invalid literal"),
        (HEAD.encode() + b"% \xff\xfe\n3 2 0\n", "utf-8"),
    ],
)
def test_heads_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(ScswError, match=f"cannot be read as a Matrix Market.*({message})"):
        MatrixMarket(written(tmp_path, text), "")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1 1 5\n", "holds 1 of 2 values"),
        ("", "holds 0 of 2 values"),
        ("1 1 5\n2 2 4\n3 2 1\n", "holds 3 of 2 values"),
        ("1 1 5\n4 2 1\n", "a row 4 where there are 3"),
        ("1 1 5\n1 3 1\n", "a column 3 where there are 2"),
        ("0 1 5\n1 1 1\n", "a row 0 where there are 3"),
        ("1 1 5\n2 x 1\n", "x"),
        ("1 1 5\n2.5 1 1\n", "2.5|convert"),
        ("1 1 5\n1 2\n", ""),
        ("1 1 5\n1 2 3 4 5 6\n", "fields"),
    ],
)
@pytest.mark.parametrize("name", ["m.mtx", "m.mtx.gz"])
def test_values_that_cannot_be_read(tmp_path, lines, message, name):
    matrix = MatrixMarket(written(tmp_path, HEAD + "3 2 2\n" + lines, name), "")
    if not message:  # a missing value is refused as any other that is no count
        assert np.isnan(read_counts(matrix, tmp_path / "s").toarray()).any()
        return
    with pytest.raises(ScswError, match=f"cannot be read as a Matrix Market.*({message})"):
        read_counts(matrix, tmp_path / "s")


def big(folder):
    counts = sparse.coo_matrix(np.random.default_rng(0).poisson(3, (300, 80)))
    io.mmwrite(folder / "m.mtx", counts)
    return gzip.compress((folder / "m.mtx").read_bytes())


def cut(packed):
    return packed[: len(packed) // 2]


def flipped(packed):
    half = len(packed) // 2
    return packed[:half] + bytes(255 - byte for byte in packed[half : half + 64]) + packed[
        half + 64 :
    ]  # fmt: skip


def flipped_early(packed):
    return packed[:12] + bytes(255 - byte for byte in packed[12:40]) + packed[40:]


def plain_text(packed):
    return gzip.decompress(packed)


@pytest.mark.parametrize("damage", [cut, flipped, flipped_early, plain_text])
def test_a_damaged_gzip_file(tmp_path, damage):
    path = tmp_path / "m.mtx.gz"
    path.write_bytes(damage(big(tmp_path)))
    with pytest.raises(ScswError, match=r"m\.mtx\.gz cannot be read as a Matrix Market"):
        read_counts(MatrixMarket(path, ""), tmp_path / "s")
