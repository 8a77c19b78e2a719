import subprocess
import sys

import pytest

from scsw.cohort.sources import input_files
from scsw.errors import ScswError
from tests.cohort import layouts


def test_one_file_sources():
    assert input_files("sea_ad", "a/b.h5ad") == ["a/b.h5ad"]
    assert input_files("cellxgene", "c.h5ad", None) == ["c.h5ad"]


def test_the_whole_rosmap_layout_before_it_exists_and_after(tmp_path):
    folder = str(tmp_path / "rosmap")
    names = [
        "filtered_count_matrix.mtx",
        "filtered_gene_row_names.txt",
        "notfiltered_gene_row_names.txt",
        "filtered_column_metadata.txt",
        "ROSMAP_clinical.csv",
    ]
    before = input_files("rosmap", folder)
    assert before == [f"{folder}/{name}" for name in names]
    layouts.write_rosmap(tmp_path / "rosmap")
    assert input_files("rosmap", folder) == before


def test_rosmap_variants(tmp_path):
    folder = layouts.write_rosmap(tmp_path)
    matrix = folder / "filtered_count_matrix.mtx"
    matrix.rename(f"{matrix}.gz")
    (folder / "notfiltered_gene_row_names.txt").unlink()
    files = input_files("rosmap", str(folder), "elsewhere/clinical.csv")
    assert files[0] == f"{matrix}.gz"
    assert files[-1] == "elsewhere/clinical.csv"
    assert len(files) == 4


def test_unknown_source():
    with pytest.raises(ScswError, match="one of sea_ad, rosmap, cellxgene"):
        input_files("adni", "x")


def test_the_module_is_light():
    code = (
        "import sys; import scsw.cohort.sources; "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'anndata', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
