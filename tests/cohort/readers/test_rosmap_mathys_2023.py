"""ROSMAP of Mathys 2023: an h5ad whose labels and donors stand in tables beside it."""

import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.read import read_cohort
from scsw.cohort.readers import rosmap_mathys_2023
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from tests.cohort import layouts
from tests.cohort.readers import layout_rosmap
from tests.cohort.readers.running import refused, run

COUNTS, CELLS = "PFC427_raw_data.h5ad", "meta.tsv"
DONORS, CLINICAL = "MIT_ROSMAP_Multiomics_individual_metadata.csv", "ROSMAP_clinical.csv"


@pytest.fixture
def folder(tmp_path):
    return layout_rosmap.write_mathys_2023(tmp_path / "mathys")


def read(path, **asked):
    return rosmap_mathys_2023.read(Request(path, **asked))


def donors_of(found):
    obs = found.obs[found.obs["donor_id"] != ""].astype({"donor_id": str})
    return obs.drop_duplicates("donor_id").set_index("donor_id")


def edit(path, change):
    separator = "\t" if path.suffix == ".tsv" else ","
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    change(table).to_csv(path, sep=separator, index=False)


@pytest.mark.parametrize("source", ["auto", "rosmap"])
def test_it_is_told_from_the_folder_or_the_file(folder, source):
    assert choose(source, folder) == ("rosmap_mathys_2023", f"the folder holds {COUNTS}")
    assert choose(source, folder / COUNTS) == (
        "rosmap_mathys_2023",
        "its obs has the columns 'bc', 'batch' and 'individual_ID'",
    )


def test_codings(folder):
    found = read(folder)
    donors = donors_of(found)
    assert donors.index.tolist() == layout_rosmap.PROJID
    # The source's 1 = definite ... 4 = no AD, the other way round.
    assert donors["cerad"].tolist() == [3, 2, 1, 0, 3, 2, 1, 0]
    assert donors["braak"].tolist() == [0, 1, 2, 3, 4, 5, 6, -1]
    assert donors["cognition"].tolist() == [0, 1, 1, 2, 2, 2, 0, 1]
    assert donors["sex"].tolist() == ["female", "male"] * 4
    assert donors["study"].tolist() == ["ROS", "MAP"] * 4
    assert donors["age_death"].tolist() == [90, 76, 77, 90, 79, 80, 90, 82]
    assert donors["age_censored"].tolist() == [True, False, False] * 2 + [True, False]
    assert donors["apoe_genotype"].tolist() == ["34", "34", "34", ""] * 2
    assert set(donors["adnc"]) == {-1} and set(donors["thal"]) == {-1}
    labelled = found.obs[~found.excluded["no_cell_type"]]
    assert set(zip(labelled["cell_type"], labelled["cell_class"], strict=True)) == {
        ("Exc", "excitatory"),
        ("Inh", "inhibitory"),
        ("Ast", "glia"),
        ("Mic", "immune"),
    }
    assert (labelled["supertype"].astype(str) == labelled["cell_type"].astype(str) + " L2-3").all()
    assert set(labelled["region"]) == {"prefrontal cortex"}
    assert donors["batch"].tolist() == [f"SM_{d}" for d in range(8)]
    assert donors["source:Individual"].tolist() == layout_rosmap.SUBJECT


def test_clinical_values_come_from_the_clinical_table(folder):
    """meta.tsv has a column pmi of its own here, which means something else."""
    pmi = donors_of(read(folder))["pmi"]
    assert np.isnan(pmi.iloc[1])
    assert set(pmi.drop(pmi.index[1])) == {6.25}


@pytest.mark.parametrize("limit", [7, 1 << 20])
def test_counts_and_labels_keep_to_their_cells(folder, tmp_path, limit):
    found = read(folder / COUNTS)
    counts = layouts.read_counts(found.counts, tmp_path / "s", limit)
    assert (counts != layout_rosmap.mathys_counts()).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.obs.index.tolist() == ad.read_h5ad(folder / COUNTS).obs_names.tolist()
    donor, types = layouts.cells(8, 12, layout_rosmap.MATHYS_TYPES)
    labelled = ~found.excluded["no_cell_type"]
    assert (found.obs["cell_type"].to_numpy(object)[labelled] == types[labelled]).all()
    expected = np.array(layout_rosmap.PROJID)[donor]
    assert (found.obs["donor_id"].to_numpy(object)[labelled] == expected[labelled]).all()


