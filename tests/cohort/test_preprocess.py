"""The whole step, on each source's layout and on the real example."""

import hashlib
import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scsw.cohort.h5_matrix import CountsByCell
from scsw.cohort.harmonise import CODINGS, validate
from scsw.cohort.preprocess import preprocess
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.cohort.request import Request
from scsw.cohort.sources import input_files
from scsw.cohort.spool import Spool
from scsw.errors import ScswError
from scsw.resources import resource
from scsw.settings import section_settings
from tests.cohort import layouts

WRITE = {
    "sea_ad": lambda folder: layouts.write_sea_ad(folder / "s.h5ad"),
    "rosmap_mathys_2019": lambda folder: layouts.write_rosmap(folder / "rosmap"),
    "cellxgene": lambda folder: layouts.write_cellxgene(folder / "c.h5ad"),
}
FILES = {
    "cohort.h5ad",
    "vocab.json",
    "qc.tsv",
    "qc_histograms.tsv",
    "coverage.tsv",
    "donors.tsv",
    "preprocess.provenance.json",
}


def run(path, out, checkpoint=None, **given):
    settings = section_settings("preprocess", layouts.SETTINGS | given)
    preprocess(path, out, cohort="made", settings=settings, checkpoint=checkpoint)
    return read_cohort(out / "cohort.h5ad")


@pytest.fixture(scope="module", params=sorted(WRITE))
def made(request, tmp_path_factory):
    """One source's cohort, preprocessed: source, path, out."""
    folder = tmp_path_factory.mktemp(request.param)
    path = WRITE[request.param](folder)
    run(path, folder / "out")
    return request.param, path, folder / "out"


def test_files_and_contract(made):
    source, _, out = made
    assert {file.name for file in out.iterdir()} == FILES
    stored = ad.read_h5ad(out / "cohort.h5ad")
    assert isinstance(stored.X, sparse.csr_matrix) and stored.X.dtype == np.int32
    assert stored.X.has_sorted_indices
    assert stored.obs.columns.tolist()[: len(CODINGS)] == list(CODINGS)
    assert all(name.startswith("source:") for name in stored.obs.columns[len(CODINGS) :])
    assert stored.obs_names.tolist() == stored.obs["cell_id"].tolist()
    assert stored.var.columns.tolist() == ["symbol", "ensembl_id", "token_id"]
    assert stored.var["token_id"].is_monotonic_increasing
    assert set(cohort_facts(out / "cohort.h5ad")) == {
        "cohort",
        "source",
        "vocabulary_sha256",
        "vocabulary_source",
        "split_unit",
        "not_for_training",
        "simulated",
        "warnings",
        "n_donors",
    }
    assert cohort_facts(out / "cohort.h5ad")["source"] == source


def test_annotation_is_valid_and_no_donor_crosses(made):
    _, _, out = made
    obs = read_cohort(out / "cohort.h5ad").obs
    validate(obs)
    assert (obs.groupby("donor_id")["split"].nunique() == 1).all()
    assert set(obs["split"]) == {"train", "validation", "discovery", "test"}


def test_counts_are_the_sources_counts(made):
    source, path, out = made
    cohort = read_cohort(out / "cohort.h5ad")
    if source == "sea_ad":
        written = ad.read_h5ad(path)
        expected = pd.DataFrame(
            written.layers["UMIs"].toarray(), written.obs_names, written.var_names
        )
    elif source == "cellxgene":
        written = ad.read_h5ad(path)
        expected = pd.DataFrame(written.raw.X.toarray(), written.obs_names, list(layouts.GENES))
    else:
        types = layouts.cells(8, 12, layouts.MATHYS_TYPES)[1]
        cells = pd.read_csv(path / "filtered_column_metadata.txt", sep="\t")["TAG"]
        expected = pd.DataFrame(layouts.counts(types, seed=2).toarray(), cells, list(layouts.GENES))
    expected = expected.loc[cohort.obs_names, cohort.var_names]
    np.testing.assert_array_equal(cohort.X.toarray(), expected)
    np.testing.assert_array_equal(cohort.obs["total_counts"], expected.sum(axis=1))


