import json

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from scsw.biology.replicate import replicate
from scsw.biology.tables import (
    REPLICATED_GENES,
    REPLICATED_PATHWAYS,
    REPLICATED_STAGES,
    STAGES,
)
from scsw.errors import ScswError
from scsw.settings import section_settings

GENES = [f"GENE{i:03d}" for i in range(150)]
COLUMNS = {
    "genes": REPLICATED_GENES,
    "pathways": REPLICATED_PATHWAYS,
    "stages": REPLICATED_STAGES,
}
SETTINGS = section_settings("replicate", {"permutations": 199})


def stage_rows(cohort, seed, tests):
    keys = ["candidate_id", "measure", "stage", "status", "beta", "p"]
    empty = dict.fromkeys(STAGES, "") | {"beta_low": np.nan, "beta_high": np.nan, "q": np.nan}
    return pd.DataFrame(
        [
            empty
            | {"cohort": cohort, "arm": "real", "seed": seed, "cell_class": "immune"}
            | {"primary": False, "n_donors": 20, **dict(zip(keys, test, strict=True))}
            for test in tests
        ]
    )


@pytest.fixture
def cohorts(tmp_path, make_scores):
    """Two cohorts: a1 and b2 read alike, with weights of opposite sign; the rest is noise."""
    rng = np.random.default_rng(0)
    noise = {name: rng.normal(size=150) for name in ("a1", "a2", "b1", "b2", "w1", "w2")}
    noise["b2"] = -(3 * noise["a1"] + noise["b2"])
    scores = {
        "one": make_scores(
            {"a1": {"read_in": noise["a1"], "write_out": noise["w1"]},
             "a2": {"read_in": noise["a2"], "write_out": noise["w2"]}},
            GENES, cohort="one", seed=5,
        ),
        "two": pd.concat([
            make_scores({"b1": {"read_in": noise["b1"], "write_out": noise["w2"]}}, GENES,
                        cohort="two"),
            make_scores({"b2": {"read_in": noise["b2"], "write_out": noise["w1"]}}, GENES,
                        cohort="two", offset=-100),
        ]),
    }  # fmt: skip
    stages = {
        "one": stage_rows(
            "one", 5,
            [("a1", "contribution", "braak", "tested", 0.5, 0.01),
             ("a1", "contribution", "cerad", "tested", 0.2, 0.3),
             ("a1", "contribution", "adnc", "tested", 0.9, 0.001),
             ("a1", "spike", "braak", "tested", 0.5, 0.01)],
        ),
        "two": stage_rows(
            "two", 0,
            [("b2", "contribution", "braak", "tested", -0.4, 0.03),
             ("b2", "contribution", "cerad", "tested", 0.3, 0.2),
             ("b2", "contribution", "adnc", "not tested", np.nan, np.nan),
             ("b2", "spike", "braak", "tested", -0.5, 0.01)],
        ),
    }  # fmt: skip
    folders = []
    for name, seeds in {"one": [5, 0], "two": [0]}.items():
        folder = tmp_path / "run" / name
        (folder / "real" / str(seeds[0]) / "map").mkdir(parents=True)
        scores[name].to_parquet(folder / "real" / str(seeds[0]) / "map" / "gene_scores.parquet")
        stages[name].to_parquet(folder / "stages.parquet")
        people = pd.DataFrame({"split": "train", "donor_id": ["00000017", "H1", f"of {name}"]})
        people.to_csv(folder / "donors.tsv", sep="\t", index=False)
        folders.append((name, folder, seeds))
    return folders


@pytest.fixture
def enrich_settings(tmp_path):
    rng = np.random.default_rng(1)
    lines = [[f"S{k}", "about", *rng.choice(GENES, 12, replace=False)] for k in range(40)]
    (tmp_path / "lib.gmt").write_text("\n".join("\t".join(line) for line in lines) + "\n")
    given = {"gene_sets": [str(tmp_path / "lib.gmt")], "top_genes": 20, "min_size": 5}
    return section_settings("enrich", given)


@pytest.fixture
def run(enrich_settings):
    def go(cohorts, out):
        return compare(cohorts, out, enrich_settings)

    return go


def compare(cohorts, out, enrich_settings=None):
    options = {"settings": SETTINGS, "enrich_settings": enrich_settings, "simulated": True}
    replicate(cohorts, out, **options)
    return {name: pd.read_parquet(out / f"{name}.parquet") for name in COLUMNS}


def test_people_of_both_cohorts_are_counted(run, cohorts, tmp_path):
    for table in run(cohorts, tmp_path / "out").values():
        assert set(table["n_shared_donors"]) == {2}


