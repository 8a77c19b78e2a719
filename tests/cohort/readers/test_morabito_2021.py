"""Morabito 2021: codings, cells that the table lacks, the chromatin files beside it."""

import h5py
import numpy as np
import pandas as pd
import pytest

from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import read_cohort
from scsw.cohort.readers import morabito_2021
from scsw.cohort.request import Request
from scsw.cohort.sources import choose, input_files
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts
from tests.cohort.readers import layout_morabito_2021 as layout


@pytest.fixture
def folder(tmp_path):
    return layout.write(tmp_path / "GSE174367")


def read(path, **asked):
    return morabito_2021.read(Request(path, **asked))


def edit_cells(folder, edit):
    path = folder / layout.CELLS
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    edit(table).to_csv(path, index=False)


def edit_h5(folder, edit):
    with h5py.File(folder / layout.COUNTS, "a") as file:
        edit(file["matrix"])


def replaced(group, name, values):
    del group[name]
    group[name] = values


@pytest.mark.parametrize("name", [None, layout.COUNTS])
def test_it_is_told_from_folder_or_file(folder, name):
    path = folder / name if name else folder
    source, how = choose("auto", path)
    assert source == "morabito_2021"
    assert layout.CELLS in how
    assert input_files("auto", str(path)) == [
        str(folder / layout.COUNTS),
        str(folder / layout.CELLS),
    ]


def test_files_are_named_before_they_exist(tmp_path):
    public = [str(tmp_path / "no" / name) for name in (layout.COUNTS, layout.CELLS)]
    assert morabito_2021.files(tmp_path / "no", {}) == public
    assert morabito_2021.files(tmp_path / "no" / layout.COUNTS, {"cells": "t.csv"}) == [
        public[0],
        "t.csv",
    ]


def test_the_chromatin_files_of_the_series_are_passed_over(folder):
    for name in (layout.COUNTS, layout.CELLS):
        (folder / name.replace("RNA", "ATAC")).write_bytes((folder / name).read_bytes())
    (folder / "GSE174367_filtered_peak_bc_matrix.h5").write_bytes(b"")
    assert choose("auto", folder)[0] == "morabito_2021"
    assert [file.name for file in read(folder).files] == [layout.COUNTS, layout.CELLS]


def test_a_file_of_cell_ranger_alone_is_not_claimed(folder):
    (folder / layout.CELLS).unlink()
    with pytest.raises(ScswError, match="no known layout"):
        choose("auto", folder / layout.COUNTS)


def test_codings(folder):
    obs = read(folder).obs
    obs = obs[obs["donor_id"].astype(str) != ""].astype({"donor_id": str})
    donors = obs.drop_duplicates("donor_id").set_index("donor_id").sort_index()
    assert donors.index.tolist() == [f"Sample-{100 + d}" for d in range(8)]
    assert donors["braak"].tolist() == [1, 2, 5, 6] * 2
    assert donors["sex"].tolist() == ["female", "male"] * 4
    assert donors["age_death"].tolist() == [79.0 + d for d in range(8)]
    assert not donors["age_censored"].any()
    assert np.isnan(donors["pmi"].iloc[5]) and donors["pmi"].iloc[0] == 3.5
    assert donors["batch"].tolist() == ["1", "2", "3", "1", "2", "3", "1", "2"]
    # Neither plaque stage nor diagnosis is one of the shared scales.
    for field in ("thal", "cerad", "adnc", "cognition"):
        assert set(donors[field]) == {-1}, field
    assert donors["source:Plaque.Stage"].tolist() == [*layout.PLAQUES] * 2
    assert set(donors["source:Diagnosis"]) == {"AD", "Control"}
    assert set(donors["source:RIN"]) == {"7.9"}
    assert set(donors["region"]) == {morabito_2021.REGION}
    assert set(zip(obs["cell_type"], obs["cell_class"], strict=True)) == {
        ("EX", "excitatory"),
        ("INH", "inhibitory"),
        ("ASC", "glia"),
        ("ODC", "glia"),
        ("OPC", "glia"),
        ("MG", "immune"),
        ("PER.END", "vascular"),
    }
    assert obs["supertype"].astype(str).tolist() == [f"{t}1" for t in obs["cell_type"]]


@pytest.mark.parametrize(
    "word, stage",
    [("Stage 0", 0), ("Stage VI", 6), ("Braak 3", 3), ("IV", 4), ("NA", -1), ("", -1)],
)
def test_spellings_of_a_tangle_stage(folder, word, stage):
    edit_cells(folder, lambda table: table.assign(**{"Tangle.Stage": word}))
    assert set(read(folder).obs["braak"]) == {stage} | {-1}  # −1: cells without a row


