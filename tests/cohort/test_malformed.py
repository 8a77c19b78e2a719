"""Each broken input ends in one message that helps, and leaves nothing behind."""

import gzip
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from scsw.cohort.preprocess import preprocess
from scsw.cohort.request import Request
from scsw.errors import ScswError
from scsw.settings import section_settings
from tests.cohort import layouts


@dataclass
class Case:
    """One broken input: how it comes about and what the message must say."""

    name: str
    layout: str
    message: str
    edit: Any = None  # of the AnnData before it is written
    damage: Any = None  # of the file or folder after it is written
    source: str = ""  # by default the layout's
    settings: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)  # of the user's request
    options: dict[str, Any] = field(default_factory=dict)


def drop_obs(*names):
    return lambda a: a.obs.drop(columns=list(names), inplace=True)


def set_obs(name, value):
    def edit(a):
        a.obs[name] = value

    return edit


def set_first(name, value):
    def edit(a):
        is_number = pd.api.types.is_numeric_dtype(a.obs[name])
        column = a.obs[name].astype(float if is_number else object)
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
MTX = "filtered_count_matrix.mtx"
ROSMAP = "rosmap_mathys_2019"


def no_cells(a):
    a._inplace_subset_obs(np.zeros(a.n_obs, bool))


def of_group(name, change, key="layers/UMIs"):
    """Change one array of a sparse matrix in a written file."""

    def damage(path):
        with h5py.File(path, "a") as file:
            values = change(file[key][name][:])
            del file[key][name]
            file[key][name] = values

    return damage


def at(place, value):
    def change(values):
        values[place] = value
        return values

    return change


def bad_chunk(path):
    """Overwrite a gzip chunk of the counts, as a disk fault would."""
    with h5py.File(path, "a") as file:
        values = file["layers/UMIs/data"][:]
        del file["layers/UMIs/data"]
        packed = file["layers/UMIs"].create_dataset(
            "data", data=values, chunks=(100,), compression="gzip", shuffle=True
        )
        packed.id.write_direct_chunk((200,), b"\x00" * 90)


def bad_text(key):
    def damage(path):
        with h5py.File(path, "a") as file:
            name = file[key].attrs["_index"]
            n = file[key][name].shape[0]
            del file[key][name]
            file[key][name] = np.array([b"\xff\xfe"] * n)

    return damage


def without_var(path):
    with h5py.File(path, "a") as file:
        del file["var"]


def text_layer(path):
    with h5py.File(path, "a") as file:
        del file["layers/UMIs"]
        file["layers/UMIs"] = np.full((120, 20), b"1")


def no_matrix_layer(path):
    with h5py.File(path, "a") as file:
        del file["layers/UMIs"]
        file["layers/UMIs"] = "see the other file"


def latin(name):
    """Put a letter into a text file that is no UTF-8."""

    def damage(folder):
        file = folder / name
        file.write_bytes(file.read_bytes().replace(b"Ast", b"\xc4st").replace(b"34", b"\xe434")
                         .replace(b"APP", b"\xc4PP"))  # fmt: skip

    return damage


def packed(change):
    """Gzip the matrix, then damage it."""

    def damage(folder):
        content = gzip.compress((folder / MTX).read_bytes())
        (folder / f"{MTX}.gz").write_bytes(change(content))
        (folder / MTX).unlink()

    return damage


def edit_matrix(change):
    def damage(folder):
        lines = (folder / MTX).read_text().splitlines()
        (folder / MTX).write_text("\n".join(change(lines)) + "\n")

    return damage


def last_entry(**changes):
    """Change the row, the column or the value of the last entry."""

    def change(lines):
        entry = dict(zip(("row", "column", "value"), lines[-1].split(), strict=True))
        return [*lines[:-1], " ".join(map(str, (entry | changes).values()))]

    return edit_matrix(change)


def only_a_readme(folder):
    for file in list(folder.iterdir()):
        file.unlink()
    (folder / "README.txt").write_text("moved")


def nameless_gene(a):
    a.var_names = ["", *a.var_names[1:]]
    a.var["gene_ids"] = ["", *a.var["gene_ids"][1:]]


def two_sources(a):
    a.obs["donor_id"], a.obs["suspension_type"] = a.obs["Donor ID"], "nucleus"


