"""Any h5ad: usual column names are found, and codes are refused until the user explains them."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.readers import generic
from scsw.cohort.request import Request
from scsw.cohort.sources import choose, input_files
from scsw.errors import ScswError
from scsw.settings import check, parse_settings, schema
from tests.cohort import layouts
from tests.cohort.readers.layout_generic import TYPES, stored_counts, write
from tests.cohort.readers.running import refused, run

NAMED = {"donor_id": "Donor", "cell_type": "Cell Type"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("own") / "own.h5ad")


def read(path, **asked):
    return generic.read(Request(path, **asked))


def donors_of(found):
    return found.obs.astype({"donor_id": str}).drop_duplicates("donor_id").set_index("donor_id")


def demultiplexed(a):
    """As vireo and rpy2 leave them; 12 nuclei have no donor and 2 no type."""
    donor = a.obs["Donor"].to_numpy(object)
    donor[:12] = np.repeat(["doublet", "unassigned", "None", "NA_character_"], 3)
    a.obs["Donor"] = donor
    a.obs["Cell Type"] = np.where(np.arange(a.n_obs) // 2 == 10, "Unassigned", a.obs["Cell Type"])


def test_what_demultiplexing_calls_the_rest_is_no_donor(tmp_path):
    run(write(tmp_path / "own.h5ad", demultiplexed), tmp_path / "out")
    made = ad.read_h5ad(tmp_path / "out" / "cohort.h5ad")
    assert set(made.obs["donor_id"]) == {f"K{d}" for d in range(8)}
    removed = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")["removed"]
    assert removed["no_donor_id"] == 12 and removed["no_cell_type"] == 2


def portal(a):
    """Use the words of the AD Knowledge Portal's harmonised metadata."""
    n = a.obs["Donor"].str[1:].astype(int).to_numpy()
    a.obs = a.obs.rename(columns={"Age at Death": "ageDeath", "APOE": "apoeGenotype"})
    a.obs = a.obs.drop(columns=["Braak stage", "CERAD"])
    a.obs["Braak"] = np.array(["missing or unknown", "Stage I", "Stage V"])[n % 3]
    a.obs["amyThal"] = np.array(["missing or unknown", "Phase 1", "Phase 5"])[n % 3]
    words = "None/No AD/C0 Sparse/Possible/C1 Moderate/Probable/C2 Frequent/Definite/C3"
    a.obs["amyCerad"] = np.array(words.replace("None/No AD", "None/No_AD").split())[n % 4]
    a.obs["amyCerad"] = a.obs["amyCerad"].str.replace("_", " ")


def test_the_words_of_the_ad_knowledge_portal(tmp_path):
    donors = donors_of(read(write(tmp_path / "own.h5ad", portal)))
    assert donors["braak"].tolist() == [-1, 1, 5, -1, 1, 5, -1, 1]
    assert donors["thal"].tolist() == [-1, 1, 5, -1, 1, 5, -1, 1]
    assert donors["cerad"].tolist() == [0, 1, 2, 3] * 2
    assert donors["age_death"].iloc[0] == 70 and donors["age_censored"].iloc[7]
    assert donors["apoe_genotype"].iloc[2] == "24"


def test_it_is_the_last_resort_if_the_donors_and_types_columns_are_known(path, tmp_path):
    donor, cell_type = (NAMED[field] for field in ("donor_id", "cell_type"))
    name, reason = choose("auto", path, NAMED)
    assert name == "generic" and repr(donor) in reason and repr(cell_type) in reason
    assert choose("auto", path)[0] == "generic"  # by their usual names
    assert choose("generic", path) == ("generic", "named by the user")
    adata = ad.read_h5ad(path)
    adata.obs = adata.obs.drop(columns=list(generic.usual_columns(list(adata.obs))["cell_type"]))
    adata.write_h5ad(tmp_path / "untyped.h5ad")
    with pytest.raises(ScswError, match=r"no known layout.*--donor-column and --cell-type-column"):
        choose("auto", tmp_path / "untyped.h5ad")
    assert input_files("generic", str(path), {"cells": "t.csv"}) == [str(path), "t.csv"]


def test_no_other_source_s_files_are_taken(tmp_path):
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    assert choose("auto", path, {"donor_id": "Donor ID", "cell_type": "Subclass"})[0] == "sea_ad"


