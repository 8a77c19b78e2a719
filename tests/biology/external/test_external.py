import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scsw.biology.external.external import EXTERNAL, external
from scsw.biology.external.gene_sets import LABEL_NULL, MATCHED_NULL
from scsw.errors import ScswError
from scsw.files import read_table
from scsw.settings import section_settings
from tests.biology.external import made_up
from tests.cohort.readers import layout_adni, running


@pytest.fixture
def run(tmp_path, make_scores):
    """Run the step on one model against an external cohort; return the table."""
    model = tmp_path / "one" / "real" / "0"

    def call(*, cohorts=None, bulks=None, leading=range(12), donors=("X1",), genes=None, **given):
        for name in ("map", "search"):
            (model / name).mkdir(parents=True, exist_ok=True)
        scores = made_up.scores(make_scores, leading=leading)
        if genes:
            scores["gene"] = scores["gene"].replace(genes)
        scores.to_parquet(model / "map" / "gene_scores.parquet")
        keys = {"cohort": "one", "arm": "real", "seed": 0, "rank": 1}
        listed = pd.DataFrame([keys | {"candidate_id": made_up.CANDIDATE}])
        listed.to_parquet(model / "search" / "candidates.parquet")
        pd.DataFrame({"donor_id": list(donors)}).to_csv(tmp_path / "donors.tsv", sep="\t")
        external(
            [model],
            tmp_path / "donors.tsv",
            tmp_path / "external.parquet",
            cohorts=cohorts or {},
            bulks=bulks or {},
            settings=section_settings("external", {"permutations": 199} | given),
            enrich=section_settings("enrich"),
            stages=section_settings("stages", {"min_cells": 5}),
            matched_genes=40,
        )
        table = read_table(tmp_path / "external.parquet")
        assert list(table.columns) == list(EXTERNAL)
        return table

    return call


def of_sets(table, cell_class):
    rows = table[table["test"].eq("set") & table["cell_class"].eq(cell_class)]
    return rows[rows["view"].eq("read_in")].set_index("null")


def test_a_planted_difference_is_found_in_its_cell_class_alone(run, tmp_path):
    table = run(cohorts={"two": made_up.write_cohort(tmp_path / "b.h5ad", effect=0.8)})
    glia, immune = of_sets(table, "glia"), of_sets(table, "immune")
    assert (glia["q"] <= 0.05).all() and set(glia.index) == {LABEL_NULL, MATCHED_NULL}
    assert (immune["p"] > 0.05).any()
    genes = table[table["test"].eq("gene")]
    passed = genes[genes["q"] <= 0.05]
    in_glia = passed[passed["cell_class"].eq("glia")]
    assert len(in_glia) >= 8 and len(passed) - len(in_glia) <= 1  # one of twenty may be false
    assert (in_glia["effect"] > 0).all() and (in_glia["effect_low"] > 0).all()
    assert set(genes["gene"]) == set(made_up.GENES[:12])
    assert (genes["n_ad"] == 15).all() and (genes["n_control"] == 15).all()
    assert (genes["covariates"] == "median_genes+age_death").all()  # 30 donors, ten a term


def test_a_difference_in_other_genes_is_not_found(run, tmp_path):
    cohort = made_up.write_cohort(tmp_path / "b.h5ad", effect=0.5, genes=range(40, 52))
    table = run(cohorts={"two": cohort})
    assert (of_sets(table, "glia")["p"] > 0.2).all()


def test_no_difference_is_no_finding(run, tmp_path):
    table = run(cohorts={"two": made_up.write_cohort(tmp_path / "b.h5ad")})
    sets = table[table["test"].eq("set") & table["status"].eq("tested")]
    both = sets.groupby(["candidate_id", "view", "cell_class"])["q"].max()
    assert (both > 0.05).all() and (table.loc[table["test"].eq("gene"), "q"] > 0.05).all()


def test_people_of_the_models_own_cohort_take_no_part(run, tmp_path):
    cohort = made_up.write_cohort(tmp_path / "b.h5ad", effect=0.5)
    table = run(cohorts={"two": cohort}, donors=[f"D{i:02d}" for i in range(25)])
    assert set(table["status"]) == {"not tested"}
    assert set(table["reason"]) == {"5 people have a diagnosis of AD or control; 10 are needed"}


