import json

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from scsw.biology.enrich.enrich import enrich
from scsw.biology.tables import PATHWAYS, SET_OVERLAPS
from scsw.errors import ScswError
from scsw.settings import section_settings

pytestmark = pytest.mark.usefixtures("no_network")
GENES = [f"GENE{i:03d}" for i in range(300)]
FAMILY = ["candidate_id", "view", "method"]


@pytest.fixture
def z():
    """GENE000 … GENE019 are read most; GENE020 … GENE039 are written to, downwards."""
    rng = np.random.default_rng(0)
    read, write = rng.normal(size=300), rng.normal(size=300)
    read[:20] += 8
    write[20:40] -= 8
    return {"read_in": read, "write_out": write}


@pytest.fixture
def settings(tmp_path):
    rng = np.random.default_rng(1)
    lines = [["READ", "about", *GENES[:20]], ["WRITTEN", "about", *GENES[20:40]]]
    lines += [["TINY", "about", *GENES[:3]], ["ABSENT", "about", "ELSE1", "ELSE2"]]
    lines += [[f"R{k}", "about", *rng.choice(GENES, 15, replace=False)] for k in range(10)]
    for name, chosen in {"first": lines, "second": lines[4:]}.items():
        text = "\n".join("\t".join(line) for line in chosen) + "\n"
        (tmp_path / f"{name}.gmt").write_text(text)
    return section_settings(
        "enrich",
        {
            "gene_sets": [str(tmp_path / "first.gmt"), str(tmp_path / "second.gmt")],
            "prerank_gene_sets": [str(tmp_path / "first.gmt")],
            "prerank_large_gene_sets": [str(tmp_path / "second.gmt")],
            "prerank_large_candidates": 0,
            "primary_gene_sets": [str(tmp_path / "first.gmt")],
            "top_genes": 20,
            "permutations": 999,
            "max_candidates": 2,
        },
    )


@pytest.fixture
def run(tmp_path, settings, write, make_verdicts):
    def go(scores, verdicts=None, name="out"):
        if verdicts is None:
            verdicts = make_verdicts(dict.fromkeys(scores["candidate_id"].unique(), "not causal"))
        paths = write(scores=scores, verdicts=verdicts)
        enrich(*paths, tmp_path / name, settings=settings, simulated=True)
        return pd.read_parquet(tmp_path / name / "pathways.parquet")

    return go


def test_planted_sets_are_found_in_their_view(run, make_scores, z):
    table = run(make_scores({"c1": z}, GENES))
    assert list(table.columns) == list(PATHWAYS)
    best = table.groupby(["view", "method"]).first()  # rows are sorted by p within a family
    assert best["gene_set"].tolist() == ["READ", "READ", "WRITTEN", "WRITTEN"]
    assert best.loc[("write_out", "prerank"), "statistic"] < 0
    assert (best["q"] < 0.05).all()
    assert set(best.loc[("read_in", "ora"), "leading_edge"].split(";")) == set(GENES[:20])
    assert set(table["null"]) == {
        "hypergeometric, background = genes scored", "gene permutation",
    }  # fmt: skip


def test_sets_outside_the_size_limits_are_not_tested_and_prerank_uses_its_own_libraries(
    run, make_scores, z
):
    table = run(make_scores({"c1": z}, GENES))
    assert not set(table["gene_set"]) & {"TINY", "ABSENT"}
    n_sets = table.groupby(["method", "library"])["gene_set"].nunique().to_dict()
    assert n_sets == {("ora", "first"): 12, ("ora", "second"): 10, ("prerank", "first"): 12}


def test_q_is_corrected_over_all_sets_of_all_libraries_of_one_family(run, make_scores, z):
    table = run(make_scores({"c1": z, "c2": z, "c3": z}, GENES))
    assert table["candidate_id"].unique().tolist() == ["c1", "c2"]  # max_candidates
    for _, family in table.groupby(FAMILY):
        np.testing.assert_allclose(family["q"], multipletests(family["p"], method="fdr_bh")[1])
    sizes = table.groupby(FAMILY).size().unique().tolist()
    assert sorted(sizes) == [12, 22]


def test_the_background_is_the_genes_scored(run, make_scores, z):
    scores = make_scores({"c1": z}, GENES)
    scores.loc[scores["gene"].isin(GENES[:8]), "z"] = np.nan
    table = run(scores)
    read = table[table["gene_set"].eq("READ")]
    assert set(read["n_genes_in_set"]) == {12}