def test_columns_and_models_compared(run, cohorts, tmp_path):
    tables = run(cohorts, tmp_path / "out")
    for name, columns in COLUMNS.items():
        assert list(tables[name].columns) == list(columns)
    genes = tables["genes"]
    assert set(genes["cohort_a"]) == {"one"} and set(genes["cohort_b"]) == {"two"}
    assert set(genes["seed_a"]) == {5} and set(genes["seed_b"]) == {0}
    assert genes["q"].tolist() == pytest.approx(multipletests(genes["p"], method="fdr_bh")[1])


def test_genes_replicate_whatever_the_sign_of_the_weight(run, cohorts, tmp_path):
    genes = run(cohorts, tmp_path / "out")["genes"].set_index(["candidate_a", "view"])
    assert genes.loc["a1", "candidate_b"].tolist() == ["b2", "b2"]
    assert genes.loc[("a1", "read_in"), "spearman"] > 0.8
    assert genes.loc[("a1", "read_in"), "q"] < 0.05
    assert genes.loc[("a1", "write_out"), "spearman"] == pytest.approx(1)
    assert genes.loc[("a2", "read_in"), "p"] > 0.05
    nulls = genes.groupby("view")["null"].unique()
    assert "matching done again" in nulls["read_in"][0]
    assert "matched on read_in" in nulls["write_out"][0]


def test_pathways_agree_where_the_genes_do(run, cohorts, tmp_path):
    pathways = run(cohorts, tmp_path / "out")["pathways"].set_index("candidate_a")
    assert pathways["library"].tolist() == ["lib", "lib"]
    assert pathways.loc["a1", "n_sets"] == 40
    assert pathways.loc["a1", "spearman"] > 0.5
    assert pathways.loc["a1", "p"] == 1 / 200
    assert pathways.loc["a2", "p"] > 0.05
    q = multipletests(pathways["p"], method="fdr_bh")[1]
    assert pathways["q"].tolist() == pytest.approx(q)


def test_by_default_the_libraries_are_those_of_enrich(cohorts, tmp_path):
    pathways = compare(cohorts, tmp_path / "out")["pathways"]
    assert pathways.empty  # the made-up genes are in no shipped set
    record = json.loads((tmp_path / "out" / "replicate.provenance.json").read_text())
    assert {"hallmark", "reactome", "wikipathways"} <= set(record["inputs"])


def test_stage_slopes_are_turned_by_the_sign_of_the_contribution(run, cohorts, tmp_path):
    stages = run(cohorts, tmp_path / "out")["stages"].set_index("stage")
    assert set(stages.index) == {"braak", "cerad"}  # adnc was not tested in the second cohort
    braak, cerad = stages.loc["braak"], stages.loc["cerad"]
    assert (braak["beta_a"], braak["beta_b"], braak["same_sign"]) == (0.5, 0.4, True)
    assert braak["p"] == pytest.approx(0.015)
    assert (cerad["beta_b"], cerad["same_sign"]) == (-0.3, False)
    assert cerad["p"] == pytest.approx(0.9)
    assert stages["q"].tolist() == pytest.approx(multipletests([0.015, 0.9], method="fdr_bh")[1])


def test_other_seeds_and_arms_of_the_gathered_table_take_no_part(run, cohorts, tmp_path):
    before = run(cohorts, tmp_path / "before")
    path = cohorts[0][1] / "stages.parquet"
    table = pd.read_parquet(path)
    others = [table.assign(seed=0), table.assign(arm="shuffled")]
    pd.concat([table, *others]).to_parquet(path)
    after = run(cohorts, tmp_path / "after")
    for name in COLUMNS:
        pd.testing.assert_frame_equal(before[name], after[name])


def test_the_same_run_gives_the_same_bytes(run, cohorts, tmp_path):
    for name in "ab":
        run(cohorts, tmp_path / name)
    for name in COLUMNS:
        first, second = ((tmp_path / x / f"{name}.parquet").read_bytes() for x in "ab")
        assert first == second


@pytest.mark.parametrize("n", [0, 1])
def test_one_cohort_gives_empty_typed_tables(run, cohorts, tmp_path, n):
    tables = run(cohorts[:n], tmp_path / "out")
    for name, columns in COLUMNS.items():
        assert len(tables[name]) == 0 and list(tables[name].columns) == list(columns)
        assert tables[name]["q"].dtype == float
    record = json.loads((tmp_path / "out" / "replicate.provenance.json").read_text())
    assert record["simulated"] and record["inputs"] == {}


def test_a_missing_table_is_named_and_nothing_is_written(run, cohorts, tmp_path):
    (cohorts[1][1] / "stages.parquet").unlink()
    with pytest.raises(ScswError, match=r"two.stages\.parquet does not exist"):
        run(cohorts, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
