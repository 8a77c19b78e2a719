"""ROSMAP of Green 2024 and Fujita 2024: Seurat objects in HDF5, or one h5ad."""

import gzip
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.read import read_cohort
from scsw.cohort.readers import rosmap_green_2024
from scsw.cohort.request import Request
from scsw.cohort.sources import choose
from tests.cohort import layouts
from tests.cohort.readers import layout_rosmap
from tests.cohort.readers.running import refused, run

SHARED, SEURAT = "p400_qced_shareable.h5ad", "dlpfc.h5Seurat"
CLINICAL, ANNOTATION = "ROSMAP_clinical.csv", "cell-annotation.csv"
NEURONS, OTHERS = layout_rosmap.GREEN_TYPES[:2], layout_rosmap.GREEN_TYPES[2:]
WRITE = {SHARED: layout_rosmap.write_green_h5ad, SEURAT: layout_rosmap.write_h5seurat}


@pytest.fixture
def h5ad(tmp_path):
    return layout_rosmap.write_green_h5ad(tmp_path / SHARED)


@pytest.fixture
def h5seurat(tmp_path):
    return layout_rosmap.write_h5seurat(tmp_path / SEURAT)


@pytest.fixture
def folder(tmp_path):
    """Two files of some cell types each; each lacks a gene that the other one has."""
    path = tmp_path / "green"
    path.mkdir()
    genes = list(layouts.GENES)
    layout_rosmap.write_h5seurat(path / "cux2+.h5Seurat", NEURONS, genes[1:])
    layout_rosmap.write_h5seurat(path / "astrocytes.h5seurat", OTHERS, genes[:-1])
    return path


def read(path, **asked):
    return rosmap_green_2024.read(Request(path, **asked))


def donors_of(found):
    obs = found.obs[found.obs["donor_id"] != ""].astype({"donor_id": str})
    return obs.drop_duplicates("donor_id").set_index("donor_id")


def edit(path, change):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def in_file(change):
    """Change an HDF5 file in place."""

    def damage(path):
        with h5py.File(path, "a") as file:
            change(file)

    return damage


def replace(group, name, values):
    del group[name]
    group[name] = values


@pytest.mark.parametrize("source", ["auto", "rosmap"])
def test_it_is_told_from_its_files(h5ad, h5seurat, folder, source):
    name = "rosmap_green_2024"
    assert choose(source, h5ad) == (name, "its obs has the columns 'projid', 'subset' and 'state'")
    assert choose(source, h5seurat) == (
        name,
        "its meta.data has the columns 'state' and 'individualID'",
    )
    assert choose(source, folder) == (name, "the folder holds 2 h5Seurat files")
    h5seurat.unlink()
    assert choose(source, h5ad.parent) == (name, f"the folder holds {SHARED}")


@pytest.mark.parametrize("name", sorted(WRITE))
def test_codings(tmp_path, name):
    found = read(WRITE[name](tmp_path / name))
    donors = donors_of(found)
    # Both forms name the donors alike, though one gives projid and the other one individualID.
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
    assert np.isnan(donors["pmi"].iloc[1]) and set(donors["pmi"].dropna()) == {6.25}
    assert set(donors["adnc"]) == {-1} and set(donors["thal"]) == {-1}
    pairs = zip(found.obs["cell_type"], found.obs["cell_class"], strict=True)
    assert set(pairs) == {
        ("Excitatory Neurons", "excitatory"),
        ("Inhibitory Neurons", "inhibitory"),
        ("Astrocyte", "glia"),
        ("OPCs", "glia"),
    }
    assert set(found.obs["supertype"]) == {"Exc.3", "Inh.16", "Ast.10", "OPC.1"}
    assert set(found.obs["region"]) == {"dorsolateral prefrontal cortex"}
    assert donors["batch"].str.startswith("190403-B").all()
    assert set(found.obs["source:subset"]) == {"CUX2+", "Inhibitory", "Astrocytes", "OPCs"}


@pytest.mark.parametrize("limit", [7, 1 << 20])
@pytest.mark.parametrize("name", sorted(WRITE))
def test_counts_keep_to_their_cells_and_genes(tmp_path, name, limit):
    found = read(WRITE[name](tmp_path / name))
    counts = layouts.read_counts(found.counts, tmp_path / "s", limit)
    assert (counts != layout_rosmap.green_counts()).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.obs.index.tolist() == layout_rosmap.green_cells().index.tolist()