def test_vocabulary_file_is_the_one_that_is_named(made):
    _, _, out = made
    content = (out / "vocab.json").read_bytes()
    facts = cohort_facts(out / "cohort.h5ad")
    assert facts["vocabulary_sha256"] == hashlib.sha256(content).hexdigest()
    vocabulary = json.loads(content)
    var = read_cohort(out / "cohort.h5ad").var
    assert var["token_id"].tolist() == [vocabulary[name] for name in var["symbol"]]


def test_losses_add_up(made):
    _, _, out = made
    qc = pd.read_csv(out / "qc.tsv", sep="\t")
    cohort = read_cohort(out / "cohort.h5ad")
    for axis, size in (("cells", cohort.n_obs), ("genes", cohort.n_vars)):
        rows = qc[qc["axis"] == axis]
        assert rows["after"].iloc[-1] == size
        assert rows["before"].tolist()[1:] == rows["after"].tolist()[:-1]
    coverage = pd.read_csv(out / "coverage.tsv", sep="\t").set_index("matched_by")
    assert coverage.loc["total", "counts"] == cohort.obs["total_counts"].sum()


def test_provenance_names_every_input(made):
    source, path, out = made
    record = json.loads((out / "preprocess.provenance.json").read_text())
    named = {entry["path"] for entry in record["inputs"].values()}
    assert set(input_files(source, str(path))) <= named
    assert record["parameters"]["min_genes"] == layouts.SETTINGS["min_genes"]
    assert record["seed"] == 0 and record["simulated"] is False


def test_same_input_same_bytes(made, tmp_path):
    _, path, out = made
    run(path, tmp_path / "again")
    for name in FILES - {"preprocess.provenance.json"}:
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_failed_run_leaves_an_earlier_result_whole(tmp_path):
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    run(path, tmp_path / "out")
    before = {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    with pytest.raises(ScswError):
        run(path, tmp_path / "out", min_counts=10**6)
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == before


def test_sea_ad_references_train_and_rosmap_has_braak_but_no_adnc(tmp_path):
    sea_ad = run(WRITE["sea_ad"](tmp_path), tmp_path / "a").obs
    assert set(sea_ad.loc[sea_ad["is_reference"], "split"]) == {"train"}
    rosmap = run(WRITE["rosmap_mathys_2019"](tmp_path), tmp_path / "b").obs
    assert set(rosmap["adnc"]) == {-1} and rosmap["braak"].max() == 6
    assert cohort_facts(tmp_path / "b" / "cohort.h5ad")["warnings"] == []


def test_genes_that_meet_in_one_token_are_added_up(tmp_path):
    """A gene that only its Ensembl id names (AQP4 as "AQP4-1" with the id of CLU) joins CLU."""
    clu = "ENSG00000999999"

    def twin(a):
        names = list(layouts.GENES)
        ids = list(layouts.GENES.values())
        ids[names.index("CLU")] = clu
        ids[names.index("AQP4")] = layouts.GENES["CLU"] + ".4"
        names[names.index("AQP4")] = "AQP4-1"
        a.var_names, a.var["gene_ids"] = names, ids

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tokens = ["<pad>", "<cls>", "<eoc>", "ZZZ", "SNAP25", "APP", "APOE", "MAPT", "CLU", "BIN1"]
    content = json.dumps({name: 10 * i for i, name in enumerate(tokens)})
    (folder / "vocab.json").write_text(content)
    path = layouts.write_sea_ad(tmp_path / "s.h5ad", edit=twin)
    out = tmp_path / "out"
    cohort = run(path, out, str(folder), vocabulary="checkpoint", min_count_share=0.2)
    assert cohort.var_names.tolist() == ["SNAP25", "APP", "APOE", "MAPT", "CLU", "BIN1"]
    assert cohort.var["token_id"].tolist() == [40, 50, 60, 70, 80, 90]
    assert cohort.var.loc["CLU", "ensembl_id"] == clu  # of the gene that is matched by symbol
    written = ad.read_h5ad(path)[cohort.obs_names].layers["UMIs"].toarray()
    genes = list(layouts.GENES)
    expected = written[:, genes.index("CLU")] + written[:, genes.index("AQP4")]
    np.testing.assert_array_equal(cohort[:, "CLU"].X.toarray().ravel(), expected)
    assert (out / "vocab.json").read_text() == content
    # Of all counts, not of those matched.
    np.testing.assert_array_equal(cohort.obs["total_counts"], written.sum(axis=1))


def test_cells_without_a_matched_count_and_types_without_training_are_dropped(tmp_path):
    def odd(a):
        types = a.obs["Subclass"].astype(str).to_numpy()
        types[-3:] = "Chandelier"  # in the last donor only, which does not train with this seed
        a.obs["Subclass"] = types
        counts = a.layers["UMIs"].tolil()
        counts[0, :-2] = 0
        counts[0, -2:] = 9
        a.layers["UMIs"] = counts.tocsr()
        a.var_names = [*a.var_names[:-2], "NEW1", "NEW2"]
        a.var["gene_ids"] = [*a.var["gene_ids"][:-2], "", ""]

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tokens = ["<pad>", "<cls>", "<eoc>", *list(layouts.GENES)[:-2]]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(tokens)}))
    path = layouts.write_sea_ad(tmp_path / "s.h5ad", edit=odd)
    last = "H20.33.009"
    for seed in range(20):
        given = {"vocabulary": "checkpoint", "min_genes": 2, "split_seed": seed}
        with pd.option_context("mode.chained_assignment", "raise"):  # pandas warns users else
            cohort = run(path, tmp_path / "out", str(folder), **given)
        if (cohort.obs.loc[cohort.obs["donor_id"] == last, "split"] != "train").any():
            break
    assert "Chandelier" not in set(cohort.obs["cell_type"])
    warnings = cohort_facts(tmp_path / "out" / "cohort.h5ad")["warnings"]
    assert warnings == ["Cell types without a training cell were dropped: Chandelier."]
    qc = pd.read_csv(tmp_path / "out" / "qc.tsv", sep="\t").set_index("filter")
    assert qc.loc["type_not_in_training", "removed"] == 3
    assert qc.loc["no_matched_counts", "removed"] == 1