def test_cells_that_the_table_does_not_name_are_counted_as_unlabelled(folder, tmp_path):
    found = read(folder)
    assert np.flatnonzero(found.excluded["no_cell_type"]).tolist() == [0, 50]
    run(folder, tmp_path / "out")
    qc = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert qc["no_cell_type"] == 2 and qc["no_donor_id"] == 0


@pytest.mark.parametrize("name", ["", COUNTS])
def test_preprocess(folder, tmp_path, name):
    run(folder / name, tmp_path / "out")
    cohort = read_cohort(tmp_path / "out" / "cohort.h5ad")
    assert cohort.n_obs == 94
    assert set(cohort.obs["cell_type"]) == set(layout_rosmap.MATHYS_TYPES)
    written = pd.DataFrame(
        layout_rosmap.mathys_counts().toarray(),
        ad.read_h5ad(folder / COUNTS).obs_names,
        list(layouts.GENES),
    )
    expected = written.loc[cohort.obs_names, cohort.var_names]
    np.testing.assert_array_equal(cohort.X.toarray(), expected)
    assert (cohort.obs.groupby("donor_id", observed=True)["split"].nunique() == 1).all()
    assert set(cohort.obs["source:Dataset"]) == {"PFC427"}


def test_files_are_named_in_order_before_they_exist(folder):
    names = [str(folder / name) for name in (COUNTS, CELLS, DONORS, CLINICAL)]
    assert rosmap_mathys_2023.files(folder, {}) == names
    for name in names:
        (folder / name).unlink()
    assert rosmap_mathys_2023.files(folder / COUNTS, {}) == names


def test_tables_may_stand_elsewhere(folder, tmp_path):
    expected = read(folder).obs
    tables = {"cells": CELLS, "donors": DONORS, "clinical": CLINICAL}
    for role, name in tables.items():
        tables[role] = str(shutil.move(folder / name, tmp_path / f"moved_{name}"))
    pd.testing.assert_frame_equal(read(folder, tables=tables).obs, expected)


def test_projid_may_be_an_integer_in_the_clinical_table(folder):
    expected = read(folder).obs
    edit(folder / CLINICAL, lambda t: t.assign(projid=t["projid"].astype(int)))
    pd.testing.assert_frame_equal(
        read(folder).obs.drop(columns="source:projid"), expected.drop(columns="source:projid")
    )


def test_columns_and_values_of_the_user(folder):
    found = read(
        folder,
        columns={"cell_type": "Cell_Type"},
        values={"donor_id": {layout_rosmap.SUBJECT[0]: "", "ROSMAP-5001": "ROSMAP-5002"}},
    )
    assert "Exc L2-3" in set(found.obs["cell_type"])
    # Cells of the first donor lose it, those of the second go to the third.
    assert donors_of(found).index.tolist() == layout_rosmap.PROJID[2:]
    assert found.excluded["no_donor_id"].sum() == 12 + 1


def test_a_donor_without_a_name_is_left_out(folder):
    edit(
        folder / CELLS, lambda t: t.assign(Individual=t["Individual"].replace("ROSMAP-5003", "NA"))
    )
    found = read(folder)
    assert layout_rosmap.PROJID[3] not in set(found.obs["donor_id"])
    assert found.excluded["no_donor_id"].sum() == 12 + 2  # and two that have no label either


def test_r_objects_beside_the_h5ad_are_told_of(folder):
    (folder / "Astrocytes.rds").write_bytes(b"\x1f\x8b")
    assert any("1 .rds files beside" in sentence for sentence in read(folder).warnings)
    assert not read(folder / COUNTS).warnings


@pytest.mark.parametrize("alone", [True, False])
def test_r_objects_alone_are_refused(tmp_path, alone):
    folder = tmp_path / "objects"
    folder.mkdir()
    for name in ("Astrocytes.rds", "OPCs.RDS"):
        (folder / name).write_bytes(b"\x1f\x8b")
    path = folder / "Astrocytes.rds" if alone else folder
    assert choose("auto", path)[0] == "rosmap_mathys_2023"
    refused(r"\.rds files can be read in R only.*PFC427_raw_data", path, tmp_path / "out")


