import json

import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.stats.multitest import multipletests

from scsw.biology.replicate.replicate import TABLES, replicate
from scsw.biology.tables import REPLICATION_SUMMARY, STAGES
from scsw.errors import ScswError
from scsw.settings import section_settings

GENES = [f"GENE{i:03d}" for i in range(150)]
COLUMNS = TABLES | {"summary": REPLICATION_SUMMARY}
CLASSES = ("astrocytes", "excitatory", "immune", "inhibitory", "vascular")
SETTINGS = section_settings("replicate", {"permutations": 199})


def spikes(acquired, shared=True):
    """60 channels; the start spikes at channel 0, and fine-tuning adds the `acquired` ones."""
    rng = np.random.default_rng(sum(acquired))
    start = np.r_[500.0, np.linspace(2, 40, 59)]
    ratio = start * np.exp(rng.normal(0, 0.1, 60))
    ratio[list(acquired)] = 400
    table = pd.DataFrame({"channel": range(60), "ratio": ratio, "start_ratio": start})
    return table.assign(group_by="all", site="mlp_out", block=0)


def units(genes, seed, planted=None):
    """Profiles of two candidate units with three controls each."""
    rng = np.random.default_rng(seed)
    rows = []
    for column in range(8):
        of = column // 4 * 4
        profile = rng.normal(size=len(genes))
        if planted is not None and column == 0:
            profile = planted + 0.1 * profile
        about = {"unit_set": "candidate" if column == of else "control", "block": 0}
        about |= {"column": column, "of": of, "firing_rate": 0.5, "mean_activation": 1.0}
        rows.append(pd.DataFrame({"gene": genes, "profile": profile}).assign(**about))
    return pd.concat(rows)


def start_model(folder, value):
    folder.mkdir(parents=True)
    weights = torch.full((4, 3), float(value))
    state = {"transformer_encoder.layers.0.linear2.weight": weights}
    torch.save(state | {"encoder.weight": torch.rand(3)}, folder / "best_model.pt")


def stage_rows(cohort, seed, tests):
    """Rows of one model: those given are of the class ``immune``."""
    keys = ["candidate_id", "measure", "stage", "status", "beta", "p", "cell_class"]
    empty = dict.fromkeys(STAGES, "") | {"beta_low": np.nan, "beta_high": np.nan, "q": np.nan}
    return pd.DataFrame(
        [
            empty
            | {"cohort": cohort, "arm": "real", "seed": seed, "cell_class": "immune"}
            | {"depth": "as measured", "cell_type": "all"}
            | {"primary": False, "n_donors": 20, **dict(zip(keys, test, strict=False))}
            for test in tests
        ]
    )


def braak_rows(candidate, slopes):
    rows = zip(CLASSES, slopes, strict=True)
    return [
        (candidate, "contribution", "braak", "tested", beta, 0.4, name)
        for name, beta in rows
        if name != "immune"
    ]


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
             ("a1", "spike", "braak", "tested", 0.5, 0.01),
             *braak_rows("a1", [0.1, -0.3, None, 0.0, -0.1])],
        ),
        "two": stage_rows(
            "two", 0,
            [("b2", "contribution", "braak", "tested", -0.4, 0.03),
             ("b2", "contribution", "cerad", "tested", 0.3, 0.2),
             ("b2", "contribution", "adnc", "not tested", np.nan, np.nan),
             ("b2", "spike", "braak", "tested", -0.5, 0.01),
             *braak_rows("b2", [-0.2, 0.4, None, -0.1, 0.3])],
        ),
    }  # fmt: skip
    folders = []
    for name, seeds in {"one": [5, 7], "two": [0]}.items():
        folder = tmp_path / "run" / name
        for seed in seeds:
            add_model(folder, name, seed, scores[name])
        # The model of seed 7 found what that of seed 5 did, and was tested on no stage.
        stages[name].to_parquet(folder / "stages.parquet")
        people = pd.DataFrame({"split": "train", "donor_id": ["00000017", "H1", f"of {name}"]})
        people.to_csv(folder / "donors.tsv", sep="\t", index=False)
        judged = [(seed, c) for seed in seeds for c in scores[name]["candidate_id"].unique()]
        verdicts = pd.DataFrame(judged, columns=["seed", "candidate_id"])
        verdicts = verdicts.assign(arm="real", rank=1, causal=verdicts["candidate_id"].eq("a1"))
        verdicts.to_parquet(folder / "verdicts.parquet")
        folders.append((name, folder, seeds))
    return folders