def test_usual_names_and_words(path):
    obs = read(path).obs
    donors = donors_of(read(path))
    assert donors.index.tolist() == [f"K{d}" for d in range(8)]
    assert donors["braak"].tolist() == [0, 2, 4, 6, -1, 0, 2, 4]
    assert donors["cerad"].tolist() == [0, 1, 2, 3] * 2
    assert donors["adnc"].tolist() == [0, 1, 2, 3] * 2
    assert donors["cognition"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert donors["sex"].tolist() == ["female", "male"] * 4
    assert donors["apoe_genotype"].tolist() == ["34", "33", "24", ""] * 2
    assert donors["age_death"].tolist() == [70, 71, 72, 73, 74, 75, 76, 90]
    assert donors["age_censored"].tolist() == [False] * 7 + [True]
    assert set(donors["pmi"]) == {4.5} and set(donors["region"]) == {"entorhinal cortex"}
    assert donors["batch"].tolist() == [f"L{d}" for d in range(8)]
    assert set(obs["source:diagnosis"]) == {"AD", "Control"}  # no measure of cognition
    assert dict(zip(obs["cell_type"], obs["cell_class"], strict=True)) == dict(
        zip(TYPES, ["excitatory", "glia", "immune", "vascular"], strict=True)
    )


def test_the_user_s_columns_come_first(tmp_path):
    def two(a):
        a.obs["subject"], a.obs["fine"] = a.obs["Donor"] + "x", a.obs["Cell Type"] + "_1"

    path = write(tmp_path / "own.h5ad", two)
    asked = {"donor_id": "subject", "cell_type": "fine", "braak": ""}
    found = read(path, columns=asked)
    assert found.obs["donor_id"].iloc[0] == "K0x" and set(found.obs["braak"]) == {-1}
    assert set(found.obs["cell_type"]) == {f"{name}_1" for name in TYPES}
    assert read(path).obs["donor_id"].iloc[0] == "K0"


CODES = [
    ("Sex", ["0", "1"], {"sex": {"0": "female", "1": "male"}}, ["female", "male"]),
    ("CERAD", [4, 1], {"cerad": {4: 0, 1: 3}}, [0, 3]),  # YAML reads 4 as a number
    ("ADNC", ["1", "3"], {"adnc": {"1": 1, "3": 3}}, [1, 3]),
    ("Cognitive_Status", ["NCI", "5"], {"cognition": {"5": 2}}, [0, 2]),
    ("Braak stage", ["I/II", "V"], {"braak": {"I/II": 2}}, [2, 5]),
    ("APOE", ["e4 carrier", "33"], {"apoe_genotype": {"e4 carrier": ""}}, ["", "33"]),
]


def test_an_age_that_the_user_explains_is_no_truth_value(tmp_path):
    """The age says whether it is a lower bound, too; a number of years in its place does not."""

    def in_words(a):
        a.obs["Age at Death"] = np.where(a.obs["Donor"] == "K0", "very old", ">89")

    path = write(tmp_path / "own.h5ad", in_words)
    donors = donors_of(read(path, values={"age_death": {"very old": 95}}))
    assert donors["age_death"].tolist() == [95, *[89] * 7]
    assert donors["age_censored"].tolist() == [False, *[True] * 7]


def test_a_code_that_means_missing(tmp_path):
    def coded(a):
        a.obs["PMI"] = np.where(a.obs["Donor"] == "K2", 999, 5)

    path, out = write(tmp_path / "own.h5ad", coded), tmp_path / "out"
    refused("'PMI' holds '999'.*{pmi: {'5': …, '999': …}}.*or null", path, out, source="generic")
    values = parse_settings('{"pmi": {"999": null}}', "--values")
    check(values, schema()["properties"]["cohorts"]["items"]["properties"]["values"], "--values")
    assert donors_of(read(path, values=values))["pmi"].isna().sum() == 1


@pytest.mark.parametrize(("column", "codes", "values", "expected"), CODES)
def test_codes_are_refused_until_the_user_explains_them(tmp_path, column, codes, values, expected):
    def coded(a):
        a.obs[column] = np.array(codes)[(a.obs["Donor"] == "K1").to_numpy().astype(int)]

    path = write(tmp_path / "own.h5ad", coded)
    field = next(iter(values))
    places = ", ".join(f"'{code}': …" for code in sorted(map(str, codes)))
    with pytest.raises(ScswError) as caught:
        read(path)
    assert f"column '{column}' holds " in str(caught.value)
    assert f"`values: {{{field}: {{{places}}}}}`" in str(caught.value)
    found = donors_of(read(path, values=values))
    assert found[field].tolist()[:2] == expected


def test_a_class_column_stands_before_the_type_s_name(tmp_path):
    def classed(a):
        a.obs["class"] = np.where(a.obs["Cell Type"] == "Astrocyte", "NN", "")

    path = write(tmp_path / "own.h5ad", classed)
    assert set(read(path).obs["cell_class"]) == {"excitatory", "glia", "immune", "vascular"}
    mapped = read(path, values={"cell_class": {"NN": "other"}}).obs  # still told by its name
    assert set(mapped["cell_class"]) == {"excitatory", "glia", "immune", "vascular"}
    mapped = read(path, values={"cell_class": {"NN": "vascular"}}).obs
    assert set(mapped["cell_class"]) == {"excitatory", "immune", "vascular"}


@pytest.mark.parametrize("place", ["raw", "layers", "X"])
def test_counts_wherever_they_stand(tmp_path, place):
    def moved(a):
        counts = a.layers.pop("counts")
        if place == "raw":
            a.raw = ad.AnnData(X=counts, obs=a.obs, var=a.var)
        elif place == "layers":
            a.layers["Raw"] = counts.tocsc()
        else:
            a.X = counts.toarray()

    found = read(write(tmp_path / "own.h5ad", moved))
    assert (layouts.read_counts(found.counts, tmp_path) != stored_counts()).nnz == 0


def beside_genes(a):
    """As scanpy reads Cell Ranger's files: antibodies with names of genes, and a peak."""
    names = ["CX3CR1", "TREM2", "chr1:100-600"]
    more = sparse.csr_matrix(np.full((a.n_obs, 3), 40, np.float32))
    kinds = ["Antibody Capture", "Antibody Capture", "Peaks"]
    both = ad.AnnData(
        sparse.hstack([more[:, :2], a.layers["counts"], more[:, 2:]]).tocsr(),
        obs=a.obs,
        var=pd.DataFrame(
            {"feature_types": [*kinds[:2], *["Gene Expression"] * a.n_vars, kinds[2]]},
            index=[*names[:2], *a.var_names, names[2]],
        ),
    )
    a.__dict__.update(both.__dict__)


def test_antibodies_and_peaks_are_no_genes(tmp_path):
    found = read(write(tmp_path / "own.h5ad", beside_genes))
    assert found.genes["symbol"].tolist() == list(layouts.GENES)
    assert (layouts.read_counts(found.counts, tmp_path) != stored_counts()).nnz == 0


def as_counts(function):
    def edit(a):
        values = function(a.layers["counts"].toarray())
        a.layers["counts"] = sparse.csr_matrix(values.astype(np.float32))

    return edit


def per_cell(counts):
    return np.rint(counts / counts.sum(axis=1, keepdims=True) * 1e5)


def test_cell_types_that_differ_in_case_only_are_told(tmp_path):
    def shouted(a):
        a.obs["Cell Type"] = np.where(a.obs["Donor"] == "K1", "ASTROCYTE", a.obs["Cell Type"])

    (sentence,) = read(write(tmp_path / "own.h5ad", shouted)).warnings
    assert sentence.endswith("kept apart: 'ASTROCYTE', 'Astrocyte'.")


@pytest.mark.parametrize("share", [1, 0.9, 0.5, 2])
def test_counts_that_do_not_add_up_to_what_the_source_says_are_told(tmp_path, share):
    def seurat(a):
        stated = np.asarray(a.layers["counts"].sum(axis=1)).ravel() / share
        a.obs["nCount_RNA"] = np.where(a.obs["Donor"] == "K3", np.nan, stated)

    run(write(tmp_path / "own.h5ad", seurat), tmp_path / "out")
    made = ad.read_h5ad(tmp_path / "out" / "cohort.h5ad")
    told = [f"The counts of a cell add up to {share:.0%}"] * (share not in (1, 0.9))
    assert [sentence[: len(told[0])] for sentence in made.uns["scsw"]["warnings"]] == told


def test_a_donor_s_name_in_two_studies_is_told(tmp_path):
    def joined(a):
        a.obs["study"] = np.where(a.obs["Donor"] == "K3", np.resize(["A", "B", ""], a.n_obs), "A")

    (sentence,) = read(write(tmp_path / "own.h5ad", joined)).warnings
    assert sentence.startswith("1 donors' names, such as K3, stand in several studies")


def test_the_user_s_counts_are_taken_and_checked(path, tmp_path):
    assert read(path, counts="layers/counts").counts.where.startswith("layers/counts of")
    message = "X of .* not whole.*layers/counts of this file holds whole numbers: name it with"
    refused(message, path, tmp_path / "out", source="generic", counts="X")
    refused("has no matrix layers/no", path, tmp_path / "out", source="generic", counts="layers/no")


@pytest.mark.parametrize("form", ["ids", "numbers"])
def test_genes_by_id_or_number(tmp_path, form):
    def renamed(a):
        a.var = pd.DataFrame(
            {"gene_name": a.var_names, "ensembl_id": a.var["gene_ids"].to_numpy()},
            index=a.var["gene_ids"] + ".3" if form == "ids" else [str(n) for n in range(a.n_vars)],
        )

    genes = read(write(tmp_path / "own.h5ad", renamed)).genes
    assert genes["symbol"].tolist() == list(layouts.GENES)
    assert genes["ensembl_id"].tolist() == list(layouts.GENES.values())


def test_rosmap_s_donors_have_the_names_of_its_other_sets(tmp_path):
    def numbered(a):
        a.obs["projid"] = [277_442 + int(name[1:]) for name in a.obs.pop("Donor")]

    donors = donors_of(read(write(tmp_path / "own.h5ad", numbered)))
    assert donors.index.tolist() == [f"0027744{d}" for d in range(2, 10)]


def test_labels_from_a_table(tmp_path):
    path = write(tmp_path / "own.h5ad", lambda a: a.obs.drop(columns="Cell Type", inplace=True))
    labels = pd.DataFrame({"cluster": np.resize(["a", "b", "c"], 100), "braak": "V"})
    labels.index = [f"cell{n}" for n in range(100)]
    labels.to_csv(tmp_path / "labels.csv")
    asked = {"tables": {"cells": str(tmp_path / "labels.csv")}, "columns": {"cell_type": "cluster"}}
    found = read(path, **asked)
    assert found.obs["cell_type"].tolist()[:4] == ["a", "b", "c", "a"]
    assert found.excluded["no_cell_type"].sum() == 28
    assert found.obs["braak"].tolist() == [5] * 100 + [-1] * 28  # before obs's "Braak stage"
    assert found.files == [path, tmp_path / "labels.csv"]


def test_the_step(path, tmp_path):
    run(path, tmp_path / "out", columns=NAMED)
    made = ad.read_h5ad(tmp_path / "out" / "cohort.h5ad")
    columns = [list(layouts.GENES).index(name) for name in made.var_names]
    assert (stored_counts()[:, columns] != made.X).nnz == 0
    assert made.uns["scsw"]["source"] == "generic"


def drop(*names):
    return lambda a: a.obs.drop(columns=list(names), inplace=True)


def log_values(a):
    del a.layers["counts"]


def mouse(a):
    a.var_names = [f"ENSMUSG{n:011d}" for n in range(a.n_vars)]


def age_range(a):
    a.obs["Age at Death"] = "70-79"


def minutes(a):
    a.obs["PMI"] = 340.0


def two_sexes(a):
    a.obs["Sex"] = np.resize(["F", "M"], a.n_obs)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop("Donor"), "no column for donor_id; its columns are Cell Type.*a column for it"),
        (drop("Cell Type"), "no column for cell_type"),
        (log_values, "no matrix of .* holds whole numbers: X holds values that are not whole"),
        (mouse, "genes of another species"),
        (age_range, "'Age at Death' holds '70-79'.*`values: {age_death: {'70-79': …}}`"),
        (as_counts(np.sign), "every value of layers/counts of .* is 1 or 0"),
        (as_counts(per_cell), "all cells of layers/counts .* the same sum of counts, 1000"),
        (minutes, "'PMI' holds '340', which is no value of pmi. Expected: hours, at most 240"),
        (two_sexes, "donor 'K0' has several values of sex"),
    ],
)
def test_malformed(edit, message, tmp_path):
    path = write(tmp_path / "own.h5ad", edit)
    refused(message, path, tmp_path / "out", source="generic")


