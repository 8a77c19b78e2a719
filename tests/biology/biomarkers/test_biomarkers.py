import numpy as np
import pandas as pd
import pytest

from scsw.biology.biomarkers.biomarkers import NAMED_GENES, biomarkers
from scsw.biology.tables import (
    BIOMARKERS,
    GENE_RANKS,
    PATHWAYS,
    REPLICATED_GENES,
    STAGES,
    VIEW_AGREEMENT,
    typed,
)
from scsw.errors import ScswError
from scsw.settings import section_settings

GENES = [*NAMED_GENES[:6], *[f"GENE{i:02d}" for i in range(34)]]  # neither IL1B nor FOXO3
ENRICH = section_settings("enrich", {"top_genes": 5, "max_candidates": 1})
PERMUTATIONS = {"permutations": 100}


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
        own = {"write_out": write, "direction": rng.uniform(-1, 1, 40)}
        z[seed] = {"c1": {"read_in": read, **own}}
        z[seed]["c2"] = {"read_in": 50 + rng.normal(size=40), **own}
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
    about = {"cohort": "one", "arm": "real", "seed": 0, "candidate_id": "c1"}
    about |= {"primary": False, "n_controls": 0}
    return table.reindex(columns=list(PATHWAYS)).assign(**about)


@pytest.fixture
def stages():
    rows = [
        (0, "c1", True, "tested", 0.03, "immune"),
        (0, "c1", True, "tested", 0.20, "excitatory"),
        (0, "c1", False, "tested", 0.001, "immune"),
        (1, "c1", True, "not tested", np.nan, "immune"),
        (0, "c2", True, "tested", 0.0001, "immune"),
    ]
    names = ["seed", "candidate_id", "primary", "status", "q", "cell_class"]
    table = pd.DataFrame(rows, columns=names)
    about = {"cohort": "one", "arm": "real", "stage": "adnc", "survives_thinning": "no"}
    return table.reindex(columns=list(STAGES)).assign(**about)


@pytest.fixture
def replication():
    rows = [
        ("zero", 3, "x", "one", 0, "c1", "read_in", 0.4, 0.01),
        ("one", 0, "c1", "two", 0, "y", "write_out", -0.9, 0.01),
        ("two", 0, "y", "three", 0, "c1", "write_out", 0.9, 0.01),
    ]
    names = "cohort_a seed_a candidate_a cohort_b seed_b candidate_b view spearman q".split()
    table = pd.DataFrame(rows, columns=names).assign(n_shared_donors=0)
    return table.reindex(columns=list(REPLICATED_GENES))


@pytest.fixture
def run(tmp_path, write, make_verdicts, scores, pathways, stages, replication):
    def go(verdict="not causal", replication=replication, simulated=False, **options):
        verdicts = pd.concat(
            [make_verdicts({"c1": verdict, "c2": "not causal"}, seed=s) for s in (0, 1)]
        )
        paths = write(seed0=scores[0], seed1=scores[1], p=pathways, s=stages, v=verdicts)
        third = None if replication is None else write(r=replication)
        out = tmp_path / "cohort"
        settings = section_settings("biomarkers", PERMUTATIONS | options)
        given = {"settings": settings, "enrich_settings": ENRICH, "simulated": simulated}
        biomarkers(paths[:2], *paths[2:], third, out, **given)
        return pd.read_csv(out / "biomarkers.tsv", sep="\t").set_index("gene")

    return go


def test_genes_rank_by_grade_then_seeds_then_combined_rank(run, scores):
    table = run(genes=4)
    assert [*table.columns] == [name for name in BIOMARKERS if name != "gene"]
    assert table["rank"].dropna().is_monotonic_increasing
    assert set(table["grade"][:4]) == {"listed"} and (table["seeds"][:4] == 2).all()
    assert table.loc["MAPT", "seeds"] == 1  # its z of 12 is the largest, but in one seed only
    assert table.loc["MAPT", "rank"] > 4
    # What passes goes before what only leads, however often it leads.
    scores[0].loc[scores[0]["gene"].eq("MAPT") & scores[0]["view"].eq("read_in"), "q"] = 0.01
    table = run(genes=4)
    assert table.loc["MAPT", ["rank", "grade", "seeds"]].tolist() == [1, "associated", 1]


def test_a_row_is_about_one_candidate(run, tmp_path):
    table = run()
    for gene in ("APP", "GENE00", "GENE30"):
        assert table.loc[gene, "candidate_id"] == "c1"  # c2 is beyond max_candidates
        text = table.loc[gene, "statement"]
        assert f"candidate c1 (seed {table.loc[gene, 'seed']:.0f})" in text
    assert table.loc["GENE30", "write_out_z"] == -20
    ranks = pd.read_parquet(tmp_path / "cohort" / "gene_ranks.parquet")
    assert list(ranks.columns) == list(GENE_RANKS)
    assert set(ranks["candidate_id"]) == {"c1", "c2"} and set(ranks["seed"]) == {0, 1}
    own = ranks.set_index(["seed", "candidate_id", "gene"])["combined_rank"]
    for gene, row in table[table["rank"].notna()].iterrows():
        assert row["combined_rank"] == own[(row["seed"], "c1", gene)]