def cps_table(text):
    def damage(path):
        (path.parent / "cps.csv").write_text(text)

    return damage


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
    Case("unknown override field", "sea_ad", "the field 'colour'.*braak, ",
         asked={"columns": {"colour": "Sex"}}),
    Case("unknown override", "sea_ad",
         "`columns: sex: gender` names a column that .* does not have; its columns are Donor ID",
         asked={"columns": {"sex": "gender"}}),
    Case("unknown field of values", "sea_ad", "`values` names the field 'colour'",
         asked={"values": {"colour": {"red": "blue"}}}),
    Case("value outside its coding", "sea_ad", "'sex' holds 'f'.*'female', 'male', 'unknown'",
         asked={"values": {"sex": {"Female": "f"}}}),
    Case("no such matrix", "sea_ad", "has no matrix layers/raw",
         asked={"counts": "layers/raw"}),
    Case("normalised matrix named", "sea_ad", "^X of .*not whole numbers",
         asked={"counts": "X"}),
    Case("no cells", "sea_ad", "holds no cells", edit=no_cells),
    Case("no var", "sea_ad", "has no var; it holds X, .*Expected: an h5ad", damage=without_var),
    Case("bad chunk", "sea_ad", "layers/UMIs of .* a compressed chunk is damaged.*download",
         damage=bad_chunk),
    Case("index out of range", "sea_ad", "damaged: an index 999 where there are 20",
         damage=of_group("indices", at(7, 999))),
    Case("negative index", "sea_ad", "damaged: an index -1 where there are 20",
         damage=of_group("indices", at(7, -1))),
    Case("row bounds", "sea_ad", "damaged: its row bounds end at",
         damage=of_group("indptr", at(-1, 3))),
    Case("fewer values than bounds", "sea_ad", "damaged: its row bounds end at .* values",
         damage=of_group("data", lambda values: values[:-9])),
    Case("fewer indices", "sea_ad", "damaged: .* indices for .* values",
         damage=of_group("indices", lambda values: values[:-9])),
    Case("texts for counts", "sea_ad", "not numbers.*raw counts", damage=text_layer),
    Case("a note for counts", "sea_ad", "layers/UMIs of .* is not a matrix",
         damage=no_matrix_layer),
    Case("barcodes no UTF-8", "sea_ad", "obs of .* cannot be read", damage=bad_text("obs")),
    Case("gene names no UTF-8", "sea_ad", "var of .* cannot be read", damage=bad_text("var")),
    Case("mixed codings", "sea_ad", "'Braak' holds '5 or 6', which is no value of braak"
         ".*Expected: Braak 0 to Braak VI.*`columns: braak:`",
         edit=set_first("Braak", "5 or 6")),
    Case("Thal", "sea_ad", "'Thal' holds 'Thal 9'", edit=set_first("Thal", "Thal 9")),
    Case("CERAD", "sea_ad", "'CERAD score' holds 'Definite'",
         edit=set_first("CERAD score", "Definite")),
    Case("ADNC", "sea_ad", "'Overall AD .* holds 'Severe'.*Not AD, Low, Intermediate, High",
         edit=set_first("Overall AD neuropathological Change", "Severe")),
    Case("PMI", "sea_ad", "'PMI' holds 'inf'", edit=set_first("PMI", "inf")),
    Case("doublet score", "sea_ad", "'Doublet score' holds '-2'",
         edit=set_first("Doublet score", -2.0)),
    Case("mitochondrial share in per cent", "sea_ad", "'Fraction mitochondrial UMIs' holds '1.5'",
         edit=set_first("Fraction mitochondrial UMIs", 1.5)),
    Case("used", "sea_ad", "'Used in analysis' holds 'maybe'",
         edit=set_first("Used in analysis", "maybe")),
    Case("empty barcode", "sea_ad", "1 cells have no barcode",
         edit=lambda a: setattr(a, "obs_names", ["", *a.obs_names[1:]])),
    Case("gene without a name", "sea_ad", "1 genes of var .* neither symbol nor id",
         edit=nameless_gene),
    Case("no CPS table", "sea_ad", "cps.csv does not exist", asked={"tables": {"cps": "cps.csv"}}),
    Case("CPS of other donors", "sea_ad", "score for none of the cohort's donors, such as H20",
         damage=cps_table("Donor ID,Continuous Pseudo-progression Score\nX,0.5\n"),
         asked={"tables": {"cps": "cps.csv"}}),
    Case("CPS with another separator", "sea_ad", "has no column 'Donor ID'",
         damage=cps_table("Donor ID;Continuous Pseudo-progression Score\nX;0.5\n"),
         asked={"tables": {"cps": "cps.csv"}}),
    Case("CPS of two values", "sea_ad", "gives donor 'H20.33.004' several scores",
         damage=cps_table("Donor ID,Continuous Pseudo-progression Score\n"
                          "H20.33.004,0.5\nH20.33.004,0.6\n"),
         asked={"tables": {"cps": "cps.csv"}}),
    Case("rare types only", "sea_ad",
         "no cell of 120 passes.*min_cells_per_type removed 120 of 120.*section `preprocess`",
         settings={"min_cells_per_type": 1000}),
    Case("not enough memory", "sea_ad",
         r"0\.1 GB of memory are too few for .* 120 cells.*about .* GB.*preprocess.memory_gb",
         settings={"memory_gb": 0.1}),
    # Told from the file
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
    # ROSMAP
    Case("not a folder", ROSMAP, "does not exist", options={"path": "nowhere"}),
    Case("no matrix", ROSMAP, "does not exist", damage=remove(MTX)),
    Case("no clinical", ROSMAP, "ROSMAP_clinical.csv does not exist", damage=remove(
        "ROSMAP_clinical.csv")),
    Case("transposed matrix", ROSMAP, "the wrong way round", damage=transposed_mtx),
    Case("log matrix", ROSMAP, "not whole numbers.*not a normalised one", damage=log_mtx),
    Case("no matrix market", ROSMAP, "cannot be read as a Matrix Market", damage=lambda f: (
        f / MTX).write_text("1 2 3\n")),
    Case("truncated matrix", ROSMAP, "cannot be read as a Matrix Market", damage=lambda f: (
        truncate(f / MTX))),
    Case("wrong separator", ROSMAP,
         "no column TAG; its columns are TAG,projid.*a tab-separated table.*separates its columns",
         damage=rewrite(CELLS, "\t", ",")),
    Case(
        "clinical separator",
        ROSMAP,
        "no column projid; its columns are projid;Study.*comma-separated.*separates its columns",
        damage=rewrite("ROSMAP_clinical.csv", ",", ";"),
    ),
    Case(
        "clinical rows missing",
        ROSMAP,
        "2 of 8 donors have no row in .*such as 00090155, 00090166.*--clinical",
        damage=edit_clinical(lambda t: t.drop(index=[5, 6])),
    ),
    Case(
        "duplicated projid",
        ROSMAP,
        "projid 00090100 occurs more than once",
        damage=edit_clinical(lambda t: pd.concat([t, t.iloc[:1]])),
    ),
    Case(
        "projid no number",
        ROSMAP,
        "'projid' holds 'X1'",
        damage=edit_clinical(lambda t: t.assign(projid=["X1", *t["projid"][1:]])),
    ),
    Case(
        "MSBB's CERAD",
        ROSMAP,
        "'ceradsc' holds '5'",
        damage=edit_clinical(lambda t: t.assign(ceradsc="5")),
    ),
    Case(
        "no label column",
        ROSMAP,
        "no column for cell_type",
        damage=edit_cells(lambda t: t.drop(columns="broad.cell.type")),
    ),
    Case("metadata too short", ROSMAP, "belong to different files or one is incomplete",
         damage=edit_cells(lambda t: t.iloc[:-3])),
    Case("gene names too short", ROSMAP, "96 cells and 19 genes",
         damage=rewrite("filtered_gene_row_names.txt", "MT-CO1\n", "")),
    Case("matrix index out of range", ROSMAP, "a column 97 where there are 96.*download",
         damage=last_entry(column=97)),
    Case("matrix index from zero", ROSMAP, "a row 0 where there are 20",
         damage=last_entry(row=0)),
    Case("negative count", ROSMAP, "negative values, such as -3", damage=last_entry(value=-3)),
    Case("missing count", ROSMAP, "missing or infinite", damage=last_entry(value="nan")),
    Case("count of text", ROSMAP, "cannot be read as a Matrix Market.*many",
         damage=last_entry(value="many")),
    Case("too few values", ROSMAP, r"it holds \d+ of \d+ values",
         damage=edit_matrix(lambda lines: lines[:-4])),
    Case("too many values", ROSMAP, r"it holds \d+ of \d+ values",
         damage=edit_matrix(lambda lines: [*lines, "1 1 1"])),
    Case("symmetric matrix", ROSMAP, "it is symmetric, not general",
         damage=rewrite(MTX, "general", "symmetric")),
    Case("damaged gzip", ROSMAP, "mtx.gz cannot be read as a Matrix Market.*download",
         damage=packed(lambda b: b[: len(b) // 2])),
    Case("no gzip", ROSMAP, "mtx.gz cannot be read as a Matrix Market.*gzip",
         damage=packed(gzip.decompress)),
    Case("metadata no UTF-8", ROSMAP, f"{CELLS} cannot be read as a table.*utf-8",
         damage=latin(CELLS)),
    Case("clinical no UTF-8", ROSMAP, "ROSMAP_clinical.csv cannot be read as a table.*utf-8",
         damage=latin("ROSMAP_clinical.csv")),
    Case("gene names no UTF-8", ROSMAP, "filtered_gene_row_names.txt is no UTF-8 text",
         damage=latin("filtered_gene_row_names.txt")),
    Case("no barcodes", ROSMAP, "no column TAG; its columns are projid",
         damage=edit_cells(lambda t: t.drop(columns="TAG"))),
    Case("empty clinical table", ROSMAP, "ROSMAP_clinical.csv cannot be read as a table",
         damage=lambda f: (f / "ROSMAP_clinical.csv").write_text("")),
    Case("mixed codings of Braak", ROSMAP, "'braaksc' holds 'stage five'.*0 to 6",
         damage=edit_clinical(lambda t: t.assign(braaksc=["stage five", *t["braaksc"][1:]]))),
    Case("no donor known", ROSMAP, "no donor id for any",
         damage=edit_cells(lambda t: t.assign(projid=""))),
    Case("Ensembl table", ROSMAP, "not an Ensembl id, a tab and a symbol",
         damage=rewrite("notfiltered_gene_row_names.txt", "\t", " ")),
    # CELLxGENE
    Case("log values in raw", "cellxgene", "raw.X .*not whole numbers", edit=log_in_raw),
    Case("log values in X", "cellxgene", "X of .*not whole numbers.*in raw.X, or in X",
         edit=lambda a: setattr(a, "raw", None)),
    Case("mouse", "cellxgene", "genes of another species, such as ENSMUSG", edit=mouse_genes),
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


@pytest.mark.parametrize("case", CASES, ids=[f"{c.layout}: {c.name}" for c in CASES])
def test_message_helps_and_nothing_stays(case, tmp_path):
    path, source, settings, request, options = prepared(case, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ScswError) as caught:
        preprocess(
            path,
            tmp_path / "out",
            cohort="c",
            source=source,
            settings=section_settings("preprocess", settings),
            request=request,
            **options,
        )
    message = str(caught.value)
    assert re.search(case.message, message, flags=re.DOTALL), message
    assert "Expected: " in message or "To mend it: " in message, message
    assert contents(tmp_path) == before


COMMANDS = {
    "truncated", "log values in layer", "bad chunk", "no known columns", "clinical rows missing",
    "damaged gzip", "not enough memory", "unknown source",
}  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c.name in COMMANDS], ids=lambda c: c.name)
def test_the_command_ends_in_one_message(case, tmp_path):
    path, source, settings, _, _ = prepared(case, tmp_path)
    before = contents(tmp_path)
    given = ["--out", tmp_path / "out", "--source", source]
    given += ["--config", json.dumps({"preprocess": settings})]
    command = [sys.executable, "-m", "scsw.cli", "preprocess", path, *given]
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""
    (message,) = re.findall(r"^Error: .*", result.stderr, flags=re.MULTILINE | re.DOTALL)
    assert re.search(case.message, message, flags=re.DOTALL), message
    assert contents(tmp_path) == before


def test_there_are_enough_cases():
    assert len(CASES) == len({(case.layout, case.name) for case in CASES}) >= 100
    assert {case.name for case in CASES} >= COMMANDS


def prepared(case, folder):
    """Write the input; return what `preprocess` is to be called with."""
    options = dict(case.options)
    path = _written(case, folder)
    if "path" in options:
        path = folder / options.pop("path")
    if options.get("checkpoint") == "other_species":
        options["checkpoint"] = _checkpoint(folder / "other_species")
    asked = dict(case.asked)
    tables = {role: str(folder / name) for role, name in asked.pop("tables", {}).items()}
    request = Request(path, tables=tables, **asked)
    return path, case.source or case.layout, layouts.SETTINGS | case.settings, request, options


def contents(folder):
    """List all that stands in a folder, the empty folder of results aside."""
    return {entry for entry in folder.rglob("*") if entry != folder / "out"}


def _written(case, folder):
    if case.layout == ROSMAP:
        path = layouts.write_rosmap(folder / "rosmap")
    elif case.layout == "cellxgene":
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