def control_tables(scores, seed):
    """Thirty controls of each candidate and view, of random scores."""
    rng = np.random.default_rng(100 + seed)
    found, units = {"gene": GENES}, []
    for candidate in scores["candidate_id"].unique():
        for view in ("read_in", "write_out"):
            names = [f"{view}.{candidate}.{k}" for k in range(30)]
            found |= {name: rng.normal(size=len(GENES)).astype(np.float32) for name in names}
            about = {"candidate_id": candidate, "view": view, "in_unit_p": True}
            units.append(pd.DataFrame({"control": names, "distance": 0.1}).assign(**about))
    about = {"cohort": "x", "arm": "real", "seed": seed}
    return pd.DataFrame(found), pd.concat(units).assign(**about)


def add_model(folder, name, seed, scores, start=0, acquired=(3, 4, 5)):
    own = folder / "real" / str(seed)
    for part in ("map", "search"):
        (own / part).mkdir(parents=True)
    scores.assign(seed=seed).to_parquet(own / "map" / "gene_scores.parquet")
    for name, table in zip(("scores", "units"), control_tables(scores, seed), strict=True):
        table.to_parquet(own / "map" / f"control_{name}.parquet")
    spikes(acquired).to_parquet(own / "search" / "spikes.parquet")
    planted = np.random.default_rng(9).normal(size=len(GENES))
    units(GENES, seed, planted).to_parquet(own / "search" / "profiles.parquet")
    start_model(own / "init", start)


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
    enrich_settings = enrich_settings or section_settings("enrich")
    options = {"settings": SETTINGS, "enrich_settings": enrich_settings, "simulated": True}
    replicate(cohorts, out, spike_ratio=100, **options)
    return {name: pd.read_parquet(out / f"{name}.parquet") for name in COLUMNS}


@pytest.fixture
def tables(run, cohorts, tmp_path):
    """All tables, and those of tests cut to the first model of cohort one."""
    found = run(cohorts, tmp_path / "out")
    first = {name: found[name][found[name]["seed_a"].eq(5)] for name in TABLES}
    return found, first


def test_all_models_are_compared_and_people_of_both_cohorts_counted(tables):
    found, _ = tables
    for name, columns in COLUMNS.items():
        assert list(found[name].columns) == list(columns)
        assert set(found[name]["n_shared_donors"]) == {2}
        assert set(found[name]["cohort_a"]) == {"one"} and set(found[name]["cohort_b"]) == {"two"}
        if name in TABLES:
            q = multipletests(found[name]["p"].dropna(), method="fdr_bh")[1]
            assert found[name]["q"].dropna().tolist() == pytest.approx(q)
    for name in ("candidates", "genes", "pathways"):
        assert set(found[name]["seed_a"]) == {5, 7} and set(found[name]["seed_b"]) == {0}


def test_genes_replicate_whatever_the_sign_of_the_weight(tables):
    genes = tables[1]["genes"].set_index(["candidate_a", "view"])
    assert genes.loc["a1", "candidate_b"].tolist() == ["b2", "b2"]
    assert genes.loc[("a1", "read_in"), "spearman"] > 0.8
    assert genes.loc[("a1", "read_in"), "q"] < 0.05
    assert genes.loc[("a1", "write_out"), "spearman"] == pytest.approx(1)
    assert genes.loc[("a2", "read_in"), "p"] > 0.05
    assert (genes.loc["a1", "unit_p"] < 0.02).all() and genes.loc[("a2", "read_in"), "unit_p"] > 0.1
    assert set(genes["n_controls"]) == {30}
    assert genes["unit_null"].str.contains("in its place").all()
    assert genes["causal_a"].tolist() == [i == "a1" for i, _ in genes.index]
    assert not genes["causal_b"].any()
    nulls = genes.groupby("view")["null"].unique()
    assert "matching done again" in nulls["read_in"][0]
    assert "matched on read_in" in nulls["write_out"][0]


def test_pathways_agree_where_the_genes_do(tables):
    pathways = tables[1]["pathways"].set_index("candidate_a")
    assert pathways["library"].tolist() == ["lib", "lib"]
    assert pathways.loc["a1", "n_sets"] == 40
    assert pathways.loc["a1", "spearman"] > 0.5
    assert pathways.loc["a1", "p"] == 1 / 200
    assert pathways.loc["a2", "p"] > 0.05


