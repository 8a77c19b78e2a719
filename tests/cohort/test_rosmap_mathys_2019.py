"""ROSMAP of Mathys 2019: codings, participant numbers, variants of the folder."""

import gzip
import shutil

import numpy as np
import pandas as pd
import pytest

from scsw.cohort.readers import rosmap_mathys_2019
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from tests.cohort import layouts


@pytest.fixture
def rosmap_folder(tmp_path):
    return layouts.write_rosmap(tmp_path / "rosmap")


def read(path, **asked):
    return rosmap_mathys_2019.read(Request(path, **asked))


def donors_of(found):
    return found.obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")


def test_codings(rosmap_folder):
    found = read(rosmap_folder)
    donors = donors_of(found)
    assert donors.index.tolist() == [f"{90_100 + 11 * d:08d}" for d in range(8)]
    # The source's 1 = definite ... 4 = no AD, the other way round.
    assert donors["cerad"].tolist() == [3, 2, 1, 0, 3, 2, 1, 0]
    assert donors["braak"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert donors["cognition"].tolist() == [0, 1, 1, 2, 2, 2, 0, 1]
    assert donors["sex"].tolist() == ["female", "male"] * 4
    assert set(donors["adnc"]) == {-1} and set(donors["thal"]) == {-1}
    assert donors["age_death"].tolist() == [90, 76, 77, 90, 79, 80, 90, 82]
    assert donors["age_censored"].tolist() == [True, False, False] * 2 + [True, False]
    assert np.isnan(donors["pmi"].iloc[1]) and donors["pmi"].iloc[0] == 6.25
    assert donors["apoe_genotype"].tolist() == ["34", "34", "34", ""] * 2
    assert not donors["is_reference"].any()
    assert set(donors["study"]) == {"MADEUP"}
    assert set(zip(found.obs["cell_type"], found.obs["cell_class"], strict=True)) == {
        ("Ex", "excitatory"),
        ("In", "inhibitory"),
        ("Ast", "glia"),
        ("Mic", "immune"),
    }
    assert set(found.obs["source:ceradsc"]) == {"1", "2", "3", "4"}
    assert "source:projid" in found.obs


@pytest.mark.parametrize("limit", [7, 1 << 20])
def test_counts_are_transposed_and_genes_named(rosmap_folder, tmp_path, limit):
    found = read(rosmap_folder)
    expected = layouts.counts(layouts.cells(8, 12, layouts.MATHYS_TYPES)[1], seed=2)
    assert (layouts.read_counts(found.counts, tmp_path / "s", limit) != expected).nnz == 0
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def test_it_is_told_from_its_files(rosmap_folder):
    for source in ("auto", "rosmap"):
        name, how = choose(source, rosmap_folder)
        assert name == "rosmap_mathys_2019"
        assert "filtered_column_metadata.txt" in how or how == "named by the user"


def test_gzipped_matrix_without_ensembl_ids(rosmap_folder, tmp_path):
    plain = layouts.read_counts(read(rosmap_folder).counts, tmp_path / "plain")
    matrix = rosmap_folder / "filtered_count_matrix.mtx"
    with gzip.open(f"{matrix}.gz", "wb") as packed, matrix.open("rb") as text:
        shutil.copyfileobj(text, packed)
    matrix.unlink()
    (rosmap_folder / "notfiltered_gene_row_names.txt").unlink()
    found = read(rosmap_folder)
    assert (layouts.read_counts(found.counts, tmp_path / "packed") != plain).nnz == 0
    assert set(found.genes["ensembl_id"]) == {""}


@pytest.mark.parametrize("write", [str, lambda number: f"{int(number):08d}", "{}.0".format])
def test_participant_numbers_match_padded_or_not(rosmap_folder, write):
    file = rosmap_folder / "filtered_column_metadata.txt"
    table = pd.read_csv(file, sep="\t", dtype=str)
    table["projid"] = table["projid"].map(write)
    table.to_csv(file, sep="\t", index=False)
    assert donors_of(read(rosmap_folder)).index[0] == "00090100"


def test_clinical_table_elsewhere(rosmap_folder, tmp_path):
    elsewhere = tmp_path / "clinical.csv"
    shutil.move(rosmap_folder / "ROSMAP_clinical.csv", elsewhere)
    found = read(rosmap_folder, tables={"clinical": str(elsewhere)})
    assert len(donors_of(found)) == 8
    assert elsewhere in found.files