def test_missing_mitochondrial_genes_are_told(tmp_path):
    def no_mito(a):
        names = [name.replace("MT-", "NOT-") for name in a.var_names]
        a.var_names = names
        a.obs.drop(columns="Fraction mitochondrial UMIs", inplace=True)

    path = layouts.write_sea_ad(tmp_path / "s.h5ad", edit=no_mito)
    cohort = run(path, tmp_path / "out", max_pct_mito=1)
    assert cohort.obs["pct_mito"].isna().all()
    assert "max_pct_mito was not applied" in cohort.uns["scsw"]["warnings"][0]


def test_the_real_example(tmp_path):
    """Real whole cells in CELLxGENE layout against scGPT's census vocabulary."""
    settings = section_settings(
        "preprocess",
        {"min_genes": 100, "min_counts": 300, "max_pct_mito": 100, "min_cells_per_type": 10},
    )
    path = resource("htan_exemplar.h5ad")
    preprocess(path, tmp_path, cohort="htan", source="cellxgene", settings=settings)
    cohort = read_cohort(tmp_path / "cohort.h5ad")
    raw = ad.read_h5ad(path).raw.to_adata()
    assert cohort.n_obs == 559  # 6 hepatocytes are too few
    assert sorted(cohort.obs["cell_type"].unique()) == [
        "T cell",
        "endothelial cell",
        "fibroblast",
        "macrophage",
        "malignant cell",
        "monocyte",
    ]
    assert set(cohort.obs["donor_id"]) == {"HTA200_330"}
    assert set(cohort.obs["sex"]) == {"female"}
    assert set(cohort.obs["adnc"]) == {-1}
    # Against the file's own measures, and gene by gene against its raw counts.
    given = cohort.obs["source:pct_counts_mt"].astype(float)
    assert np.abs(cohort.obs["pct_mito"] - given).max() < 0.5
    expected = raw[cohort.obs_names, cohort.var["ensembl_id"]].X
    assert (expected != cohort.X).nnz == 0
    coverage = pd.read_csv(tmp_path / "coverage.tsv", sep="\t").set_index("matched_by")
    assert coverage.loc["ensembl_id", "count_share"] > 0.98
    facts = cohort_facts(tmp_path / "cohort.h5ad")
    assert facts["split_unit"] == "cell" and facts["n_donors"] == 1
    assert "1 donor, fewer than the 4" in facts["warnings"][0]


def test_the_shipped_example_is_small():
    assert Path(resource("htan_exemplar.h5ad")).stat().st_size < 5_000_000