def test_only_pairs_with_an_enriched_candidate_are_compared_on_gene_sets(run, cohorts, tmp_path):
    for _, folder, _ in cohorts:
        table = pd.read_parquet(folder / "verdicts.parquet").assign(rank=99)
        table.to_parquet(folder / "verdicts.parquet")
    pathways = run(cohorts[:1] + cohorts[1:], tmp_path / "out")["pathways"]
    assert set(pathways["candidate_a"]) == {"a1"}  # by its causal verdict


def test_by_default_the_libraries_are_those_of_enrich(cohorts, tmp_path):
    found = compare(cohorts, tmp_path / "out")
    assert found["pathways"].empty  # the made-up genes are in no shipped set
    summary = found["summary"].set_index("level")
    assert summary.loc["pathways", "outcome"].startswith("Not testable: no gene set was tested")
    record = json.loads((tmp_path / "out" / "replicate.provenance.json").read_text())
    assert {"hallmark", "reactome", "wikipathways"} <= set(record["inputs"])


def test_stage_slopes_are_turned_by_the_sign_of_the_contribution(tables):
    stages = tables[0]["stages"]
    assert set(stages["seed_a"]) == {5}  # the model of seed 7 was tested on no stage
    assert set(stages["stage"]) == {"braak", "cerad"}  # adnc was not tested in the second cohort
    stages = stages[stages["cell_class"].eq("immune")].set_index("stage")
    braak, cerad = stages.loc["braak"], stages.loc["cerad"]
    assert (braak["beta_a"], braak["beta_b"], braak["same_sign"]) == (0.5, 0.4, True)
    assert braak["p"] == pytest.approx(0.015)
    assert (cerad["beta_b"], cerad["same_sign"]) == (-0.3, False)
    assert cerad["p"] == pytest.approx(0.9)


def test_the_order_of_slopes_over_classes_recurs(tables):
    ranks = tables[0]["stage_ranks"].set_index("stage")
    # 0.1 −0.3 0.5 0.0 −0.1 against 0.2 −0.4 0.4 0.1 −0.3: the same order of five classes.
    assert ranks.loc["braak", ["n_pairs", "n_classes", "spearman"]].tolist() == [1, 5, 1.0]
    assert ranks.loc["braak", ["p", "p_floor"]].tolist() == pytest.approx([1 / 120, 1 / 120])
    assert ranks.loc["cerad", ["spearman", "p"]].isna().all()  # one class only


def test_models_of_other_starts_are_compared_by_gene_profiles(run, cohorts, tmp_path):
    folder = cohorts[0][1] / "real" / "7" / "init" / "best_model.pt"
    state = torch.load(folder, weights_only=True)
    state["transformer_encoder.layers.0.linear2.weight"] += 1
    torch.save(state, folder)
    found = run(cohorts, tmp_path / "out")
    table = found["candidates"].set_index(["seed_a", "measure"])
    assert table["by"].to_dict() == {
        (5, "acquired_spikes"): "coordinates",
        (5, "growth"): "coordinates",
        (7, "profile"): "gene profiles",
    }
    assert table["shared_start"].to_dict() == {k: k[0] == 5 for k in table.index}
    assert table.loc[(7, "profile"), "n"] == 2 and table.loc[(7, "profile"), "statistic"] > 0.4
    assert set(found["genes"].groupby("seed_a")["shared_start"].any().items()) == {
        (5, True),
        (7, False),
    }


def test_only_what_fine_tuning_added_counts(tables):
    table = tables[1]["candidates"].set_index("measure")
    spikes = table.loc["acquired_spikes"]
    # Channel 0 spikes at the start and takes no part.
    assert spikes[["n", "n_a", "n_b", "statistic"]].tolist() == [59, 3, 3, 1.0]
    assert spikes["p"] < 0.05 and spikes["expected"] < 0.7


def test_the_summary_says_what_can_be_made_of_each_level(tables):
    found, _ = tables
    summary = found["summary"].set_index("level")
    assert list(summary.index) == ["candidates", "genes", "pathways", "stages"]
    genes = summary.loc["genes"]
    assert genes["n_models"] == 2 and genes["n_models_agree"] == 2 and genes["n"] == 8
    assert genes["outcome"].startswith("Agreement (q 0.0")
    assert (
        "no independent evidence: 2 people are in both cohorts; models that began"
        in (genes["outcome"])
    )
    assert not summary["independent"].any()
    assert "inherited" not in summary.loc["stages", "outcome"]
    q = multipletests(summary["p"], method="fdr_bh")[1]
    assert summary["q"].tolist() == pytest.approx(q)