def change_counts(change):
    def damage(folder):
        adata = ad.read_h5ad(folder / COUNTS)
        change(adata)
        adata.write_h5ad(folder / COUNTS)

    return damage


def table(name, change):
    return lambda folder: edit(folder / name, change)


def separated_by(name, old, new):
    def damage(folder):
        file = folder / name
        file.write_text(file.read_text().replace(old, new))

    return damage


def log_values(adata):
    adata.X = adata.X.log1p()


def truncate(folder):
    content = (folder / COUNTS).read_bytes()
    (folder / COUNTS).write_bytes(content[: len(content) // 2])


def twice(column, value):
    """Give the second row the first row's value."""
    return lambda t: t.assign(**{column: [value, value, *t[column][2:]]})


MALFORMED = {
    "truncated": (truncate, "cannot be opened as HDF5"),
    "log values": (change_counts(log_values), "not whole numbers.*raw counts in X"),
    "no table of cells": (
        lambda f: (f / CELLS).unlink(),
        r"meta.tsv does not exist.*--cell-table \(in the config: `cell_table:`",
    ),
    "no table of individuals": (lambda f: (f / DONORS).unlink(), "csv does not exist.*donor_table"),
    "no clinical table": (lambda f: (f / CLINICAL).unlink(), "does not exist.*--clinical"),
    "cells of another release": (
        table(CELLS, lambda t: t.assign(cellName="x" + t["cellName"])),
        "names none of the 96 cells: its names are like 'xSM_7_ACGT00095-1'.*'SM_0_ACGT00000-1'",
    ),
    "cell named twice": (
        table(CELLS, lambda t: pd.concat([t, t.iloc[:1]])),
        "names 1 cells more than once, such as 'SM_7_ACGT00095-1'",
    ),
    "commas": (separated_by(CELLS, "\t", ","), "no column cellName.*which character separates"),
    "no UTF-8": (
        lambda f: (f / CELLS).write_bytes(b"cellName\tIndividual\n\xff\xfe\t1\n"),
        "UTF-8",
    ),
    "no donors": (
        table(CELLS, lambda t: t.drop(columns="Individual")),
        "no column for donor_id; its columns are bc, .*Major_Cell_Type",
    ),
    "no types": (
        table(CELLS, lambda t: t.drop(columns="Major_Cell_Type")),
        "no column for cell_type; its columns are bc, .*Individual",
    ),
    "blank types": (table(CELLS, lambda t: t.assign(Major_Cell_Type="")), "no cell type for any"),
    "unknown subject": (
        table(DONORS, lambda t: t[t["subject"] != "ROSMAP-5004"]),
        "1 of 8 donors are no subject .*such as ROSMAP-5004",
    ),
    "subject without an individualID": (
        table(DONORS, lambda t: t.assign(individualID="NA")),
        "8 of 8 donors are no subject with an individualID.*leave out such donors' cells",
    ),
    "subject of two individuals": (
        table(DONORS, lambda t: t.assign(individualID=["R1", *t["individualID"][1:]])),
        "gives subject 'ROSMAP-5000' several individualIDs",
    ),
    "no subjects": (table(DONORS, lambda t: t.drop(columns="subject")), "no column subject"),
    "clinical rows missing": (
        table(CLINICAL, lambda t: t.drop(index=[5, 6])),
        "2 of 8 donors have no row in .*such as R9100035, R9100042.*leave out such donors' cells",
    ),
    "individual twice": (
        table(CLINICAL, twice("individualID", "R9100000")),
        "individualID R9100000 occurs more than once",
    ),
    "projid twice": (
        table(CLINICAL, twice("projid", "70300")),
        "projid 00070300 occurs more than once",
    ),
    "no projid": (
        table(CLINICAL, lambda t: t.assign(projid=["", *t["projid"][1:]])),
        "no projid for 1 of 9 participants, such as R9100000",
    ),
    "clinical table of another study": (
        table(CLINICAL, lambda t: t.drop(columns="projid")),
        "no column projid",
    ),
    "MSBB's CERAD": (table(CLINICAL, lambda t: t.assign(ceradsc="5")), "'ceradsc' holds '5'"),
    "age": (table(CLINICAL, lambda t: t.assign(age_death="old")), "'age_death' holds 'old'"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_message_helps_and_nothing_stays(folder, tmp_path, case):
    damage, message = MALFORMED[case]
    damage(folder)
    refused(message, folder, tmp_path / "out")
