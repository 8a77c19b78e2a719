import numpy as np
import pandas as pd
import pytest

from scsw.biology.biomarkers import NAMED_GENES, biomarkers
from scsw.biology.tables import BIOMARKERS, PATHWAYS, REPLICATED_GENES, STAGES, typed
from scsw.errors import ScswError
from scsw.settings import section_settings

GENES = [*NAMED_GENES[:6], *[f"GENE{i:02d}" for i in range(34)]]  # neither IL1B nor FOXO3
SETTINGS = section_settings("enrich", {"top_genes": 5, "max_candidates": 1})


@pytest.fixture
def scores(make_scores):
    """Two seeds. APP leads in both, MAPT in seed 0 only, GENE30 by write-out, downwards."""
    z = {}
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        read, write = rng.uniform(-1, 1, 40), rng.uniform(-1, 1, 40)
        read[[0, 6, 7, 8]] = [9, 8, 7, 6]
        read[3 if seed == 0 else 9] = 12
        write[36] = -20
        z[seed] = {"c1": {"read_in": read, "write_out": write}}
        z[seed]["c2"] = {"read_in": 50 + rng.normal(size=40), "write_out": write}
    return [make_scores(z[seed], GENES, seed=seed) for seed in (0, 1)]


@pytest.fixture
def pathways():
    rows = [
        ("lib", "S1", 0.01, "APP;GENE00"),
        ("lib", "S1", 0.02, "APP"),  # the same set from another candidate counts once
        ("other", "S1", 0.05, "APP;MAPT"),
        ("lib", "S2", 0.06, "APP"),
    ]
    table = pd.DataFrame(rows, columns=["library", "gene_set", "q", "leading_edge"])
    return table.reindex(columns=list(PATHWAYS)).assign(cohort="one", arm="real", seed=0)


@pytest.fixture
def stages():
    rows = [
        (0, "c1", True, "tested", 0.03),
        (0, "c1", True, "tested", 0.20),
        (0, "c1", False, "tested", 0.001),
        (1, "c1", True, "not tested", np.nan),
        (0, "c2", True, "tested", 0.0001),
    ]
    table = pd.DataFrame(rows, columns=["seed", "candidate_id", "primary", "status", "q"])
    return table.reindex(columns=list(STAGES)).assign(cohort="one", arm="real", stage="adnc")


@pytest.fixture
def replication():
    rows = [
        ("zero", 3, "x", "one", 0, "c1", "read_in", 0.4, 0.01),
        ("one", 0, "c1", "two", 0, "y", "write_out", -0.9, 0.01),
        ("two", 0, "y", "three", 0, "c1", "write_out", 0.9, 0.01),
    ]
    names = "cohort_a seed_a candidate_a cohort_b seed_b candidate_b view spearman q".split()
    return pd.DataFrame(rows, columns=names).reindex(columns=list(REPLICATED_GENES))


@pytest.fixture
def run(tmp_path, write, make_verdicts, scores, pathways, stages, replication):
    def go(verdict="not causal", replication=replication, **options):
        verdicts = pd.concat(
            [make_verdicts({"c1": verdict, "c2": "not causal"}, seed=s) for s in (0, 1)]
        )
        paths = write(seed0=scores[0], seed1=scores[1], p=pathways, s=stages, v=verdicts)
        third = None if replication is None else write(r=replication)
        out = tmp_path / "cohort" / "biomarkers.tsv"
        biomarkers(paths[:2], *paths[2:], third, out, settings=SETTINGS, **options)
        return pd.read_csv(out, sep="\t").set_index("gene")

    return go


def test_genes_rank_by_seeds_then_strength(run):
    table = run(n_genes=4)
    assert [*table.columns] == [name for name in BIOMARKERS if name != "gene"]
    assert table.index[:4].tolist() == ["GENE30", "APP", "GENE00", "GENE01"]
    assert table["rank"].dropna().is_monotonic_increasing
    assert table.loc["APP", ["read_in_z", "seeds"]].tolist() == [9, 2]
    assert table.loc["GENE30", "write_out_z"] == -20
    assert table.loc["MAPT", "seeds"] == 1  # its z of 12 is the largest, but in one seed only


def test_named_genes_are_always_there(run):
    table = run(n_genes=4)
    assert set(NAMED_GENES) <= set(table.index) and table.index.is_unique
    for gene in ("IL1B", "FOXO3"):
        assert table.loc[gene, "statement"] == "not in vocabulary or not detected"
        assert table.loc[gene, ["rank", "read_in_z", "write_out_z", "stage_q"]].isna().all()
    assert np.isfinite(table.loc["TREM2", "rank"])
    assert len(run(n_genes=1)) == 1 + 8 and len(run(n_genes=50)) == len(GENES) + 2