def test_a_folder_for_temporary_files_keeps_what_else_it_holds(tmp_path):
    """Also when several cohorts share it, and one is interrupted."""
    work = tmp_path / "scratch"
    work.mkdir()
    (work / "thesis.tex").write_text("years of work")
    settings = section_settings("preprocess", layouts.SETTINGS)
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")

    def run_in_work(out, **given):
        preprocess(path, tmp_path / out, cohort="made", settings=settings, work=work, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "measures", lambda spool: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_in_work("interrupted")
    left = {str(file.relative_to(work)) for file in work.rglob("*.npy")}
    assert left
    run_in_work("other")
    assert {str(file.relative_to(work)) for file in work.rglob("*.npy")} == left
    run_in_work("interrupted")
    assert [file.name for file in work.iterdir()] == ["thesis.tex"]
    for out in ("interrupted", "other"):
        assert {file.name for file in (tmp_path / out).iterdir()} == FILES


def test_what_an_interrupted_run_read_is_not_read_again(tmp_path, monkeypatch):
    """Killed while writing the cohort; meanwhile the source has lost its counts."""
    path = layouts.write_sea_ad(tmp_path / "s.h5ad")
    whole = run(path, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "measures", lambda spool: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(path, tmp_path / "out")
    assert not (tmp_path / "out" / "cohort.h5ad").exists()
    monkeypatch.setattr(CountsByCell, "blocks", lambda *given: 1 / 0)
    again = run(path, tmp_path / "out")
    assert (again.X != whole.X).nnz == 0 and again.obs.equals(whole.obs)
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    with pytest.raises(ZeroDivisionError):  # nothing was left for a third run
        run(path, tmp_path / "out")


def test_the_source_and_how_it_was_told_are_recorded(made):
    source, _, out = made
    parameters = json.loads((out / "preprocess.provenance.json").read_text())["parameters"]
    assert parameters["source"] == source
    assert parameters["recognised"].startswith(("its obs has", "the folder holds"))


def test_the_users_columns_values_and_counts(tmp_path):
    def odd(a):
        a.obs["Sex"] = a.obs["Sex"].map({"Female": "w", "Male": "m"})
        a.layers["mine"] = a.layers.pop("UMIs")

    path = layouts.write_sea_ad(tmp_path / "s.h5ad", edit=odd)
    settings = section_settings("preprocess", layouts.SETTINGS)
    asked = Request(
        path,
        columns={"cell_type": "Supertype", "braak": ""},
        values={"sex": {"w": "female", "m": "male"}},
        counts="layers/mine",
    )
    out = tmp_path / "out"
    preprocess(path, out, cohort="c", source="sea_ad", settings=settings, request=asked)
    cohort = read_cohort(out / "cohort.h5ad")
    assert set(cohort.obs["cell_type"]) == {f"{name}_1" for name in layouts.SEA_AD_TYPES}
    assert set(cohort.obs["braak"]) == {-1} and set(cohort.obs["sex"]) == {"female", "male"}
    written = ad.read_h5ad(path)[cohort.obs_names, cohort.var_names].layers["mine"]
    assert (written != cohort.X).nnz == 0
    recorded = json.loads((out / "preprocess.provenance.json").read_text())["parameters"]
    assert recorded["columns"] == {"cell_type": "Supertype", "braak": ""}
    assert recorded["values"] == {"sex": {"w": "female", "m": "male"}}
    assert recorded["counts"] == "layers/mine"


def test_tables_of_donors_and_of_quality_control(made):
    _, _, out = made
    obs = read_cohort(out / "cohort.h5ad").obs
    donors = pd.read_csv(out / "donors.tsv", sep="\t", dtype={"donor_id": str})
    sizes = obs["donor_id"].value_counts()
    assert donors["n_cells"].tolist() == sizes.loc[donors["donor_id"]].tolist()
    splits = obs.groupby("donor_id")["split"].first()
    assert donors["split"].tolist() == splits.loc[donors["donor_id"]].tolist()
    bins = pd.read_csv(out / "qc_histograms.tsv", sep="\t")
    qc = pd.read_csv(out / "qc.tsv", sep="\t")
    n_cells = qc.loc[qc["axis"] == "cells", "before"].iloc[0]
    for measure in ("n_genes", "total_counts"):
        rows = bins[bins["measure"] == measure]
        assert (rows["kept"] + rows["dropped"]).sum() == n_cells
        assert rows["kept"].sum() >= len(obs)  # a few go for want of a token or a training cell