@pytest.mark.parametrize("limit", [7, 1 << 20])
def test_files_of_a_folder_are_put_together_over_all_their_genes(folder, tmp_path, limit):
    found = read(folder)
    cells = layout_rosmap.green_cells()
    expected = pd.DataFrame(
        layout_rosmap.green_counts().toarray(), cells.index, list(layouts.GENES)
    )
    expected.loc[cells["cell.type"].isin(NEURONS), "APP"] = 0
    expected.loc[cells["cell.type"].isin(OTHERS), "MT-CO1"] = 0
    assert sorted(found.genes["symbol"]) == sorted(layouts.GENES)
    counts = layouts.read_counts(found.counts, tmp_path / "s", limit).toarray()
    np.testing.assert_array_equal(
        counts, expected.loc[found.obs.index, found.genes["symbol"].tolist()]
    )
    assert donors_of(found).index.tolist() == layout_rosmap.PROJID
    (warning,) = found.warnings
    assert warning.startswith("The 2 files name 20 genes together, one of them only 19;")


def test_reading_goes_on_at_the_end_of_any_block(folder, tmp_path):
    counts = read(folder).counts
    ends = np.cumsum([block.shape[0] for block in counts.blocks(500, tmp_path / "s")])
    whole = layouts.read_counts(counts, tmp_path / "s")
    assert ends.tolist()[-1] == 96 and 48 in ends[1:-1]  # several blocks in each of the two files
    for start in ends[:-1]:
        rest = [block.toarray() for block in counts.blocks(500, tmp_path / "s", start)]
        np.testing.assert_array_equal(np.vstack(rest), whole[start:].toarray())


def test_files_of_the_same_genes_give_no_warning(tmp_path):
    for name, types in (("a.h5Seurat", NEURONS), ("b.h5Seurat", OTHERS)):
        layout_rosmap.write_h5seurat(tmp_path / name, types)
    found = read(tmp_path)
    assert found.counts.shape == (96, 20) and not found.warnings


@pytest.mark.parametrize("form", [SHARED, SEURAT, "folder"])
def test_preprocess(tmp_path, folder, form):
    path = folder if form == "folder" else WRITE[form](tmp_path / form)
    run(path, tmp_path / "out")
    cohort = read_cohort(tmp_path / "out" / "cohort.h5ad")
    cells = layout_rosmap.green_cells()
    written = pd.DataFrame(layout_rosmap.green_counts().toarray(), cells.index, list(layouts.GENES))
    if form == "folder":
        written.loc[cells["cell.type"].isin(NEURONS), "APP"] = 0
        written.loc[cells["cell.type"].isin(OTHERS), "MT-CO1"] = 0
    if form == SHARED:
        written = written.drop(index=written.index[5])  # the doublet
    assert set(cohort.obs_names) == set(written.index)
    expected = written.loc[cohort.obs_names, cohort.var_names]
    np.testing.assert_array_equal(cohort.X.toarray(), expected)
    assert set(cohort.obs["cell_type"]) == set(layout_rosmap.GREEN_TYPES)
    assert (cohort.obs.groupby("donor_id", observed=True)["split"].nunique() == 1).all()


def test_doublets_are_counted(h5ad, tmp_path):
    run(h5ad, tmp_path / "out")
    qc = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert qc["doublet"] == 1
    assert qc["no_cell_type"] == 0 and qc["no_donor_id"] == 0


@pytest.mark.parametrize(
    "as_written",
    [
        lambda projid: projid,
        lambda projid: projid.astype(int),
        lambda projid: projid.astype(float),
        lambda projid: projid.astype("category"),
        lambda projid: projid.str.lstrip("0"),
    ],
    ids=["padded", "integer", "float", "categorical", "unpadded text"],
)
def test_projid_in_any_form(tmp_path, as_written):
    projid = as_written(layout_rosmap.green_cells()["projid"])
    found = read(layout_rosmap.write_green_h5ad(tmp_path / SHARED, projid=projid))
    assert donors_of(found).index.tolist() == layout_rosmap.PROJID


def test_a_missing_projid_leaves_the_cell_out(tmp_path):
    projid = layout_rosmap.green_cells()["projid"].astype(float)
    projid.iloc[:3] = np.nan
    found = read(layout_rosmap.write_green_h5ad(tmp_path / SHARED, projid=projid))
    assert np.flatnonzero(found.excluded["no_donor_id"]).tolist() == [0, 1, 2]
    assert not found.excluded["no_cell_type"].any()


