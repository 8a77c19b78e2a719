"""The Human Cell Atlas's loom files: donors from the manifest, types from the authors' labels."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.readers import hca_loom
from scsw.cohort.request import Request
from scsw.cohort.sources import choose, input_files
from tests.cohort import layouts
from tests.cohort.readers.layout_hca import (
    LEVELS,
    LIBRARIES,
    kinds_of_cells,
    write_labels,
    write_loom,
    write_manifest,
)
from tests.cohort.readers.running import refused, run


@pytest.fixture
def path(tmp_path):
    return write_loom(tmp_path / "brain.loom")


@pytest.fixture
def tables(tmp_path):
    labels, manifest = tmp_path / "labels.csv", tmp_path / "manifest.tsv"
    return {"cells": str(write_labels(labels)), "donors": str(write_manifest(manifest))}


def read(path, **asked):
    return hca_loom.read(Request(path, **asked))


def donors_of(found):
    return found.obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")


@pytest.mark.parametrize("source", ["auto", "hca"])
def test_it_is_told_from_its_groups(path, source):
    reason = "it is an HDF5 file with col_attrs, matrix, row_attrs"
    assert choose(source, path) == ("hca_loom", reason)


def test_files(path, tables):
    named = [str(path), tables["cells"], tables["donors"]]
    assert input_files("auto", str(path), tables) == named


@pytest.mark.parametrize("limit", [1 << 20, 100])
def test_counts_and_genes(path, tables, tmp_path, limit):
    found = read(path, tables=tables)
    counts = layouts.read_counts(found.counts, tmp_path, limit)
    assert (counts != layouts.counts(kinds_of_cells(), seed=6)).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


@pytest.mark.parametrize("version", [2, 3])
def test_types_donors_and_what_holds_for_the_whole_file(tmp_path, tables, version):
    found = read(write_loom(tmp_path / "v.loom", version), tables=tables)
    kinds = kinds_of_cells()
    types = [LEVELS[kind][2].replace("None", "") for kind in kinds]
    assert found.obs["cell_type"].tolist() == types
    assert found.excluded["no_cell_type"].tolist() == (kinds == "odd").tolist()
    assert found.excluded["empty_droplet"].sum() == len(LIBRARIES)
    assert found.obs.index[20] == "ACGT0000-1"
    donors = donors_of(found)
    assert donors.index.tolist() == [f"HD{d}" for d in range(6)]
    assert donors["sex"].tolist() == ["female", "male"] * 3
    # Weeks, a range and a blank tell no age in years.
    np.testing.assert_array_equal(donors["age_death"], [71, np.nan, np.nan, 75.5, np.nan, 80])
    assert donors["batch"].tolist() == list(LIBRARIES)
    assert set(donors["study"]) == {"MadeUpBrain"}
    assert set(donors["assay"]) == {"10X v3 sequencing"}
    assert set(donors["source:donor_organism.diseases"]) == {"Alzheimer disease"}


def test_columns_of_the_labels_can_be_named(path, tables):
    found = read(path, tables=tables, columns={"braak": "Braak", "region": ""})
    labelled = found.obs[found.obs["cell_type"] != ""]
    by_donor = labelled.groupby("donor_id", observed=True)["braak"].unique()
    assert [stages.tolist() for stages in by_donor] == [[2], [4], [6]] * 2
    assert set(found.obs["region"]) == {""}


def test_each_library_a_donor_if_the_user_says_so(path, tables):
    found = read(path, tables={"cells": tables["cells"]}, columns={"donor_id": "input_id"})
    assert set(found.obs["donor_id"]) == set(LIBRARIES)


def test_labels_by_plain_barcodes_of_one_library(tmp_path, tables):
    path = write_loom(tmp_path / "one.loom")
    with h5py.File(path, "a") as file:
        n = 20
        for axis in ("col_attrs",):
            for name, values in {k: v[:n] for k, v in file[axis].items()}.items():
                del file[axis][name]
                file[axis][name] = values
        counts = file["matrix"][:, :n]
        del file["matrix"]
        file["matrix"] = counts
    labels = pd.read_csv(tables["cells"])
    labels["barcode"] = labels["barcode"].str.replace("-0", "", regex=False)
    labels.to_csv(tables["cells"], index=False)
    found = read(path, tables=tables)
    assert found.obs["cell_type"].tolist()[:3] == ["Microglia", "T cell", "Astrocyte"]


@pytest.mark.parametrize(
    ("name", "separator", "barcode"),
    [("l.tsv", "\t", "cell"), ("l.csv", ",", ""), ("l.csv.gz", ",", "barcode")],
)
def test_labels_in_other_forms(path, tables, tmp_path, name, separator, barcode):
    other = write_labels(tmp_path / name, separator, barcode)
    found = read(path, tables=tables | {"cells": str(other)})
    expected = read(path, tables=tables)
    assert found.obs["cell_type"].tolist() == expected.obs["cell_type"].tolist()


def test_files_of_the_platform_s_first_version_name_the_donors(path, tables):
    with h5py.File(path, "a") as file:
        columns, rows = file["col_attrs"], file["row_attrs"]
        library = np.repeat(np.arange(6), 20)
        columns["donor_organism.provenance.document_id"] = [f"uuid{d // 2}" for d in library]
        columns["donor_organism.sex"] = ["female"] * len(library)
        columns["annotated_cell_identity.text"] = [LEVELS[kind][1] for kind in kinds_of_cells()]
        rows["Accession"] = rows["ensembl_ids"][:]
        del rows["ensembl_ids"], rows["gene_names"], columns["cell_names"]
        del columns["CellID"], columns["emptydrops_IsCell"]
        columns["CellID"] = [f"cell&#228;{n}" for n in range(len(library))]  # as loompy writes ä
    found = read(path)
    assert set(found.obs["donor_id"]) == {"uuid0", "uuid1", "uuid2"}
    assert set(found.obs["cell_type"]) == {names[1] for names in LEVELS.values()}
    assert found.obs.index[0] == "cellä0"
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def edited(path, change, separator="\t"):
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    change(table).to_csv(path, sep=separator, index=False)


DONOR = "donor_organism.biomaterial_core.biomaterial_id"


def test_pooled_donors_are_no_donor(path, tables):
    pooled = {"HD5": "HD5 || HD6"}
    edited(tables["donors"], lambda table: table.replace({DONOR: pooled}))
    found = read(path, tables=tables)
    assert found.excluded["no_donor_id"].sum() == 20


def test_the_step(path, tables, tmp_path):
    run(path, tmp_path / "out", tables=tables)
    made = ad.read_h5ad(tmp_path / "out" / "cohort.h5ad")
    kept = (kinds_of_cells() != "odd") & (np.arange(120) % 20 != 7)
    columns = [list(layouts.GENES).index(name) for name in made.var_names]
    expected = layouts.counts(kinds_of_cells(), seed=6)[kept][:, columns]
    assert (expected != made.X).nnz == 0
    removed = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert removed[["empty_droplet", "no_cell_type"]].tolist() == [6, 12]


def attribute(name, values, axis="col_attrs"):
    def change(path, tables):
        with h5py.File(path, "a") as file:
            if name in file[axis]:
                del file[axis][name]
            if values is not None:
                file[axis][name] = values

    return change


def log_matrix(path, tables):
    with h5py.File(path, "a") as file:
        file["layers/estimated_counts"] = file["matrix"][:]
        file["matrix"][:] = np.log1p(file["matrix"][:])


def mouse(path, tables):
    with h5py.File(path, "a") as file:
        file["attrs/donor_organism.genus_species"][()] = "Mus musculus"


def no_genes(path, tables):
    for name in ("Gene", "gene_names", "ensembl_ids"):
        attribute(name, None, "row_attrs")(path, tables)


def no_cell_names(path, tables):
    for name in ("cell_names", "CellID"):
        attribute(name, None)(path, tables)


def turned(path, tables):
    with h5py.File(path, "a") as file:
        matrix = file["matrix"][:].T
        del file["matrix"]
        file["matrix"] = matrix


def without(role):
    return lambda path, tables: tables.pop(role)


def table(role, change, separator):
    return lambda path, tables: edited(tables[role], change, separator)


def other_barcodes(labels):
    return labels.assign(barcode=[f"x{n}" for n in range(len(labels))])


def two_donors(manifest):
    manifest.loc[1, DONOR] = "HD9"
    return manifest


def bytes_of_a_picture(path, tables):
    with open(tables["cells"], "wb") as file:
        file.write(b"\x89PNG\xff\xfe\n\xff")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("donors"), "does not name the donors of its cells.*manifest.*--donor-table"),
        (without("cells"), "does not name the types of its cells.*--cell-table"),
        (
            table("cells", other_barcodes, ","),
            "names none of the 120 cells: its names are like .x0.",
        ),
        (table("cells", lambda t: pd.concat([t, t[:1]]), ","), "more than once.*one row per cell"),
        (
            table("cells", lambda t: t.rename(columns={"cell_type": "label"}), ","),
            "no column for cell_type; its columns are .*label",
        ),
        (table("cells", lambda t: t[["barcode"]], ","), "one column only: barcode"),
        (bytes_of_a_picture, "labels.csv cannot be read as a table"),
        (table("donors", lambda t: t[t.index > 1], "\t"), "1 of 6 libraries have no row.*0a1b"),
        (table("donors", two_donors, "\t"), f"library 0a1b several values of {DONOR}: HD0, HD9"),
        (
            table("donors", lambda t: t.rename(columns={t.columns[1]: "x"}), "\t"),
            "has no column sequencing_process.provenance.document_id",
        ),
        (attribute("input_id", None), "does not say which library each cell is of"),
        (no_cell_names, "names no cells; it holds .*input_id"),
        (no_genes, "names no genes; it holds nothing"),
        (mouse, "is of Mus musculus"),
        (turned, "the wrong way round"),
        (log_matrix, "matrix of .* not whole.*layers/estimated_counts of this file holds whole"),
        (attribute("emptydrops_IsCell", [2] * 120), "'emptydrops_IsCell' holds '2'"),
        (attribute("input_id", [1.5] * 3), "col_attrs of .* cannot be read"),
    ],
)
def test_malformed(change, message, path, tables, tmp_path):
    change(path, tables)
    refused(message, path, tmp_path / "out", tables=tables)


def test_no_loom_file(tmp_path):
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    refused("has no matrix; it holds .*obs", path, tmp_path / "out", source="hca_loom")
