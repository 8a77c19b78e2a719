"""Which source a file is: told from the file, named by the user, or neither."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from scsw.cohort import sources
from scsw.cohort.glimpse import glimpse
from scsw.cohort.sources import check_source, choose, families, input_files, members, names, reader
from scsw.errors import ScswError
from tests.cohort import layouts

MATHYS = [
    "filtered_count_matrix.mtx",
    "filtered_gene_row_names.txt",
    "notfiltered_gene_row_names.txt",
    "filtered_column_metadata.txt",
    "ROSMAP_clinical.csv",
]
WRITE = {
    "sea_ad": lambda folder: layouts.write_sea_ad(folder / "s.h5ad"),
    "rosmap_mathys_2019": lambda folder: layouts.write_rosmap(folder / "rosmap"),
    "cellxgene": lambda folder: layouts.write_cellxgene(folder / "c.h5ad"),
}


def test_every_file_in_the_folder_of_readers_is_a_source():
    folder = Path(sources.readers.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert set(names()) == files
    assert {"sea_ad", "cellxgene", "rosmap_mathys_2019"} <= files


@pytest.mark.parametrize("name", names())
def test_every_reader_has_what_a_reader_needs(name):
    module = reader(name)
    assert isinstance(module.TITLE, str) and module.TITLE
    assert isinstance(module.LAYOUT, str) and module.LAYOUT
    for function in ("recognise", "files", "read"):
        assert callable(getattr(module, function)), function
    assert module.files(Path("not/there"), {})  # named before they exist


def test_a_family_stands_for_its_members():
    assert "rosmap_mathys_2019" in members("rosmap")
    assert all(name.startswith("rosmap_") for name in members("rosmap"))
    assert members("sea_ad") == ["sea_ad"]
    assert members("geo") == []
    assert all(len(members(name)) > 1 and name not in names() for name in families())


@pytest.mark.parametrize("source", sorted(WRITE))
def test_auto_finds_the_source_and_only_its_own_reader_claims_it(tmp_path, source):
    path = WRITE[source](tmp_path)
    name, how = choose("auto", path)
    assert name == source and how
    seen = glimpse(path)
    assert [other for other in names() if reader(other).recognise(seen)] == [source]


def test_a_named_source_is_taken_at_its_word(tmp_path):
    assert choose("cellxgene", tmp_path / "none.h5ad") == ("cellxgene", "named by the user")


def test_a_file_of_no_known_layout(tmp_path):
    path = tmp_path / "other.h5ad"
    layouts.write_sea_ad(path, edit=lambda a: a.obs.drop(columns=["Donor ID"], inplace=True))
    with pytest.raises(ScswError, match="is no known layout") as caught:
        choose("auto", path)
    message = str(caught.value)
    assert "obs columns" in message and "Subclass" in message and "layers UMIs" in message
    assert "--donor-column" in message
    for name in ("sea_ad", "cellxgene", "rosmap_mathys_2019"):
        assert reader(name).LAYOUT in message


def test_other_files_and_folders_are_described(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ScswError, match=r"is a folder with notes\.txt, which is no known layout"):
        choose("auto", tmp_path)
    with pytest.raises(ScswError, match=r"is a file of another kind, which is no known"):
        choose("auto", tmp_path / "notes.txt")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("something")
    with pytest.raises(ScswError, match="is an HDF5 file with something, which is no known"):
        choose("auto", tmp_path / "x.h5")


def test_a_file_that_two_readers_claim(tmp_path):
    def both(a):
        a.obs["donor_id"] = a.obs["Donor ID"]
        a.obs["suspension_type"] = "nucleus"

    path = layouts.write_sea_ad(tmp_path / "s.h5ad", edit=both)
    with pytest.raises(ScswError, match=r"several sources \(cellxgene: .*; sea_ad: .*--source"):
        choose("auto", path)
    assert choose("sea_ad", path)[0] == "sea_ad"


def test_one_file_sources():
    assert input_files("sea_ad", "a/b.h5ad") == ["a/b.h5ad"]
    assert input_files("sea_ad", "a.h5ad", {"cps": "mtg.h5ad"}) == ["a.h5ad", "mtg.h5ad"]
    assert input_files("cellxgene", "c.h5ad", None) == ["c.h5ad"]


def test_before_it_exists_an_unnamed_source_needs_its_path_and_tables():
    assert input_files("auto", "a/b.h5ad", {"cps": "mtg.h5ad", "cells": None}) == [
        "a/b.h5ad",
        "mtg.h5ad",
    ]


@pytest.mark.parametrize("source", ["auto", "rosmap_mathys_2019", "rosmap"])
def test_the_whole_rosmap_layout_once_it_exists(tmp_path, source):
    folder = layouts.write_rosmap(tmp_path / "rosmap")
    assert input_files(source, str(folder)) == [f"{folder}/{name}" for name in MATHYS]


@pytest.mark.parametrize("source", ["rosmap_mathys_2019", "rosmap"])
def test_the_whole_rosmap_layout_before_it_exists(source):
    assert input_files(source, "not/there") == [f"not/there/{name}" for name in MATHYS]


def test_a_folder_of_donors_is_listed_in_order(tmp_path):
    parts = [tmp_path / f"H{n}_SEAAD_MTG_RNAseq_final-nuclei.2024-02-13.h5ad" for n in (2, 1)]
    for part in parts:
        layouts.write_sea_ad(part, n_donors=3)
    (tmp_path / "readme.txt").write_text("x")
    assert input_files("auto", str(tmp_path)) == sorted(map(str, parts))


def test_rosmap_variants(tmp_path):
    folder = layouts.write_rosmap(tmp_path)
    matrix = folder / "filtered_count_matrix.mtx"
    matrix.rename(f"{matrix}.gz")
    (folder / "notfiltered_gene_row_names.txt").unlink()
    files = input_files("rosmap", str(folder), {"clinical": "elsewhere/clinical.csv"})
    assert files[0] == f"{matrix}.gz"
    assert files[-1] == "elsewhere/clinical.csv"
    assert len(files) == 4


@pytest.mark.parametrize("function", [check_source, lambda source: input_files(source, "x")])
def test_unknown_source(function):
    with pytest.raises(ScswError, match=r"the source 'geo' is unknown.*auto, or one of .*sea_ad"):
        function("geo")


def test_the_module_is_light():
    code = (
        "import sys; import scsw.cohort.sources; "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'anndata', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
