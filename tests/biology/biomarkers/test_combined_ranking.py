import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from scsw.biology.biomarkers.combined_ranking import ALL_VIEWS, combined_ranking

GENES = [f"GENE{i:03d}" for i in range(100)]


def z_of(seed):
    rng = np.random.default_rng(seed)
    return {view: rng.normal(size=100) for view in ALL_VIEWS}


def test_the_rule_is_a_mean_of_ranks_with_each_side_counted_once(make_scores):
    z = z_of(0)
    table = combined_ranking(make_scores({"c": z}, GENES)).set_index("gene").loc[GENES]
    column = rankdata(-z["read_in"])
    row = rankdata(rankdata(-np.abs(z["write_out"])) + rankdata(-np.abs(z["direction"])))
    assert table["read_in_rank"].to_numpy() == pytest.approx(column)
    assert table["row_rank"].to_numpy() == pytest.approx(row)
    assert table["combined_score"].to_numpy() == pytest.approx((column + row) / 200)
    assert table["combined_rank"].to_numpy() == pytest.approx(rankdata(np.round(column + row, 6)))
    assert set(table["n_genes"]) == {100}


def test_the_same_evidence_in_both_views_of_the_row_counts_once(make_scores):
    """A gene first in the row's two views must not beat one that is first in read-in."""
    z = {view: np.linspace(1, 0, 100) for view in ALL_VIEWS}
    z["read_in"] = np.r_[0.5, 9, np.linspace(1, 0, 98)]
    z["write_out"][[0, 1]] = z["direction"][[0, 1]] = [-9, 0.5]
    table = combined_ranking(make_scores({"c": z}, GENES)).set_index("gene")
    first, second = table.loc["GENE000"], table.loc["GENE001"]
    assert (first["row_rank"], second["read_in_rank"]) == (1, 1)
    assert first["combined_score"] == pytest.approx(second["combined_score"], abs=0.02)


def test_a_negative_weight_reads_the_same_genes(make_scores):
    z = z_of(1)
    positive = combined_ranking(make_scores({"c": z}, GENES))
    turned = {**z, "read_in": -z["read_in"]}
    negative = combined_ranking(make_scores({"c": turned}, GENES, offset=-100))
    pd.testing.assert_frame_equal(positive, negative)


def test_a_missing_or_silent_view_leaves_the_others(make_scores):
    z = z_of(2)
    whole = combined_ranking(make_scores({"c": {v: z[v] for v in ALL_VIEWS[:2]}}, GENES))
    assert whole["direction_rank"].isna().all() and (whole["combined_rank"] >= 1).all()
    silent = combined_ranking(make_scores({"c": {**z, "direction": np.zeros(100)}}, GENES))
    pd.testing.assert_frame_equal(whole, silent)


def test_only_genes_with_every_view_are_ranked(make_scores):
    z = z_of(3)
    z["write_out"][:3] = np.nan
    table = combined_ranking(make_scores({"c": z}, GENES))
    assert len(table) == 97 and not {"GENE000", "GENE001", "GENE002"} & set(table["gene"])


def test_no_scores_no_ranks(make_scores):
    scores = make_scores({"c": z_of(4)}, GENES)
    assert combined_ranking(scores.iloc[:0]).empty
    assert combined_ranking(scores.assign(z=0.0)).empty
