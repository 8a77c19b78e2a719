"""Each broken h5ad of SEA-AD or CELLxGENE ends in one message that helps, and leaves nothing."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.cohort.malformed import (
    Case,
    bad_text,
    check_refusal,
    drop_obs,
    legacy_obs,
    not_hdf5,
    truncate,
)


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


def without_obs(path):
    with h5py.File(path, "a") as file:
        del file["obs"]


def broken_group(path):
    with h5py.File(path, "a") as file:
        del file["layers/UMIs/indptr"]


def short_layer(path):
    with h5py.File(path, "a") as file:
        group = file["layers/UMIs"]
        group.attrs["shape"] = group.attrs["shape"][::-1]
        indptr = np.zeros(group.attrs["shape"][0] + 1, np.int32)
        del group["indptr"], group["indices"], group["data"]
        group["indptr"], group["indices"] = indptr, np.zeros(0, np.int32)
        group["data"] = np.zeros(0, np.float32)


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


def bad_chunk(path):
    """Overwrite a gzip chunk of the counts, as a disk fault would."""
    with h5py.File(path, "a") as file:
        values = file["layers/UMIs/data"][:]
        del file["layers/UMIs/data"]
        packed = file["layers/UMIs"].create_dataset(
            "data", data=values, chunks=(100,), compression="gzip", shuffle=True
        )
        packed.id.write_direct_chunk((200,), b"\x00" * 90)


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


def nameless_gene(a):
    a.var_names = ["", *a.var_names[1:]]
    a.var["gene_ids"] = ["", *a.var["gene_ids"][1:]]


def cps_table(text):
    def damage(path):
        (path.parent / "cps.csv").write_text(text)

    return damage


def at(place, value):
    def change(values):
        values[place] = value
        return values

    return change


CASES = [
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
    Case("log values in raw", "cellxgene", "raw.X .*not whole numbers", edit=log_in_raw),
    Case("log values in X", "cellxgene", "X of .*not whole numbers.*in raw.X, or in X",
         edit=lambda a: setattr(a, "raw", None)),
    Case("mouse", "cellxgene", "genes of another species, such as ENSMUSG", edit=mouse_genes),
    Case("swapped axes", "cellxgene", "cells in var and its genes in obs", damage="transpose"),
    Case("pooled donors", "cellxgene", "no donor id for any", edit=set_obs("donor_id", "pooled")),
    Case("sex term", "cellxgene", "'sex_ontology_term_id' holds 'PATO:1'",
         edit=set_first("sex_ontology_term_id", "PATO:1")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.layout}: {case.name}")
def test_message_helps_and_nothing_stays(case, tmp_path):
    check_refusal(case, tmp_path)
