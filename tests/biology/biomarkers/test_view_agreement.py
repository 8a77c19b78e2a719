import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom, spearmanr
from statsmodels.stats.multitest import multipletests

from scsw.biology.biomarkers.view_agreement import strata, view_agreement

GENES = [f"GENE{i:03d}" for i in range(400)]


@pytest.fixture
def scores(make_scores):
    """`same`: write-out follows read-in; `rate`: both follow the detection rate; `noise`."""
    rng = np.random.default_rng(0)
    rate = np.sort(rng.uniform(0.01, 1, 400))
    read, write, direction = (rng.normal(size=400) for _ in range(3))
    z = {
        "same": {"read_in": read, "write_out": 3 * np.exp(read) + write, "direction": direction},
        "rate": {
            "read_in": 9 * rate + rng.normal(size=400),
            "write_out": 100 + 9 * rate + rng.normal(size=400),
            "direction": rng.normal(size=400),
        },
        "noise": {view: rng.normal(size=400) for view in ("read_in", "write_out", "direction")},
    }
    table = make_scores(z, GENES)
    return table.assign(detection_rate=np.tile(rate, len(table) // 400))


def compare(scores, permutations=499, controls=None):
    options = {"top_genes": 40, "seed": 0, "permutations": permutations}
    table = view_agreement(scores, controls, **options)
    return table.set_index(["candidate_id", "view_a", "view_b"])


def test_statistics_are_those_of_scipy_and_statsmodels(scores):
    table = compare(scores)
    assert len(table) == 9 and (table["n_genes"] == 400).all()
    by = scores.set_index(["candidate_id", "view", "gene"])["z"].sort_index()
    for (candidate, a, b), row in table.iterrows():
        first, second = (by.loc[candidate, view].loc[GENES] for view in (a, b))
        first = first if a == "read_in" else first.abs()
        assert row["spearman"] == pytest.approx(spearmanr(first, second.abs()).statistic)
        lead = [set(values.nlargest(40).index) for values in (first, second.abs())]
        lead[0] = {gene for gene in lead[0] if first[gene] > 0}
        assert row["overlap"] == len(lead[0] & lead[1])
        expected = hypergeom.sf(row["overlap"] - 1, 400, len(lead[0]), 40)
        assert row["overlap_p"] == pytest.approx(expected)
        assert row["expected"] == pytest.approx(len(lead[0]) * 40 / 400)
    for p, q in (("p", "q"), ("overlap_p", "overlap_q")):
        assert table[q].to_numpy() == pytest.approx(multipletests(table[p], method="fdr_bh")[1])


def test_planted_agreement_is_found_and_a_detection_rate_artefact_is_not(scores):
    table = compare(scores)
    pair = ("read_in", "write_out")
    same, rate, noise = (table.loc[(name, *pair)] for name in ("same", "rate", "noise"))
    assert same["p"] == 1 / 500 and same["q"] < 0.05
    assert rate["spearman"] > 0.8 and rate["null_spearman"] > 0.8 and rate["p"] > 0.05
    assert rate["overlap_p"] < 0.001  # the plain overlap cannot tell, hence both are given
    assert noise["p"] > 0.05 and abs(noise["null_spearman"]) < 0.1


def test_p_is_uniform_without_agreement(make_scores):
    rng = np.random.default_rng(1)
    views = ("read_in", "write_out")
    z = {f"c{i}": {view: rng.normal(size=400) for view in views} for i in range(150)}
    p = compare(make_scores(z, GENES), 199)["p"]
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.05)
    assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.12)


def test_strata_hold_genes_of_like_rate_and_bin(scores):
    bins = np.random.default_rng(2).uniform(0, 50, 400)
    groups = strata(scores.assign(mean_bin=np.tile(bins, len(scores) // 400)), GENES)
    sizes = np.bincount(groups)
    assert len(sizes) == 16 and set(sizes) == {25}
    about = pd.DataFrame({"group": groups, "rate": scores["detection_rate"][:400], "bin": bins})
    within = about.groupby("group")[["rate", "bin"]].std().mean()
    assert (within < about[["rate", "bin"]].std() / 2).all()


def test_nothing_to_compare_gives_no_rows(scores):
    assert compare(scores.iloc[:0]).empty
    assert compare(scores[scores["view"].eq("read_in")]).empty
    assert compare(scores.assign(z=np.where(scores["view"].eq("read_in"), scores["z"], 0))).empty


def test_same_seed_same_table(scores):
    pd.testing.assert_frame_equal(compare(scores, 99), compare(scores, 99))


class Edits:
    """Control edits with the given z-scores, shape (edits, genes)."""

    def __init__(self, z):
        self.z_of_edits = z

    def z(self, candidate, view, genes, *, nearest):
        assert view == "write_out" and nearest and list(genes) == GENES
        return self.z_of_edits


def test_read_in_and_write_out_are_compared_with_edits_of_the_same_unit(scores):
    own = scores[scores["candidate_id"].eq("same")].set_index(["view", "gene"])["z"]
    read, write = own["read_in"].to_numpy(), own["write_out"].to_numpy()
    noise = np.random.default_rng(5).normal(size=(60, 400))
    like, unlike = (
        compare(scores[scores["candidate_id"].eq("same")], controls=Edits(z)).iloc[0]
        for z in (3 * np.exp(read) + noise / 2, noise)
    )
    assert like["spearman"] == unlike["spearman"] > 0.5 and like["n_controls"] == 60
    assert like["control_p"] > 0.05 and like["control_spearman"] > 0.5
    assert unlike["control_p"] == 1 / 61 and abs(unlike["control_spearman"]) < 0.1
    edits = [spearmanr(read, np.abs(z)).statistic for z in 3 * np.exp(read) + noise / 2]
    rho = spearmanr(read, np.abs(write)).statistic
    assert like["control_p"] == pytest.approx((1 + np.sum(np.array(edits) >= rho)) / 61)
    table = compare(scores, controls=Edits(noise))
    pairs = [pair[1:] == ("read_in", "write_out") for pair in table.index]
    assert table["control_p"].notna().tolist() == pairs
    assert (compare(scores)["n_controls"] == 0).all()