def test_what_every_unit_reads_is_no_replication(run, cohorts, tmp_path):
    """Both candidates and all controls read one module: genes agree, candidates do not."""
    module = 3 * np.random.default_rng(3).normal(size=len(GENES))
    for _, folder, seeds in cohorts:
        for seed in seeds:
            place = folder / "real" / str(seed) / "map"
            scores = pd.read_parquet(place / "gene_scores.parquet")
            noise = np.random.default_rng(seed).normal(size=len(scores))
            z = np.tile(module, len(scores) // len(GENES)) + noise
            scores.assign(z=z, score=z + 100).to_parquet(place / "gene_scores.parquet")
            controls = pd.read_parquet(place / "control_scores.parquet").set_index("gene")
            controls = controls.add(module.astype(np.float32), axis=0)
            controls.reset_index().to_parquet(place / "control_scores.parquet")
    found = run(cohorts, tmp_path / "out")
    assert (found["genes"]["q"] < 0.05).all() and (found["genes"]["unit_q"] > 0.05).all()
    genes = found["summary"].set_index("level").loc["genes"]
    assert genes["n_models_agree"] == 0 and genes["outcome"].startswith("No agreement shown")
    assert " and each candidate or one of its" in genes["null"]


def test_relabelled_genes_are_no_replication(run, cohorts, tmp_path):
    path = cohorts[1][1] / "real" / "0" / "map" / "gene_scores.parquet"
    table = pd.read_parquet(path)
    shuffled = np.random.default_rng(4).permutation(GENES)
    table["gene"] = table["gene"].map(dict(zip(GENES, shuffled, strict=True)))
    table.to_parquet(path)
    found = run(cohorts, tmp_path / "out")
    assert found["genes"]["q"].min() > 0.05 and found["pathways"]["q"].min() > 0.05
    outcomes = found["summary"].set_index("level")["outcome"]
    assert outcomes["genes"].startswith("No agreement shown")


def test_no_people_in_common_no_staging_and_no_candidates(run, cohorts, tmp_path):
    for name, folder, seeds in cohorts:
        people = pd.DataFrame({"donor_id": [f"of {name}"]})
        people.to_csv(folder / "donors.tsv", sep="\t", index=False)
        table = pd.read_parquet(folder / "stages.parquet").assign(status="not tested")
        table.to_parquet(folder / "stages.parquet")
        for seed in seeds if name == "two" else []:
            for place in ("map/gene_scores", "search/profiles", "search/spikes"):
                path = folder / "real" / str(seed) / f"{place}.parquet"
                pd.read_parquet(path).iloc[:0].to_parquet(path)
    found = run(cohorts, tmp_path / "out")
    summary = found["summary"].set_index("level")
    assert summary["p"].isna().all() and summary["independent"].all()
    assert summary["outcome"].str.startswith("Not testable: ").all()
    assert "no spike that fine-tuning added in one and in two" in summary["outcome"]["candidates"]
    assert "no stage was tested in both one and two" in summary["outcome"]["stages"]
    assert found["stages"].empty and found["genes"].empty


def test_a_third_cohort_leaves_the_first_pair_as_it_was(run, cohorts, tmp_path):
    two = run(cohorts, tmp_path / "two")
    _, folder, seeds = cohorts[1]
    three = run([*cohorts, ("three", folder, seeds)], tmp_path / "three")
    for table in TABLES:
        own = three[table][three[table]["cohort_b"].eq("two")]
        pd.testing.assert_frame_equal(own.reset_index(drop=True), two[table])
    pairs = three["summary"][["cohort_a", "cohort_b"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [["one", "two"], ["one", "three"], ["two", "three"]]
    # Two files of one study: what agrees there is no evidence.
    same = three["summary"][three["summary"]["cohort_a"].eq("two")]
    assert set(same["n_shared_donors"]) == {3} and not same["independent"].any()


def test_other_seeds_and_arms_of_the_gathered_table_take_no_part(run, cohorts, tmp_path):
    before = run(cohorts, tmp_path / "before")
    path = cohorts[0][1] / "stages.parquet"
    table = pd.read_parquet(path)
    others = [table.assign(seed=8), table.assign(arm="shuffled")]
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
