"""Tables of h5ad files: column by column, of any release of anndata, damaged or not."""

import fcntl
import os
import re
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import read_elem

from scsw.cohort import h5ad
from scsw.cohort.h5ad import column_names, members, open_h5ad, read_columns, stack_tables
from scsw.errors import ScswError
from tests.cohort import layouts

NAMES = [f"c{n}" for n in range(6)]


@pytest.fixture
def obs():
    return pd.DataFrame(
        {
            "Subclass": pd.Categorical(["Sst", "Vip", "Sst", None, "L2/3 IT", "Vip"]),
            "text": ["a", "b", "c", "d", "e", "f"],
            "number": np.arange(6) / 2,
            "whole": np.arange(6),
            "flag": [True, False] * 3,
            "maybe": pd.array([True, None] * 3, dtype="boolean"),
            "count": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
            "with/slash": ["x"] * 6,
        },
        index=NAMES,
    )


@pytest.fixture
def path(obs, tmp_path):
    plain = obs.rename(columns={"with/slash": "with slash"})
    adata = ad.AnnData(np.zeros((6, 2)), plain, pd.DataFrame(index=["A", "B"]))
    adata.layers["UMIs"] = adata.X
    adata.write_h5ad(tmp_path / "x.h5ad")
    return tmp_path / "x.h5ad"


def legacy(path, reference=True):
    """Store texts as anndata 0.7 did: codes beside ``__categories``."""
    with h5py.File(path, "a") as file:
        table = file["obs"]
        columns = {n: read_elem(table[n]) for n in table if isinstance(table[n], h5py.Group)}
        columns = {n: c for n, c in columns.items() if isinstance(c, pd.Categorical)}
        old = table.create_group("__categories")
        for name, column in columns.items():
            del table[name]
            old.create_dataset(name, data=list(column.categories), dtype=h5py.string_dtype())
            codes = table.create_dataset(name, data=column.codes)
            if reference:
                codes.attrs["categories"] = old[name].ref
        table.attrs["encoding-version"] = "0.1.0"
        assert columns
    return path


def test_all_columns_as_anndata_reads_them(path):
    with open_h5ad(path) as file:
        found = read_columns(file, "obs")
    pd.testing.assert_frame_equal(found, ad.read_h5ad(path).obs)
    assert found.index.dtype == object and found.index.tolist() == NAMES


def test_only_the_wanted_columns_are_read(path, monkeypatch):
    read = []
    original = h5ad._read_column
    monkeypatch.setattr(
        h5ad, "_read_column", lambda table, name: read.append(name) or original(table, name)
    )
    with open_h5ad(path) as file:
        found = read_columns(file, "obs", ["number", "absent", "Subclass", "number"])
        index = file["obs"].attrs["_index"]
    assert found.columns.tolist() == ["number", "Subclass"]
    assert sorted(read) == sorted([index, "number", "Subclass"])


