"""The Human Cell Atlas's integration files: levels of annotation, counts wherever they stand."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.readers import hca_integration
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from tests.cohort import layouts
from tests.cohort.readers.layout_hca import KINDS, LEVELS, kinds_of_cells, write_integration
from tests.cohort.readers.running import refused, run


def read(path, **asked):
    return hca_integration.read(Request(path, **asked))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_integration(tmp_path_factory.mktemp("hca") / "atlas.h5ad")


@pytest.mark.parametrize("source", ["auto", "hca"])
def test_it_is_told_from_its_columns(path, source):
    reason = "its obs has the columns 'subject_ID' and 'ann_level_1'"
    assert choose(source, path) == ("hca_integration", reason)


def test_a_release_in_cellxgene_layout_is_left_to_that_reader(tmp_path):
    def released(a):
        a.obs["donor_id"], a.obs["suspension_type"] = a.obs["subject_ID"], "nucleus"

    path = write_integration(tmp_path / "atlas.h5ad", released)
    assert choose("auto", path)[0] == "cellxgene"


@pytest.mark.parametrize("place", ["raw", "counts", "X"])
def test_counts_are_found(tmp_path, place):
    found = read(write_integration(tmp_path / "atlas.h5ad", counts_in=place))
    counts = layouts.read_counts(found.counts, tmp_path)
    assert (counts != layouts.counts(kinds_of_cells(), seed=5)).nnz == 0
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())
    assert found.genes["symbol"].tolist() == list(layouts.GENES)  # of var, where raw has none


def test_the_finest_level_that_is_filled_names_the_type(path):
    found = read(path)
    kinds = kinds_of_cells()
    level_3 = [LEVELS[kind][2].replace("None", "") for kind in kinds]
    assert found.obs["cell_type"].tolist() == level_3
    assert found.excluded["no_cell_type"].tolist() == (kinds == "odd").tolist()
    assert found.warnings == [
        "Cell types are those of ann_level_3, which names 90% of the cells; the finest level "
        "that names 80% is taken."
    ]
    finest = {"microglia": "Resting microglia", "T": "T cell", "odd": "Unclear"}
    finest |= {"astro": "Astrocyte", "capillary": "Capillary"}
    assert found.obs["supertype"].tolist() == [finest[kind] for kind in kinds]


def test_coarser_levels_help_to_tell_the_class(path):
    obs = read(path).obs
    classes = dict(zip(kinds_of_cells(), obs["cell_class"], strict=True))
    assert classes == {
        "microglia": "immune",
        "T": "immune",
        "astro": "glia",
        "capillary": "vascular",  # told by level 1
        "odd": "other",
    }


def test_no_level_is_filled_well(tmp_path):
    def sparser(a):
        for n in range(1, 6):
            named = np.arange(a.n_obs) % 10 < (7 if n == 2 else 5)
            a.obs[f"ann_level_{n}"] = np.where(named, a.obs["ann_level_2"], "None")

    found = read(write_integration(tmp_path / "atlas.h5ad", sparser))
    assert found.warnings[0].startswith("Cell types are those of ann_level_2")
    assert found.excluded["no_cell_type"].sum() == 36


def test_the_user_s_column_stands(path):
    found = read(path, columns={"cell_type": "ann_level_1"})
    assert set(found.obs["cell_type"]) == {"Immune", "Neural", "Endothelial"}
    assert found.warnings == []


def test_codings(tmp_path):
    def odd(a):
        a.obs["sex"] = np.where(a.obs["sex"] == "male", "M", "F")
        a.obs.loc[a.obs["subject_ID"] == "P05", "sex"] = "unknown"
        a.obs.loc[a.obs["subject_ID"] == "P05", "age"] = np.nan

    obs = read(write_integration(tmp_path / "atlas.h5ad", odd)).obs
    donors = obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")
    assert donors["sex"].tolist() == ["female", "male"] * 2 + ["female", "unknown"]
    assert donors["age_death"].tolist()[:5] == [60, 61, 62, 63, 64]
    assert np.isnan(donors.loc["P05", "age_death"])
    assert set(donors["study"]) == {"First_2020", "Second_2021"}
    assert set(donors["batch"]) == {f"S{d}" for d in range(6)}
    assert set(donors["source:disease_condition"]) == {"Alzheimer disease", "Healthy"}
    assert set(donors["braak"]) == {-1}


def test_a_donor_s_name_in_two_studies(tmp_path):
    def shared(a):
        a.obs["subject_ID"] = a.obs["subject_ID"].astype(str).replace("P05", "P01")
        a.obs.loc[a.obs["subject_ID"] == "P01", "age"] = 61.0

    found = read(write_integration(tmp_path / "atlas.h5ad", shared))
    assert found.obs["donor_id"].nunique() == 5
    assert "1 donors' names, such as P01, stand in several studies" in found.warnings[0]


def test_the_step(path, tmp_path):
    run(path, tmp_path / "out")
    made = ad.read_h5ad(tmp_path / "out" / "cohort.h5ad")
    stored = ad.read_h5ad(path)
    stored = stored[stored.obs["ann_level_3"] != "None"]
    assert made.obs_names.tolist() == stored.obs_names.tolist()
    ids = [layouts.GENES[name] for name in made.var_names]
    assert (made.X != stored.raw[:, ids].X).nnz == 0
    removed = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert removed["no_cell_type"] == len(kinds_of_cells()) // len(KINDS)
    assert any("ann_level_3" in sentence for sentence in made.uns["scsw"]["warnings"])


def drop(*names):
    return lambda a: a.obs.drop(columns=list(names), inplace=True)


def no_counts(a):
    a.raw = None


def mouse(a):
    a.raw = None
    a.X = layouts.counts(kinds_of_cells(), seed=5)
    a.var_names = [f"ENSMUSG{n:011d}" for n in range(a.n_vars)]


def unknown_sex(a):
    a.obs["sex"] = "1"


def age_range(a):
    a.obs["age"] = "60-69"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("subject_ID"), "no column for donor_id.*'subject_ID'"),
        (drop(*(f"ann_level_{n}" for n in range(1, 6))), "no column for cell_type"),
        (no_counts, "no matrix of .* holds whole numbers: X holds values that are not whole"),
        (mouse, "genes of another species, such as ENSMUSG00000000000"),
        (unknown_sex, "column 'sex' holds '1', which is no value of sex"),
        (age_range, "column 'age' holds '60-69'"),
    ],
)
def test_malformed(edit, message, tmp_path):
    path = write_integration(tmp_path / "atlas.h5ad", edit)
    refused(message, path, tmp_path / "out", source="hca_integration")


def test_no_level_names_a_cell(tmp_path):
    def unnamed(a):
        for n in range(1, 6):
            a.obs[f"ann_level_{n}"] = "None"

    path = write_integration(tmp_path / "atlas.h5ad", unnamed)
    refused("names no cell type for any of its 120 cells", path, tmp_path / "out")