def test_genes_of_a_negative_weight_are_ranked_by_how_much_they_drive_it(run, make_scores, z):
    flipped = {**z, "read_in": -z["read_in"]}
    negative = run(make_scores({"c1": flipped}, GENES, offset=-100), name="negative")
    positive = run(make_scores({"c1": z}, GENES), name="positive")
    pd.testing.assert_frame_equal(negative, positive)


def test_the_order_of_the_rows_given_does_not_matter(run, make_scores, z, tmp_path):
    z = {view: np.round(values, 1) for view, values in z.items()}  # with ties
    scores = make_scores({"c1": z}, GENES)
    run(scores, name="a")
    run(scores.sample(frac=1, random_state=0), name="b")
    a, b = ((tmp_path / name / "pathways.parquet").read_bytes() for name in "ab")
    assert a == b


def test_provenance_says_simulated(run, make_scores, z, tmp_path):
    run(make_scores({"c1": z}, GENES))
    record = json.loads((tmp_path / "out" / "enrich.provenance.json").read_text())
    assert record["simulated"] is True
    assert {"gene_scores", "candidates", "first", "second"} == set(record["inputs"])


def test_large_libraries_are_prerankeds_own_family_for_the_best_candidates(
    run, make_scores, z, settings
):
    without = run(make_scores({"c1": z, "c2": z}, GENES), name="without")
    settings.prerank_large_candidates = 1
    table = run(make_scores({"c1": z, "c2": z}, GENES))
    large = table[table["method"].eq("prerank") & table["library"].eq("second")]
    assert set(large["candidate_id"]) == {"c1"}
    assert large.groupby("view").size().to_dict() == {"read_in": 10, "write_out": 10}
    for _, family in large.groupby("view"):
        np.testing.assert_allclose(family["q"], multipletests(family["p"], method="fdr_bh")[1])
    rest = table.drop(large.index).reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without)


def test_without_controls_nothing_is_calibrated(run, make_scores, z, tmp_path):
    table = run(make_scores({"c1": z}, GENES))
    assert table["n_controls"].eq(0).all() and table["calibrated_null"].eq("").all()
    assert table[["calibrated_p", "calibrated_q", "empirical_fdr"]].isna().all(axis=None)
    assert table["primary"].eq(table["library"].eq("first")).all()
    overlaps = pd.read_parquet(tmp_path / "out" / "set_overlaps.parquet")
    assert list(overlaps.columns) == list(SET_OVERLAPS)
    names = set(overlaps["set_a"]) | set(overlaps["set_b"])
    assert "TINY" in names and "ABSENT" not in names  # of any size, but with a gene scored


def test_a_silent_candidate_has_no_rows_and_genes_below_the_null_do_not_lead(run, make_scores, z):
    silent = {"read_in": np.zeros(300), "write_out": np.zeros(300)}
    few = {**z, "read_in": np.where(np.arange(300) < 7, 3.0, -1.0)}
    table = run(make_scores({"silent": silent, "few": few}, GENES))
    assert set(table["candidate_id"]) == {"few"}
    ora = table[table["view"].eq("read_in") & table["method"].eq("ora")]
    assert ora.set_index("gene_set").loc["READ", "leading_edge"] == ";".join(GENES[:7])


@pytest.mark.parametrize("empty", ["candidates", "scores", "sets"])
def test_nothing_to_test_gives_an_empty_typed_table(
    run, make_scores, make_verdicts, z, settings, empty
):
    scores, verdicts = make_scores({"c1": z}, GENES), None
    if empty == "candidates":
        verdicts = make_verdicts({})
    if empty == "scores":
        scores, verdicts = scores.iloc[:0], make_verdicts({"c1": "not causal"})
    if empty == "sets":
        settings.min_size = 200
    table = run(scores, verdicts)
    assert len(table) == 0
    assert list(table.columns) == list(PATHWAYS)
    assert table["p"].dtype == float and table["gene_set"].dtype == "string"


def test_genes_of_another_kind_of_name_are_refused(run, make_scores, z, tmp_path):
    with pytest.raises(ScswError, match=r"none of the 300 scored genes \(such as ENSG") as error:
        run(make_scores({"c1": z}, [f"ENSG{i:011d}" for i in range(300)]))
    assert "To mend it" in str(error.value)
    assert not (tmp_path / "out" / "pathways.parquet").exists()


def test_tables_of_two_models_are_refused(run, make_scores, make_verdicts, z):
    with pytest.raises(ScswError, match="more than one model"):
        run(make_scores({"c1": z}, GENES, seed=1), make_verdicts({"c1": "not causal"}, seed=0))


def test_a_table_without_a_column_is_refused(run, make_scores, z):
    with pytest.raises(ScswError, match=r"lacks the columns \['z'\]"):
        run(make_scores({"c1": z}, GENES).drop(columns="z"))