def test_the_agreement_of_the_views_is_written_for_every_candidate(run, tmp_path):
    run()
    views = pd.read_parquet(tmp_path / "cohort" / "view_agreement.parquet")
    assert list(views.columns) == list(VIEW_AGREEMENT) and len(views) == 2 * 2 * 3
    pairs = set(zip(views["view_a"], views["view_b"], strict=True))
    assert pairs == {
        ("read_in", "write_out"), ("read_in", "direction"), ("write_out", "direction")
    }  # fmt: skip


def test_a_gene_passes_only_if_it_stands_out_at_every_level_tested(run, scores):
    mapt = scores[0]["gene"].eq("MAPT") & scores[0]["view"].eq("read_in")
    scores[0].loc[mapt, "q"] = 0.01
    scores[0]["unit_q"] = np.where(mapt, 0.2, np.nan)
    row = run().loc["MAPT"]
    assert row["grade"] == "listed" and row["read_in_unit_q"] == 0.2
    assert "gene-level q 0.01: stands out from matched genes" in row["statement"]
    assert "unit-level q 0.2: not beyond matched units" in row["statement"]
    scores[0]["unit_q"] = np.where(mapt, 0.02, np.nan)
    assert run().loc["MAPT", "grade"] == "associated"
    assert run("causal, informative").loc["MAPT", "grade"] == "supported"
    scores[0]["score_low"], scores[0]["score_high"] = -1.0, 1.0
    assert run().loc["MAPT", "grade"] == "listed"


def test_named_genes_are_always_there(run):
    table = run(genes=4)
    assert set(NAMED_GENES) <= set(table.index) and table.index.is_unique
    for gene in ("IL1B", "FOXO3"):
        assert table.loc[gene, "statement"] == "not in vocabulary or not detected"
        assert table.loc[gene, "grade"] == "not scored"
        assert table.loc[gene, ["rank", "read_in_z", "write_out_z", "stage_q"]].isna().all()
    assert np.isfinite(table.loc["TREM2", "rank"])
    assert len(run(genes=50)) == len(GENES) + 2


def test_gwas_is_named_as_prior_knowledge_and_moves_no_rank(run, tmp_path):
    table = run()
    assert table.loc[["APOE", "GENE00"], "gwas"].tolist() == ["yes", "no"]
    assert "known beforehand" in table.loc["APP", "statement"]
    (tmp_path / "own.gmt").write_text("MINE\tabout\tGENE00\n")
    other = run(gwas_gene_sets=str(tmp_path / "own.gmt"), gwas_set="MINE")
    assert other.loc[["APOE", "GENE00"], "gwas"].tolist() == ["no", "yes"]
    assert other["rank"].equals(table["rank"].reindex(other.index))
    with pytest.raises(ScswError, match="has no gene set AD_GWAS_2022"):
        run(gwas_gene_sets=str(tmp_path / "own.gmt"))


def test_pathways_stages_and_replication_are_those_of_the_candidate(run):
    table = run()
    of_seed_0 = table[table["seed"].eq(0)]
    assert {"MAPT"} <= set(of_seed_0.index)
    assert table.loc["MAPT", "n_pathways"] == 1 and table.loc["GENE30", "n_pathways"] == 0
    assert set(of_seed_0["stage_q"]) == {0.03} and set(of_seed_0["stage_class"]) == {"immune"}
    assert table.loc[table["seed"].eq(1), "stage_q"].isna().all()
    assert "naive: gene permutation" in table.loc["MAPT", "statement"]
    assert (
        "The candidate's contribution, not the expression of MAPT" in table.loc["MAPT", "statement"]
    )
    assert "it may be one of depth" in table.loc["MAPT", "statement"]
    row = table.loc["MAPT", ["replication", "n_replicated", "n_compared"]].tolist()
    assert row == ["replicated", 1, 1]


def test_sets_that_the_controls_have_too_do_not_count(run, pathways):
    pathways["n_controls"], pathways["calibrated_p"] = 1000, 0.01
    pathways["empirical_fdr"] = [0.01, 0.01, 0.2, 0.01]  # by row: the third is not calibrated
    table = run()
    assert table.loc["APP", "n_pathways"] == 1 and table.loc["MAPT", "n_pathways"] == 0
    of_seed_0 = table[table["seed"].eq(0)]
    assert set(of_seed_0.loc[of_seed_0["candidate_id"].eq("c1"), "pathway_test"]) == {"calibrated"}


