"""A file that no reader knows, or the wrong one is asked for, ends in one message that helps."""

import h5py
import pytest

from scsw.cohort.sources import choose
from scsw.errors import ScswError
from tests.cohort.malformed import (
    ROSMAP,
    Case,
    bad_text,
    check_refusal,
    drop_obs,
    legacy_obs,
    not_hdf5,
    truncate,
)


def only_a_readme(folder):
    for file in list(folder.iterdir()):
        file.unlink()
    (folder / "README.txt").write_text("moved")


def two_sources(a):
    a.obs["donor_id"], a.obs["suspension_type"] = a.obs["Donor ID"], "nucleus"


CASES = [
    Case("nothing at the path", "sea_ad", "nowhere does not exist", source="auto",
         options={"path": "nowhere"}),
    Case("no known columns", "sea_ad",
         r"an h5ad file with obs columns .*layers UMIs, which is no known layout.*sea_ad: an h5ad"
         ".*--donor-column and --cell-type-column",
         edit=drop_obs("Donor ID"), source="auto"),
    Case("two sources", "sea_ad", r"looks like several sources \(cellxgene: .*; sea_ad: .*--source",
         edit=two_sources, source="auto"),
    Case("truncated, source unknown", "sea_ad", "cannot be opened as HDF5.*compare its size",
         damage=truncate, source="auto"),
    Case("no HDF5, source unknown", "sea_ad", "does not begin as such a file", damage=not_hdf5,
         source="auto"),
    Case("legacy obs, source unknown", "sea_ad", "anndata release of its own time",
         damage=legacy_obs, source="auto"),
    Case("barcodes no UTF-8, source unknown", "sea_ad", "var of .* cannot be read: .*utf-8",
         damage=bad_text("var"), source="auto"),
    Case("folder of something else", ROSMAP,
         "is a folder with README.txt, which is no known layout", damage=only_a_readme,
         source="auto"),
    Case("an h5ad of another family", "sea_ad",
         "h5ad file with obs columns .*which is no known layout of 'rosmap'", source="rosmap"),
    Case("a folder for an h5ad", ROSMAP, "is a folder.*an h5ad file", source="cellxgene"),
    Case("a folder without h5ad files", ROSMAP, "holds no h5ad file", source="sea_ad"),
    Case("a file for a folder", "sea_ad", "is not a folder.*Mathys 2019", source=ROSMAP),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.layout}: {case.name}")
def test_message_helps_and_nothing_stays(case, tmp_path):
    check_refusal(case, tmp_path)


@pytest.mark.parametrize(
    ("name", "keys", "way"),
    [
        ("a.h5mu", ["obs/_index", "var/_index", "mod/rna"], "take the RNA out of it: mudata"),
        ("filtered_feature_bc_matrix.h5", ["matrix/data"], "read it in Python .scanpy.read_10x_h5"),
        ("filtered_feature_bc_matrix/matrix.mtx.gz", None, "read it in Python .scanpy"),
        ("a.zarr/.zgroup", None, "anndata.read_zarr"),
        ("a.zarr/zarr.json", None, "anndata.read_zarr"),
        ("per_type/astrocytes.h5ad", None, "put them together first: anndata.experimental"),
        ("a.h5ad.gz", None, "unpack it"),
        ("a.qs", None, "read the object in R"),
        ("a.RData", None, "read the object in R"),
    ],
)
def test_a_file_of_a_common_kind_is_told_how_it_becomes_an_h5ad(name, keys, way, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if keys:
        with h5py.File(path, "w") as file:
            for key in keys:
                file[key] = [0]
    else:
        path.write_bytes(b"...")
    with pytest.raises(ScswError, match=f"no known layout.*Expected: an h5ad file.*{way}"):
        choose("auto", path if path.parent == tmp_path else path.parent)