def test_q_is_over_one_candidate_and_external_cohort(run, tmp_path):
    cohort = made_up.write_cohort(tmp_path / "b.h5ad", effect=0.2)
    table = run(cohorts={"two": cohort, "three": cohort})
    from statsmodels.stats.multitest import multipletests

    for _, rows in table[table["test"].eq("gene")].groupby("external"):
        np.testing.assert_allclose(rows["q"], multipletests(rows["p"], method="fdr_bh")[1])
    for _, rows in table[table["test"].eq("set")].groupby(["external", "null"]):
        known = rows.dropna(subset=["p"])
        np.testing.assert_allclose(known["q"], multipletests(known["p"], method="fdr_bh")[1])


def test_silent_views_and_too_few_cases_are_said(run, tmp_path):
    table = run(cohorts={"two": made_up.write_cohort(tmp_path / "b.h5ad")}, min_per_group=16)
    assert set(table["reason"]) == {"15 cases and 15 controls; 16 of each are needed"}
    table = run(cohorts={"two": made_up.write_cohort(tmp_path / "b.h5ad")}, leading=range(3))
    reasons = table[table["test"].eq("set")].groupby("view")["reason"].first()
    assert reasons["write_out"] == "no gene leads"
    assert reasons["read_in"] == "3 of 3 leading genes are expressed; 5 needed"


def test_no_external_cohort_is_an_empty_table(run):
    assert run().empty


def bulk_file(tmp_path, *, effect):
    """Preprocess a made-up ADNI folder of 60 subjects: CN and AD in turn, two samples of one."""
    rng = np.random.default_rng(0)
    symbols = [f"{i}_at" for i in range(80)], ["APP", "MAPT", "APOE", "CLU", "BIN1", "PICALM"]
    names = symbols[1] + [f"NOSUCHGENE{i}" for i in range(74)]
    people = [f"999_S_{9000 + i}" for i in range(60)]
    ad_case = np.arange(60) % 2 == 1
    values = rng.normal(8, 0.3, (80, 60)) + np.linspace(-2, 2, 80)[rng.permutation(80)][:, None]
    values[:6] += effect * ad_case
    head = {
        "Phase": ["ADNI2"] * 60, "Visit": ["bl"] * 60, "SubjectID": people,
        "260/280": ["2.0"] * 60, "260/230": ["0.5"] * 60,
        "RIN": [f"{x:.1f}" for x in rng.uniform(6, 8, 60)],
        "Affy Plate": ["1"] * 60, "YearofCollection": ["2011"] * 60,
    }  # fmt: skip
    lines = [[name, "", "", *told, ""] for name, told in head.items()]
    lines.append(["ProbeSet", "LocusLink", "Symbol", *[""] * 60, ""])
    lines += [
        [probe, "LOC", gene, *(f"{x:.4f}" for x in row), "a gene"]
        for probe, gene, row in zip(symbols[0], names, values, strict=True)
    ]
    told = pd.DataFrame(
        {"Phase": "ADNI2", "PTID": people, "VISCODE": "bl", "DXCHANGE": np.where(ad_case, "3", "1")}
    )
    folder = layout_adni.write(
        tmp_path / "adni", edit=lambda _: lines, edit_diagnoses=lambda _: told
    )
    merged = {"PTID": people, "AGE": rng.uniform(60, 90, 60).round(1)}
    merged |= {"PTGENDER": rng.choice(["Female", "Male"], 60)}
    pd.DataFrame(merged).to_csv(tmp_path / "ADNIMERGE.csv", index=False)
    tables = {"donors": str(tmp_path / "ADNIMERGE.csv")}
    running.run(folder, tmp_path / "out", source="adni", tables=tables)
    return tmp_path / "out" / "external.h5ad", names


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_bulk_blood_as_the_adni_reader_writes_it(run, tmp_path, effect):
    path, names = bulk_file(tmp_path, effect=effect)
    table = run(
        bulks={"adni": path}, leading=range(6), genes=dict(zip(made_up.GENES, names, strict=False))
    )
    sets = of_sets(table, "bulk")
    assert (sets["n_ad"] == 30).all() and (sets["tissue"] == "bulk blood").all()
    assert (sets["covariates"] == "age+sex+rin").all()
    assert (sets["p"] <= 0.05).all() == bool(effect)
    assert (table.loc[table["test"].eq("gene"), "q"] <= 0.05).any() == bool(effect)


def test_a_cohort_is_no_bulk_table(run, tmp_path):
    cohort = made_up.write_cohort(tmp_path / "b.h5ad")
    with pytest.raises(ScswError, match="no external cohort of bulk expression"):
        run(bulks={"adni": cohort})
    ad.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "c.h5ad")
    with pytest.raises(ScswError, match="not a cohort that scsw has preprocessed"):
        run(cohorts={"two": tmp_path / "c.h5ad"})