@pytest.mark.parametrize("limit", [11, 1 << 20])
def test_counts_and_genes(folder, tmp_path, limit):
    found = read(folder)
    expected = layout.counts_of(layouts.cells(8, 14, layout.TYPES)[1])
    assert (layouts.read_counts(found.counts, tmp_path / "s", limit) != expected).nnz == 0
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert found.genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def test_features_of_other_kinds_are_left_out(folder, tmp_path):
    kinds = np.array(["Gene Expression"] * len(layouts.GENES), dtype="S20")
    kinds[[0, 7]] = b"Antibody Capture"
    edit_h5(folder, lambda group: replaced(group["features"], "feature_type", kinds))
    found = read(folder)
    kept = np.flatnonzero(kinds == b"Gene Expression")
    expected = layout.counts_of(layouts.cells(8, 14, layout.TYPES)[1])[:, kept]
    assert (layouts.read_counts(found.counts, tmp_path / "s") != expected).nnz == 0
    assert found.genes["symbol"].tolist() == [list(layouts.GENES)[place] for place in kept]


def test_cells_without_a_row_are_left_out_and_counted(folder, tmp_path):
    found = read(folder)
    assert np.flatnonzero(found.excluded["no_cell_type"]).tolist() == [110, 111]
    out = tmp_path / "out"
    settings = section_settings("preprocess", layouts.SETTINGS)
    preprocess(folder, out, cohort="made", settings=settings)
    qc = pd.read_csv(out / "qc.tsv", sep="\t")
    # The first filter, so that it is not taken for a lack of donors.
    assert qc.iloc[0][["filter", "before", "removed"]].tolist() == ["no_cell_type", 112, 2]
    assert qc.set_index("filter").loc["no_donor_id", "removed"] == 0


def test_the_whole_step(folder, tmp_path):
    out = tmp_path / "out"
    settings = section_settings("preprocess", layouts.SETTINGS)
    preprocess(folder, out, cohort="made", settings=settings, training=True)
    cohort = read_cohort(out / "cohort.h5ad")
    assert cohort.n_obs == 110 and cohort.uns["scsw"]["source"] == "morabito_2021"
    assert cohort.obs.groupby("donor_id")["split"].nunique().max() == 1
    written = layout.counts_of(layouts.cells(8, 14, layout.TYPES)[1])
    place = [int(name[4:10]) for name in cohort.obs["cell_id"]]
    columns = [list(layouts.GENES).index(symbol) for symbol in cohort.var["symbol"]]
    assert (written[place][:, columns] != cohort.X).nnz == 0


def test_columns_may_be_named(folder):
    edit_cells(folder, lambda table: table.rename(columns={"Cell.Type": "type", "Sex": "g"}))
    found = read(folder, columns={"cell_type": "type", "sex": "g"})
    assert set(found.obs["sex"][:100]) == {"female", "male"}


def rename(**names):
    return lambda folder: edit_cells(folder, lambda table: table.rename(columns=names))


def set_first(column, value):
    def edit(table):
        table.loc[0, column] = value
        return table

    return lambda folder: edit_cells(folder, edit)


def old_cell_ranger(folder):
    with h5py.File(folder / layout.COUNTS, "a") as file:
        file.move("matrix", "GRCh38")


def truncated(folder):
    path = folder / layout.COUNTS
    path.write_bytes(path.read_bytes()[:4000])


def rows_twice(folder):
    edit_cells(folder, lambda table: pd.concat([table, table[:1]]))


def other_cells(folder):
    edit_cells(folder, lambda table: table.assign(Barcode="x" + table["Barcode"]))


def two_files(folder):
    (folder / "other_filtered_feature_bc_matrix.h5").write_bytes(b"")


def on_h5(edit):
    return lambda folder: edit_h5(folder, edit)


def shorten(name):
    return on_h5(lambda group: replaced(group, name, group[name][:-1]))


def fractions(group):
    replaced(group, "data", group["data"][:] + 0.25)


def peaks(group):
    kinds = np.array([b"Peaks"] * len(layouts.GENES))
    replaced(group["features"], "feature_type", kinds)


MALFORMED = [
    (rename(Barcode="cell"), "no column Barcode"),
    (rename(SampleID="who"), "no column for donor_id"),
    (rename(**{"Cell.Type": "what"}), "no column for cell_type"),
    (set_first("Tangle.Stage", "Stage 7"), "'Stage 7', which is no value of braak"),
    (set_first("Sex", "X"), "'X', which is no value of sex"),
    (rows_twice, "more than once"),
    (other_cells, "names none of the 112 cells"),
    (lambda folder: (folder / layout.CELLS).unlink(), "cell_meta.csv.gz does not exist"),
    (two_files, "several h5 files"),
    (old_cell_ranger, "no matrix/barcodes.*Cell Ranger 3"),
    (truncated, "cannot be opened as HDF5"),
    (shorten("barcodes"), "barcodes .* holds 111 names where its shape tells 112"),
    (shorten("indices"), "indices for"),
    (on_h5(peaks), "holds no genes, but Peaks"),
    (on_h5(fractions), "not whole numbers"),
    (on_h5(lambda group: replaced(group, "data", -group["data"][:])), "negative values"),
]


@pytest.mark.parametrize("damage, message", MALFORMED, ids=[text for _, text in MALFORMED])
def test_malformed(folder, tmp_path, damage, message):
    damage(folder)
    out = tmp_path / "out"
    settings = section_settings("preprocess", layouts.SETTINGS)
    with pytest.raises(ScswError, match=message):
        preprocess(folder, out, cohort="made", source="morabito_2021", settings=settings)
    assert not out.exists() or not list(out.iterdir())