def test_a_damaged_column_that_nobody_wants_does_no_harm(path):
    with h5py.File(path, "a") as file:
        del file["obs/text"]
        file["obs/text"] = np.zeros((2, 2, 2))
    with open_h5ad(path) as file:
        assert read_columns(file, "obs", ["number"])["number"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
        with pytest.raises(ScswError, match=r"obs of .* cannot be read"):
            read_columns(file, "obs")


@pytest.mark.parametrize("reference", [True, False])
def test_categories_stored_the_old_way(path, reference):
    with open_h5ad(path) as file:
        expected = read_columns(file, "obs")
    with open_h5ad(legacy(path, reference)) as file:
        found = read_columns(file, "obs")
        assert column_names(file, "obs") == expected.columns.tolist()
        one = read_columns(file, "obs", ["Subclass"])
    pd.testing.assert_frame_equal(found, expected)
    assert one["Subclass"].tolist()[:3] == ["Sst", "Vip", "Sst"]
    assert one["Subclass"].isna().tolist() == [False, False, False, True, False, False]


def test_a_missing_level_as_seuratdisk_writes_it(path):
    """Its codes are whole numbers of R less 1, of which the missing one stays the smallest."""
    with h5py.File(legacy(path, reference=False), "a") as file:
        codes = file["obs/Subclass"][:].astype(np.int32)
        codes[codes < 0] = h5ad.R_MISSING
        del file["obs/Subclass"]
        file["obs/Subclass"] = codes
        found = read_columns(file, "obs", ["Subclass"])["Subclass"]
    assert found.isna().tolist() == [False, False, False, True, False, False]


def test_names_of_columns_and_groups(path):
    with open_h5ad(path) as file:
        assert column_names(file, "obs")[:3] == ["Subclass", "text", "number"]
        assert column_names(file, "var") == []
        assert members(file, "layers") == ["UMIs"]
        assert members(file, "X") == members(file, "absent") == []


def test_names_without_an_order(path):
    with h5py.File(path, "a") as file:
        del file["obs"].attrs["column-order"]
    with open_h5ad(path) as file:
        index = file["obs"].attrs["_index"]
        names = column_names(file, "obs")
    assert "Subclass" in names and index not in names and "__categories" not in names


def test_texts_as_bytes(tmp_path):
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        table = file.create_group("obs")
        table.attrs["_index"] = np.bytes_("index")
        table.attrs["column-order"] = np.array([b"kind"])
        table["index"] = np.array([b"c1", b"c2"])
        table["kind"] = np.array([b"A", b"B"])
        assert column_names(file, "obs") == ["kind"]
        found = read_columns(file, "obs")
    assert found.index.tolist() == ["c1", "c2"]
    assert [h5ad.plain_text(value) for value in found["kind"]] == ["A", "B"]


def break_it(damage, path):
    with h5py.File(path, "a") as file:
        damage(file)


def without_index(file):
    del file["obs/_index"]


def as_array(file):
    del file["obs"]
    file["obs"] = np.zeros(3, dtype=[("index", "S4")])


def without_obs(file):
    del file["obs"]


def short_column(file):
    del file["obs/number"]
    file["obs/number"] = np.zeros(4)


def codes_out_of_range(file):
    file["obs/Subclass/codes"][0] = 77


def listed_only(file):
    del file["obs/number"]


def not_utf8(file):
    del file["obs/_index"]
    file["obs/_index"] = np.array([b"\xff\xfe\x00"] * 6)


def not_utf8_column(file):
    del file["obs/text"]
    texts = file["obs"].create_dataset("text", (6,), h5py.string_dtype())
    texts[:] = [b"\xff\xfe"] * 6


def of_a_later_anndata(file):
    file["obs/text"].attrs["encoding-type"] = "string-array-of-2030"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (of_a_later_anndata, "obs of .* cannot be read: .*update your installation of anndata"),
        (without_obs, "has no obs; it holds X, .*Expected: an h5ad file"),
        (as_array, "not a table that this release of anndata reads.*save it again"),
        (without_index, "not a table that this release"),
        (short_column, "cannot be read: number has 4 rows of 6"),
        (codes_out_of_range, "obs of .* cannot be read"),
        (listed_only, "obs of .* cannot be read"),
        (not_utf8, "obs of .* cannot be read"),
        (not_utf8_column, "obs of .* cannot be read"),
    ],
)
def test_damaged_tables(path, damage, message):
    break_it(damage, path)
    with open_h5ad(path) as file, pytest.raises(ScswError) as caught:
        read_columns(file, "obs")
    assert re.search(message, str(caught.value), flags=re.DOTALL), str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_and_others(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ScswError, match=r"cannot be opened as HDF5.*download"), open_h5ad(path):
        pass


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(ScswError, match="does not exist"), open_h5ad(tmp_path / "none.h5ad"):
        pass
    with pytest.raises(ScswError, match="is a folder"), open_h5ad(tmp_path):
        pass


def test_tables_are_stacked(obs):
    parts = [obs.iloc[:4], obs.iloc[4:]]
    stacked = stack_tables(parts)
    pd.testing.assert_frame_equal(
        stacked.astype({"Subclass": object}), obs.astype({"Subclass": object})
    )
    assert stacked["Subclass"].dtype == "category"
    assert stack_tables([obs]) is obs


def test_stacked_tables_of_other_categories_and_columns():
    first = pd.DataFrame({"type": pd.Categorical(["A", "B"]), "x": 1.0}, index=["a", "b"])
    second = pd.DataFrame({"y": 2, "type": pd.Categorical(["C"])}, index=["c"])
    stacked = stack_tables([first, second])
    assert stacked.columns.tolist() == ["type"]  # what some lack is left out
    assert stacked["type"].tolist() == ["A", "B", "C"] and stacked["type"].dtype == "category"
    assert stacked.index.tolist() == ["a", "b", "c"]


def test_a_text_that_some_files_do_not_code():
    first = pd.DataFrame({"type": pd.Categorical(["A", "B"])}, index=["a", "b"])
    second = pd.DataFrame({"type": ["C"]}, index=["c"])
    assert stack_tables([first, second])["type"].tolist() == ["A", "B", "C"]


def test_a_file_is_read_where_it_cannot_be_locked(tmp_path):
    """As on many clusters' shared disks; here another process holds the lock."""
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    code = "from scsw.cohort.h5ad import open_h5ad\nwith open_h5ad({!r}) as f: print(*f)"
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        environment = {k: v for k, v in os.environ.items() if k != "HDF5_USE_FILE_LOCKING"}
        command = [sys.executable, "-c", code.format(str(path))]
        read = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "obs" in read.stdout, read.stderr