def test_individual_that_was_not_found_is_left_out(h5seurat):
    """Nuclei that could not be assigned to a donor have the text NA."""

    def unassigned(file):
        ids = file["meta.data/individualID"][:]
        ids[:4] = b"NA"
        replace(file["meta.data"], "individualID", ids)

    in_file(unassigned)(h5seurat)
    assert np.flatnonzero(read(h5seurat).excluded["no_donor_id"]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", sorted(WRITE))
def test_annotation_beside_the_counts(tmp_path, name, ending):
    """Its types and donors are taken; cells that it does not name are left out as unlabelled."""
    path = WRITE[name](tmp_path / name)
    cells = layout_rosmap.green_cells().drop(index=layout_rosmap.green_cells().index[[0, 95]])
    cells.loc[cells.index[0], "cell.type"] = "Microglia"
    table = layout_rosmap.write_annotation(tmp_path / ANNOTATION, cells)
    if ending:
        (tmp_path / f"{ANNOTATION}.gz").write_bytes(gzip.compress(table.read_bytes()))
        table.unlink()
    found = read(path)
    assert str(tmp_path / f"{ANNOTATION}{ending}") in map(str, found.files)
    assert np.flatnonzero(found.excluded["no_cell_type"]).tolist() == [0, 95]
    assert found.obs["cell_type"].iloc[1] == "Microglia"
    assert donors_of(found).index.tolist() == layout_rosmap.PROJID
    assert found.obs["batch"].iloc[1] == "190403-B0-A"
    run(path, tmp_path / "out")
    qc = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert qc["no_cell_type"] == 2 and qc["no_donor_id"] == 0


def test_annotation_of_the_full_atlas_names_the_cells_otherwise(h5seurat, tmp_path):
    cells = layout_rosmap.green_cells().rename_axis("cell").drop(columns="libraryBatch")
    layout_rosmap.write_annotation(tmp_path / "cell-annotation.full-atlas.csv", cells)
    found = read(h5seurat)
    assert not found.excluded["no_cell_type"].any()
    assert found.obs["batch"].iloc[0] == "190403-B0-A"  # meta.data's


def test_annotation_and_clinical_table_may_stand_elsewhere(h5seurat, tmp_path):
    expected = read(h5seurat).obs
    moved = tmp_path / "moved"
    moved.mkdir()
    tables = {
        "cells": str(layout_rosmap.write_annotation(moved / "mine.csv")),
        "clinical": str(shutil.move(tmp_path / CLINICAL, moved / "c.csv")),
    }
    found = read(h5seurat, tables=tables)
    names = [str(h5seurat), tables["cells"], tables["clinical"]]
    assert rosmap_green_2024.files(h5seurat, tables) == names == [str(f) for f in found.files]
    pd.testing.assert_frame_equal(
        found.obs.filter(regex="^(?!source:)"), expected.filter(regex="^(?!source:)")
    )


def test_files_are_named_before_they_exist(tmp_path):
    path = tmp_path / "later" / SHARED
    assert rosmap_green_2024.files(path, {}) == [str(path), str(path.parent / CLINICAL)]


def test_columns_values_and_counts_of_the_user(h5seurat):
    found = read(
        h5seurat,
        columns={"cell_type": "state", "donor_id": "projid"},
        values={"cell_type": {"Exc.3": "my type"}},
        counts="assays/RNA/data",
    )
    assert set(found.obs["cell_type"]) == {"my type", "Inh.16", "Ast.10", "OPC.1"}
    assert donors_of(found).index.tolist() == layout_rosmap.PROJID
    assert found.counts.where.startswith("assays/RNA/data of")


def test_a_file_without_dims_and_with_dense_counts(tmp_path):
    """SeuratDisk need not write `dims`; R writes a dense matrix column by column."""
    path = layout_rosmap.write_h5seurat(tmp_path / SEURAT, dims=False)
    expected = layout_rosmap.green_counts()
    assert (layouts.read_counts(read(path).counts, tmp_path / "s") != expected).nnz == 0
    in_file(lambda f: replace(f["assays/RNA"], "counts", expected.toarray()))(path)
    assert (layouts.read_counts(read(path).counts, tmp_path / "d") != expected).nnz == 0


def h5ad_with(change):
    def damage(path):
        adata = ad.read_h5ad(path)
        change(adata)
        adata.write_h5ad(path)

    return damage


def log_values(adata):
    adata.X = adata.X.log1p()


def clinical(change):
    return lambda path: edit(path.parent / CLINICAL, change)


def annotation(change):
    def damage(path):
        layout_rosmap.write_annotation(path.parent / ANNOTATION)
        edit(path.parent / ANNOTATION, change)

    return damage


def turned_round(file):
    """Store the counts by gene, as if the object had been transposed."""
    counts = layout_rosmap.green_counts().tocsc()
    group = file["assays/RNA/counts"]
    for name in ("data", "indices", "indptr"):
        replace(group, name, getattr(counts, name))
    group.attrs["dims"] = np.array(counts.shape)


def empty(path):
    path.unlink()
    path.with_name("notes.txt").write_text("nothing here")


def text_for_projid(a):
    a.obs["projid"] = ["X1", *a.obs["projid"].astype(str)[1:]]


MALFORMED = {
    "log values": (SHARED, h5ad_with(log_values), "not whole numbers.*in X of the h5ad"),
    "no subset": (
        SHARED,
        h5ad_with(lambda a: a.obs.drop(columns="subset", inplace=True)),
        "no column for cell_type; its columns are projid, state",
    ),
    "projid is no number": (SHARED, h5ad_with(text_for_projid), "'projid' holds 'X1'"),
    "no clinical table": (
        SHARED,
        lambda path: (path.parent / CLINICAL).unlink(),
        "ROSMAP_clinical.csv does not exist.*--clinical",
    ),
    "clinical rows missing": (
        SHARED,
        clinical(lambda t: t.drop(index=[5, 6])),
        "2 of 8 donors have no row in .*such as 00070365, 00070378",
    ),
    "clinical rows missing by individualID": (
        SEURAT,
        clinical(lambda t: t.drop(index=[5])),
        "1 of 8 donors have no row in .*such as R9100035",
    ),
    "projid twice, padded and not": (
        SHARED,
        clinical(lambda t: t.assign(projid=[t["projid"][0], "70300", *t["projid"][2:]])),
        "projid 00070300 occurs more than once",
    ),
    "semicolons": (
        SHARED,
        lambda path: (path.parent / CLINICAL).write_text("projid;Study\n1;ROS\n"),
        "separated by commas|which character separates",
    ),
    "doublet mark": (
        SHARED,
        h5ad_with(lambda a: a.obs.__setitem__("is.doublet.df", "maybe")),
        "'is.doublet.df' holds 'maybe'",
    ),
    "annotation of other cells": (
        SHARED,
        annotation(lambda t: t.assign(barcode=t["cellBarcode"])),
        "names none of the 96 cells.*--cell-table",
    ),
    "annotation without barcodes": (
        SEURAT,
        annotation(lambda t: t.drop(columns="barcode")),
        "no column barcode; its columns are individualID, .*barcode or cell",
    ),
    "annotation names a cell twice": (
        SEURAT,
        annotation(lambda t: pd.concat([t, t.iloc[:2]])),
        "names 2 cells more than once",
    ),
    "no counts": (
        SEURAT,
        in_file(lambda f: f.__delitem__("assays/RNA/counts")),
        "no matrix assays/RNA/counts; assays/RNA holds data, features",
    ),
    "log values in counts": (
        SEURAT,
        in_file(lambda f: replace(f, "assays/RNA/counts/data", f["assays/RNA/data/data"][:])),
        "not whole numbers.*assays/RNA/counts",
    ),
    "no assay RNA": (
        SEURAT,
        in_file(lambda f: f.move("assays/RNA", "assays/SCT")),
        r"has no assays/RNA/features; its assays are \['SCT'\]",
    ),
    "no cell names": (
        SEURAT,
        in_file(lambda f: f.__delitem__("cell.names")),
        "lacks cell.names or meta.data; it holds assays, meta.data",
    ),
    "too few cell names": (
        SEURAT,
        in_file(lambda f: replace(f, "cell.names", f["cell.names"][:-1])),
        "meta.data/.* cannot be read: 96 rows for 95 cells",
    ),
    "too few features": (
        SEURAT,
        in_file(lambda f: replace(f, "assays/RNA/features", f["assays/RNA/features"][:-1])),
        "96 cells and 20 genes, but the tables beside it name 96 cells and 19 genes",
    ),
    "counts by gene": (SEURAT, in_file(turned_round), "the wrong way round: transpose it"),
    "no row bounds": (
        SEURAT,
        in_file(lambda f: f.__delitem__("assays/RNA/counts/indptr")),
        "assays/RNA/counts of .* cannot be read",
    ),
    "factor without its levels": (
        SEURAT,
        in_file(lambda f: replace(f, "meta.data/state/levels", f["meta.data/state/levels"][:2])),
        "meta.data/state of .* cannot be read: a factor of 2 levels has the value [34]",
    ),
    "nothing to read": (SHARED, empty, "no known layout|does not exist"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_message_helps_and_nothing_stays(tmp_path, case):
    name, damage, message = MALFORMED[case]
    path = WRITE[name](tmp_path / name)
    damage(path)
    refused(message, path, tmp_path / "out", source="rosmap_green_2024")


def test_a_gene_twice_in_files_of_other_genes(folder, tmp_path):
    def doubled(file):
        names = file["assays/RNA/features"][:]
        names[3] = names[2]
        replace(file["assays/RNA"], "features", names)

    in_file(doubled)(folder / "cux2+.h5Seurat")
    refused("names 1 genes twice, such as GFAP", folder, tmp_path / "out")


def test_a_folder_without_counts(tmp_path):
    (tmp_path / "notes").mkdir()
    refused("holds no h5Seurat file", tmp_path / "notes", tmp_path / "out",
            source="rosmap_green_2024")  # fmt: skip
