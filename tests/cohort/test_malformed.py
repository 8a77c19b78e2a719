"""Each broken input ends in one message that helps, and leaves nothing behind."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from scsw.cohort.preprocess import preprocess
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts


@dataclass
class Case:
    """One broken input: how it comes about and what the message must say."""

    name: str
    source: str
    message: str
    edit: Any = None  # of the AnnData before it is written
    damage: Any = None  # of the file or folder after it is written
    settings: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def drop_obs(*names):
    return lambda a: a.obs.drop(columns=list(names), inplace=True)


def set_obs(name, value):
    def edit(a):
        a.obs[name] = value

    return edit


def set_first(name, value):
    def edit(a):
        column = a.obs[name].astype(object)
        column.iloc[0] = value
        a.obs[name] = column

    return edit


def layer(function):
    def edit(a):
        a.layers["UMIs"] = function(a.layers["UMIs"])

    return edit


def with_value(value):
    def change(matrix):
        matrix = matrix.copy()
        matrix.data[3] = value
        return matrix

    return layer(change)


def drop_layer(a):
    del a.layers["UMIs"]


def duplicate_barcode(a):
    a.obs_names = ["same", "same", *a.obs_names[2:]]


def log_in_raw(a):
    a.raw = a.copy()


def mouse_genes(a):
    names = [f"ENSMUSG{i:011d}" for i in range(a.n_vars)]
    raw = a.raw.to_adata()
    raw.var_names = names
    a.var_names = names
    a.raw = raw


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def not_hdf5(path):
    path.write_text("This is no h5ad.")


def without_obs(path):
    with h5py.File(path, "a") as file:
        del file["obs"]


def broken_group(path):
    with h5py.File(path, "a") as file:
        del file["layers/UMIs/indptr"]


def legacy_obs(path):
    with h5py.File(path, "a") as file:
        del file["obs"]
        file["obs"] = np.zeros(3, dtype=[("index", "S4"), ("Subclass", "i1")])


def short_layer(path):
    with h5py.File(path, "a") as file:
        group = file["layers/UMIs"]
        group.attrs["shape"] = group.attrs["shape"][::-1]
        indptr = np.zeros(group.attrs["shape"][0] + 1, np.int32)
        del group["indptr"], group["indices"], group["data"]
        group["indptr"], group["indices"] = indptr, np.zeros(0, np.int32)
        group["data"] = np.zeros(0, np.float32)


def transposed_mtx(folder):
    matrix = io.mmread(folder / "filtered_count_matrix.mtx")
    io.mmwrite(folder / "filtered_count_matrix.mtx", sparse.coo_matrix(matrix.T))


def log_mtx(folder):
    matrix = sparse.csr_matrix(io.mmread(folder / "filtered_count_matrix.mtx")).log1p()
    io.mmwrite(folder / "filtered_count_matrix.mtx", sparse.coo_matrix(matrix))


def edit_table(name, separator, change):
    def damage(folder):
        table = pd.read_csv(folder / name, sep=separator, dtype=str, keep_default_na=False)
        change(table).to_csv(folder / name, sep=separator, index=False)

    return damage


def edit_clinical(change):
    return edit_table("ROSMAP_clinical.csv", ",", change)


def edit_cells(change):
    return edit_table("filtered_column_metadata.txt", "\t", change)


def rewrite(name, old, new):
    def damage(folder):
        file = folder / name
        file.write_text(file.read_text().replace(old, new))

    return damage


def remove(name):
    return lambda folder: (folder / name).unlink()


CELLS = "filtered_column_metadata.txt"

CASES = [
    # SEA-AD
    Case("truncated", "sea_ad", "cannot be opened as HDF5", damage=truncate),
    Case("not HDF5", "sea_ad", "cannot be opened as HDF5", damage=not_hdf5),
    Case("missing file", "sea_ad", "does not exist", damage=Path.unlink),
    Case("no obs", "sea_ad", "has no obs", damage=without_obs),
    Case("broken group", "sea_ad", "layers/UMIs .*cannot be read", damage=broken_group),
    Case("legacy obs", "sea_ad", "anndata release of its own time", damage=legacy_obs),
    Case("missing layer", "sea_ad", r"no layers\['UMIs'\]; its layers are none", edit=drop_layer),
    Case(
        "log values in layer",
        "sea_ad",
        r"not whole numbers.*layers\['UMIs'\] and ln\(UP10K",
        edit=layer(lambda m: m.log1p()),
    ),
    Case("negative", "sea_ad", "negative values, such as -2", edit=with_value(-2)),
    Case("NaN", "sea_ad", "missing or infinite", edit=with_value(np.nan)),
    Case("infinite", "sea_ad", "missing or infinite", edit=with_value(np.inf)),
    Case("too large", "sea_ad", "too large for counts", edit=with_value(5e9)),
    Case("wrong orientation", "sea_ad", "the wrong way round: transpose it", damage=short_layer),
    Case("no donor column", "sea_ad", "no column for donor_id", edit=drop_obs("Donor ID")),
    Case("no donors", "sea_ad", "no donor id for any", edit=set_obs("Donor ID", "")),
    Case(
        "no cell types",
        "sea_ad",
        r"no column for cell_type; its columns are Donor ID, .*`columns: cell_type:`",
        edit=drop_obs("Subclass"),
    ),
    Case("one cell type", "sea_ad", "one cell type only: 'Sst'", edit=set_obs("Subclass", "Sst")),
    Case(
        "unknown Braak",
        "sea_ad",
        "column 'Braak' holds 'Braak VII', which is no value of braak",
        edit=set_first("Braak", "Braak VII"),
    ),
    Case(
        "unknown cognition",
        "sea_ad",
        "'Cognitive Status' holds 'Mild dementia'",
        edit=set_first("Cognitive Status", "Mild dementia"),
    ),
    Case("unknown sex", "sea_ad", "'Sex' holds 'F'", edit=set_first("Sex", "F")),
    Case("age", "sea_ad", "'Age at Death' holds 'old'", edit=set_first("Age at Death", "old")),
    Case("APOE", "sea_ad", "'APOE Genotype' holds '5/5'", edit=set_first("APOE Genotype", "5/5")),
    Case("duplicate barcode", "sea_ad", "more than once, such as same", edit=duplicate_barcode),
    Case(
        "donor with two sexes",
        "sea_ad",
        "donor 'H20.33.000' has several values of sex: female, male",
        edit=set_first("Sex", "Male"),
    ),
    Case(
        "reference atlas",
        "sea_ad",
        "neurotypical reference",
        edit=lambda a: a.obs.rename(columns={"Subclass": "subclass_label"}, inplace=True),
    ),
    Case(
        "empty after filters",
        "sea_ad",
        "no cell of 120 passes.*min_genes removed 120",
        settings={"min_genes": 10_000},
    ),
    Case(
        "no gene left",
        "sea_ad",
        "no gene of 20",
        settings={"min_cells_per_gene": 10_000},
    ),
    Case("unknown override field", "sea_ad", "the field 'colour'", columns={"colour": "Sex"}),
    Case("unknown override", "sea_ad", "names a column that", columns={"sex": "gender"}),
    # ROSMAP
    Case("not a folder", "rosmap", "does not exist", options={"path": "nowhere"}),
    Case("no matrix", "rosmap", "does not exist", damage=remove("filtered_count_matrix.mtx")),
    Case("no clinical", "rosmap", "ROSMAP_clinical.csv does not exist", damage=remove(
        "ROSMAP_clinical.csv")),
    Case("transposed matrix", "rosmap", "the wrong way round", damage=transposed_mtx),
    Case("log matrix", "rosmap", "not whole numbers.*not a normalised one", damage=log_mtx),
    Case("no matrix market", "rosmap", "cannot be read as a Matrix Market", damage=lambda f: (
        f / "filtered_count_matrix.mtx").write_text("1 2 3\n")),
    Case("truncated matrix", "rosmap", "cannot be read as a Matrix Market", damage=lambda f: (
        truncate(f / "filtered_count_matrix.mtx"))),
    Case("wrong separator", "rosmap", "separated by tabs", damage=rewrite(CELLS, "\t", ",")),
    Case(
        "clinical separator",
        "rosmap",
        "separated by commas",
        damage=rewrite("ROSMAP_clinical.csv", ",", ";"),
    ),
    Case(
        "clinical rows missing",
        "rosmap",
        "2 of 8 donors have no row in .*projid 00090155, 00090166",
        damage=edit_clinical(lambda t: t.drop(index=[5, 6])),
    ),
    Case(
        "duplicated projid",
        "rosmap",
        "projid 00090100 occurs more than once",
        damage=edit_clinical(lambda t: pd.concat([t, t.iloc[:1]])),
    ),
    Case(
        "projid no number",
        "rosmap",
        "'projid' holds 'X1'",
        damage=edit_clinical(lambda t: t.assign(projid=["X1", *t["projid"][1:]])),
    ),
    Case(
        "MSBB's CERAD",
        "rosmap",
        "'ceradsc' holds '5'",
        damage=edit_clinical(lambda t: t.assign(ceradsc="5")),
    ),
    Case(
        "no label column",
        "rosmap",
        "no column for cell_type",
        damage=edit_cells(lambda t: t.drop(columns="broad.cell.type")),
    ),
    Case("metadata too short", "rosmap", "belong to different files or one is incomplete",
         damage=edit_cells(lambda t: t.iloc[:-3])),
    Case("gene names too short", "rosmap", "96 cells and 19 genes",
         damage=rewrite("filtered_gene_row_names.txt", "MT-CO1\n", "")),
    Case("Ensembl table", "rosmap", "not an Ensembl id, a tab and a symbol",
         damage=rewrite("notfiltered_gene_row_names.txt", "\t", " ")),
    # CELLxGENE
    Case("log values in raw", "cellxgene", "raw.X .*not whole numbers", edit=log_in_raw),
    Case("log values in X", "cellxgene", "X of .*not whole numbers.*in raw.X, or in X",
         edit=lambda a: setattr(a, "raw", None)),
    Case("mouse", "cellxgene", "no gene of .* human Ensembl id", edit=mouse_genes),
    Case("swapped axes", "cellxgene", "cells in var and its genes in obs", damage="transpose"),
    Case("pooled donors", "cellxgene", "no donor id for any", edit=set_obs("donor_id", "pooled")),
    Case("sex term", "cellxgene", "'sex_ontology_term_id' holds 'PATO:1'",
         edit=set_first("sex_ontology_term_id", "PATO:1")),
    # The step
    Case("unknown source", "geo", "the source 'geo' is unknown"),
    Case("no checkpoint", "sea_ad", "no checkpoint is named",
         settings={"vocabulary": "checkpoint"}),
    Case("missing checkpoint", "sea_ad", "vocab.json does not exist",
         settings={"vocabulary": "checkpoint"}, options={"checkpoint": "nowhere"}),
    Case(
        "checkpoint is looked for before the cohort is read",
        "sea_ad",
        "vocab.json does not exist",
        settings={"vocabulary": "checkpoint"},
        options={"checkpoint": "nowhere", "path": "nowhere"},
    ),
    Case("shares", "sea_ad", "add up to 1.5", settings={"train": 0.9}),
    Case("little matched", "sea_ad", "of the counts belong to genes of the vocabulary",
         settings={"vocabulary": "checkpoint"}, options={"checkpoint": "other_species"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{c.source}: {c.name}" for c in CASES])
def test_message_helps_and_nothing_stays(case, tmp_path):
    out = tmp_path / "out"
    options = dict(case.options)
    path = _written(case, tmp_path)
    if "path" in options:
        path = tmp_path / options.pop("path")
    if options.get("checkpoint") == "other_species":
        options["checkpoint"] = _checkpoint(tmp_path / "other_species")
    settings = section_settings("preprocess", layouts.SETTINGS | case.settings)

    with pytest.raises(ScswError) as caught:
        preprocess(
            path,
            out,
            cohort="c",
            source=case.source,
            settings=settings,
            columns=case.columns,
            **options,
        )
    assert re.search(case.message, str(caught.value), flags=re.DOTALL), str(caught.value)
    assert not out.exists() or not list(out.iterdir())


def test_there_are_enough_cases():
    assert len(CASES) == len({(case.source, case.name) for case in CASES}) >= 50


def _written(case, folder):
    if case.source == "rosmap":
        path = layouts.write_rosmap(folder / "rosmap")
    elif case.source == "cellxgene":
        path = layouts.write_cellxgene(folder / "c.h5ad", edit=case.edit)
    else:
        path = layouts.write_sea_ad(folder / "s.h5ad", edit=case.edit)
    if case.damage == "transpose":
        with h5py.File(path, "a") as file:
            file.move("obs", "was_obs")
            file.move("var", "obs")
            file.move("was_obs", "var")
    elif case.damage:
        case.damage(path)
    return path


def _checkpoint(folder):
    folder.mkdir()
    (folder / "vocab.json").write_text('{"<pad>": 0, "<cls>": 1, "<eoc>": 2, "SST": 3}')
    return folder