def test_pathways_stages_and_replication_are_those_of_the_gene(run):
    table = run()
    assert table.loc[["APP", "MAPT", "GENE00", "GENE30"], "n_pathways"].tolist() == [2, 1, 1, 0]
    assert table.loc["APP", "stage_q"] == 0.03  # not c2's, which is beyond max_candidates
    assert table.loc["APP", "replication"] == "replicated"
    # A negative correlation is no replication, and another cohort's rows do not count.
    assert table.loc["GENE30", "replication"] == "not replicated"
    unlinked = table[table["seeds"].eq(0)]
    assert set(unlinked["replication"]) == {"not testable"} and unlinked["stage_q"].isna().all()


def test_without_a_causal_candidate_the_statement_says_so(run):
    text = run().loc["APP", "statement"]
    assert "NOT shown to be causal" in text
    assert "associated" in text and "place 2 of 40" in text
    assert "2 of 2 seeds" in text and "not beyond matched genes" in text
    assert "associated with adnc" in text and "smallest q 0.03" in text
    assert "None of this shows that APP causes" in text


@pytest.mark.parametrize(
    ("verdict", "said", "unsaid"),
    [
        ("causal, informative", "the model uses it", "NOT shown"),
        ("causal, constant", "acts as an offset", "the model uses it"),
        ("not assessable", "NOT shown to be causal, since that could not be assessed", "uses it"),
    ],
)
def test_each_verdict_has_its_sentence(run, verdict, said, unsaid):
    text = run(verdict).loc["APP", "statement"]
    assert said in text and unsaid not in text


def test_a_causal_candidate_beyond_the_best_is_considered_and_comes_first(
    run, tmp_path, make_verdicts
):
    paths = [tmp_path / f"{name}.parquet" for name in "seed0 seed1 p s v".split()]
    run()
    make_verdicts({"c1": "not causal", "c2": "causal, informative"}).to_parquet(paths[-1])
    biomarkers(paths[:2], *paths[2:], None, tmp_path / "b.tsv", settings=SETTINGS, n_genes=5)
    table = pd.read_csv(tmp_path / "b.tsv", sep="\t").set_index("gene")
    best = table.index[table["rank"].eq(1)].item()
    assert "candidate c2" in table.loc[best, "statement"]
    assert table["read_in_z"].max() > 40


def test_a_gene_that_no_candidate_leads_with_is_not_linked(run):
    assert "links it to none" in run().loc["TREM2", "statement"]


def test_a_gene_without_a_z_score_was_still_scored(run, scores):
    for table in scores:
        table.loc[table["gene"].eq("TREM2"), "z"] = np.nan
    row = run().loc["TREM2"]
    assert "links it to none" in row["statement"] and row["rank"] == len(GENES)
    assert np.isnan(row["read_in_z"])


def test_a_silent_candidate_leads_with_no_gene(run, scores):
    for table in scores:
        table["z"] = 0.0
    table = run()
    assert table["seeds"].max() == 0
    assert table["statement"].str.contains("links it to none|not in vocabulary").all()


def test_q_within_alpha_is_said_to_stand_out(run, scores):
    scores[0].loc[scores[0]["gene"].eq("APP"), "q"] = 0.02
    scores[1].loc[scores[1]["gene"].eq("APP"), "z"] = 0
    assert "q 0.02: stands out from matched genes" in run().loc["APP", "statement"]


def test_simulated_data_are_called_simulated_in_every_statement(run):
    assert run(simulated=True)["statement"].str.startswith("Simulated data. ").all()


def test_same_tables_same_bytes(run, tmp_path):
    run()
    first = (tmp_path / "cohort" / "biomarkers.tsv").read_bytes()
    run()
    assert (tmp_path / "cohort" / "biomarkers.tsv").read_bytes() == first
    assert (tmp_path / "cohort" / "biomarkers.provenance.json").exists()


def test_empty_tables_leave_the_named_genes(tmp_path, write, scores, make_verdicts):
    empty = {
        "seed0": scores[0].iloc[:0],
        "p": typed([], PATHWAYS),
        "s": typed([], STAGES),
        "v": make_verdicts({}),
        "r": typed([], REPLICATED_GENES),
    }
    first, *rest = write(**empty)
    biomarkers([first], *rest, tmp_path / "b.tsv", settings=SETTINGS)
    table = pd.read_csv(tmp_path / "b.tsv", sep="\t")
    assert table["gene"].tolist() == list(NAMED_GENES)
    assert set(table["statement"]) == {"not in vocabulary or not detected"}


def test_without_replication_nothing_is_testable(run):
    assert set(run(replication=None)["replication"]) == {"not testable"}


def test_verdicts_of_two_cohorts_are_refused(tmp_path, write, scores, make_verdicts, stages):
    both = pd.concat([make_verdicts({"c1": "not causal"}, cohort=name) for name in ("a", "b")])
    paths = write(seed0=scores[0], p=typed([], PATHWAYS), s=stages, v=both)
    with pytest.raises(ScswError, match="several cohorts"):
        biomarkers(paths[:1], *paths[1:], None, tmp_path / "b.tsv", settings=SETTINGS)
    assert not (tmp_path / "b.tsv").exists()