def test_what_was_read_as_what_is_told_and_recorded(path, tmp_path, capsys):
    run(path, tmp_path / "out", columns={"pmi": ""})
    told = capsys.readouterr().err
    assert f"counts from 'layers/counts of {path}'; donor_id from 'Donor'; " in told
    assert "; braak from 'Braak stage'; " in told and "no column for pmi, thal, cps" in told
    written = (tmp_path / "out" / "preprocess.provenance.json").read_text(encoding="utf-8")
    assert json.loads(written)["read_as"]["braak"] == "Braak stage"


def test_a_table_that_it_does_not_read(path, tmp_path):
    table = tmp_path / "donors.csv"
    table.write_text("donor,braak\nK0,5\n")
    message = (
        "`donor_table` names .*read as generic, which .*Expected: `cell_table`.*joined to its obs"
    )
    refused(message, path, tmp_path / "out", tables={"donors": str(table)})
    with pytest.raises(ScswError, match="`clinical` names c"):
        input_files("auto", str(path), {"clinical": "c.csv"})


def test_a_field_or_column_that_is_not_there(path, tmp_path):
    out = tmp_path / "out"
    refused("the field 'colour'", path, out, source="generic", columns={"colour": "Sex"})
    refused("the field 'colour'", path, out, source="generic", values={"colour": {"a": 1}})
    refused("names a column that", path, out, source="generic", columns={"sex": "no"})


def test_a_folder_and_a_file_of_another_kind(tmp_path):
    refused("is a folder", tmp_path, tmp_path / "out", source="generic")
    (tmp_path / "t.csv").write_text("a,b\n")
    refused("cannot be opened as HDF5", tmp_path / "t.csv", tmp_path / "out", source="generic")