def test_a_negative_correlation_or_shared_donors_are_no_replication(run, scores, replication):
    scores[1]["z"] = 0.0  # so that seed 0 is the best link of every gene
    row = run().loc["GENE30"]
    assert row["candidate_id"] == "c1" and row["replication"] == "not replicated"
    assert "was found again in none of the one model" in row["statement"]
    assert run().loc["MAPT", "replication"] == "replicated"
    shared = run(replication=replication.assign(n_shared_donors=3))
    assert set(shared["replication"]) == {"not testable"}


def test_without_a_causal_candidate_the_statement_says_so(run):
    text = run().loc["MAPT", "statement"]
    assert "NOT shown to be causal" in text
    assert "associated" in text and "place 1 of 40" in text
    assert "a leading place in 1 of 2 seeds" in text and "not beyond matched genes" in text
    assert "None of this shows that MAPT causes" in text


@pytest.mark.parametrize(
    ("verdict", "said", "unsaid"),
    [
        ("causal, informative", "the model uses it", "NOT shown"),
        ("causal, constant", "acts as an offset", "the model uses it"),
        ("masked pair", "stand in for each other", "NOT shown"),
        ("not assessable", "NOT shown to be causal, since that could not be assessed", "uses it"),
    ],
)
def test_each_verdict_has_its_sentence(run, verdict, said, unsaid):
    text = run(verdict).loc["APP", "statement"]
    assert said in text and unsaid not in text


def test_a_causal_candidate_beyond_the_best_is_considered(run, tmp_path, write, make_verdicts):
    run()
    paths = [tmp_path / f"{name}.parquet" for name in "seed0 seed1 p s v".split()]
    make_verdicts({"c1": "not causal", "c2": "causal, informative"}).to_parquet(paths[-1])
    given = {"settings": section_settings("biomarkers", PERMUTATIONS), "enrich_settings": ENRICH}
    biomarkers(paths[:2], *paths[2:], None, tmp_path, **given)
    table = pd.read_csv(tmp_path / "biomarkers.tsv", sep="\t").set_index("gene")
    assert "c2" in set(table["candidate_id"])
    assert table.loc[table["candidate_id"].eq("c2"), "read_in_z"].max() > 40


def test_a_gene_that_no_candidate_leads_with_is_not_linked(run):
    row = run().loc["TREM2"]
    assert "links it to none" in row["statement"] and row["grade"] == "unlinked"


def test_a_gene_without_a_z_score_was_still_scored(run, scores):
    for table in scores:
        table.loc[table["gene"].eq("TREM2"), "z"] = np.nan
    row = run().loc["TREM2"]
    assert row["grade"] == "no rank" and "it has no rank" in row["statement"]
    assert row[["rank", "read_in_z"]].isna().all()


def test_a_silent_candidate_leads_with_no_gene(run, scores):
    for table in scores:
        table["z"] = 0.0
    table = run()
    assert table["seeds"].max() == 0
    assert table["statement"].str.contains("it has no rank|not in vocabulary").all()


def test_simulated_data_are_called_simulated_in_every_statement(run):
    assert run(simulated=True)["statement"].str.startswith("Simulated data. ").all()


def test_same_tables_same_bytes(run, tmp_path):
    names = ("biomarkers.tsv", "gene_ranks.parquet", "view_agreement.parquet")
    run()
    first = [(tmp_path / "cohort" / name).read_bytes() for name in names]
    run()
    assert [(tmp_path / "cohort" / name).read_bytes() for name in names] == first
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
    given = {"settings": section_settings("biomarkers", PERMUTATIONS), "enrich_settings": ENRICH}
    biomarkers([first], *rest, tmp_path, **given)
    table = pd.read_csv(tmp_path / "biomarkers.tsv", sep="\t")
    assert table["gene"].tolist() == list(NAMED_GENES)
    assert set(table["statement"]) == {"not in vocabulary or not detected"}
    assert pd.read_parquet(tmp_path / "view_agreement.parquet").empty


def test_without_replication_nothing_is_testable(run):
    assert set(run(replication=None)["replication"]) == {"not testable"}


def test_verdicts_of_two_cohorts_are_refused(tmp_path, write, scores, make_verdicts, stages):
    both = pd.concat([make_verdicts({"c1": "not causal"}, cohort=name) for name in ("a", "b")])
    paths = write(seed0=scores[0], p=typed([], PATHWAYS), s=stages, v=both)
    given = {"settings": section_settings("biomarkers", PERMUTATIONS), "enrich_settings": ENRICH}
    with pytest.raises(ScswError, match="several cohorts"):
        biomarkers(paths[:1], *paths[1:], None, tmp_path / "out", **given)
    assert not (tmp_path / "out" / "biomarkers.tsv").exists()
