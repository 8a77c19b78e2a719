"""The forms in which SeuratDisk stores R's columns."""

import h5py
import numpy as np
import pytest

from scsw.cohort.h5seurat import meta_data_columns, read_meta_data
from scsw.errors import ScswError
from tests.cohort.readers.layout_rosmap import R_NA

TEXT = h5py.string_dtype()


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "s.h5Seurat", "w") as file:
        file.create_dataset("cell.names", data=["a", "b", "c", "d"], dtype=TEXT)
    return tmp_path / "s.h5Seurat"


def texts(column):
    return column.astype(object).fillna("-").tolist()


def test_columns_of_a_group(path):
    with h5py.File(path, "a") as file:
        table = file.create_group("meta.data")
        table.create_dataset("text", data=["x", "µ", "NA", "x"], dtype=TEXT)
        table["float"] = [0.5, np.nan, 2.0, 3.0]
        table["integer"] = np.array([3, R_NA, 5, 0], np.int32)
        table["counted"] = np.array([3, 4, 5, 0], np.int32)
        table["flag"] = np.array([1, 0, 2, 1], np.int32)
        table["other flag"] = np.array([0, 0, 1, 2], np.int32)
        table["other flag"].attrs["s3class"] = "logical"
        table.attrs["logicals"] = np.array(["flag"], TEXT)
        factor = table.create_group("factor")
        factor["values"] = np.array([2, 1, R_NA, 2], np.int32)
        factor.create_dataset("levels", data=["low", "high", "unused"], dtype=TEXT)
        table.create_dataset("_index", data=["a", "b", "c", "d"], dtype=TEXT)
        assert "_index" not in meta_data_columns(file)
    names = ["factor", "flag", "other flag", "text", "float", "integer", "counted", "absent"]
    table = read_meta_data(path, names)
    assert table.index.tolist() == ["a", "b", "c", "d"]
    assert table.columns.tolist() == names[:-1]
    assert texts(table["factor"]) == ["high", "low", "-", "high"]
    assert texts(table["flag"]) == ["True", "False", "-", "True"]
    assert texts(table["other flag"]) == ["False", "False", "True", "-"]
    assert table["text"].tolist() == ["x", "µ", "NA", "x"]
    assert table["integer"].isna().tolist() == [False, True, False, False]
    assert table["counted"].dtype == np.int32
    assert table["float"].tolist()[2:] == [2.0, 3.0]


def test_a_table_without_factors_may_be_one_dataset(path):
    rows = [("x", 1, 0), ("y", R_NA, 2), ("x", 3, 1), ("x", 4, 1)]
    kind = np.dtype([("text", TEXT), ("integer", np.int32), ("flag", np.int32)])
    with h5py.File(path, "a") as file:
        file["meta.data"] = np.array(rows, kind)
        file["meta.data"].attrs["logicals"] = np.array(["flag"], TEXT)
        assert meta_data_columns(file) == ["text", "integer", "flag"]
    table = read_meta_data(path, ["text", "integer", "flag"])
    assert table["text"].tolist() == ["x", "y", "x", "x"]
    assert table["integer"].fillna(-1).tolist() == [1, -1, 3, 4]
    assert texts(table["flag"]) == ["False", "-", "True", "True"]


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [0, 1, 1, 1], [-1, 1, 1, 1]])
def test_a_factor_whose_values_are_no_levels(path, values):
    with h5py.File(path, "a") as file:
        factor = file.create_group("meta.data/state")
        factor["values"] = np.array(values, np.int32)
        factor.create_dataset("levels", data=["low", "mid", "high"], dtype=TEXT)
    with pytest.raises(ScswError, match=r"meta.data/state of .* cannot be read: a factor of 3"):
        read_meta_data(path, ["state"])
