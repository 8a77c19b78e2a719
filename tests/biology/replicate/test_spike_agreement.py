import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import hypergeom, spearmanr

from scsw.biology.biomarkers.view_agreement import equal_parts
from scsw.biology.replicate.spike_agreement import acquired_agreement, profile_rows, start_digest

RULE = 100.0


def model(start, acquired, seed, growth=None):
    rng = np.random.default_rng(seed)
    ratio = start * np.exp(rng.normal(0, 0.2, len(start)) if growth is None else growth)
    ratio = np.where(start < RULE, np.minimum(ratio, 99), ratio)
    ratio[list(acquired)] = 300
    table = pd.DataFrame({"channel": range(len(start)), "ratio": ratio, "start_ratio": start})
    return table.assign(block=0, site="mlp_out")


def compare(a, b, permutations=999):
    rows = acquired_agreement(
        a, b, spike_ratio=RULE, permutations=permutations, rng=np.random.default_rng(0)
    )
    return pd.DataFrame(list(rows)).set_index("measure")


def test_acquired_spikes_and_growth_against_scipy():
    rng = np.random.default_rng(0)
    start = rng.uniform(2, 20, 300)
    grown = rng.normal(size=300) * 0.2
    a = model(start, range(6), 1, grown)
    b = model(start, [*range(4), 50, 51, 52], 2, grown + rng.normal(size=300) * 0.05)
    table = compare(a, b, 1999)
    spikes, growth = table.loc["acquired_spikes"], table.loc["growth"]
    assert spikes[["n", "n_a", "n_b"]].tolist() == [300, 6, 7]
    assert spikes["statistic"] == pytest.approx(4 / 6)
    # In each of the 20 groups of like start the overlap is hypergeometric.
    of_a, of_b = (
        np.bincount(equal_parts(start, 20)[table["ratio"] >= RULE], minlength=20)
        for table in (a, b)
    )
    assert spikes["expected"] * 6 == pytest.approx((of_a * of_b / 15).sum(), abs=0.06)
    assert hypergeom.sf(3, 300, 6, 7) < 1e-4 and spikes["p"] < 0.005
    expected = spearmanr(
        np.log(a["ratio"] / a["start_ratio"]), np.log(b["ratio"] / b["start_ratio"])
    )
    assert growth["statistic"] == pytest.approx(expected.statistic)
    assert growth["p"] == 1 / 2000 and "like spike ratio" in growth["null"]


def test_what_both_have_from_the_start_is_no_agreement():
    start = np.r_[np.full(10, 500.0), np.random.default_rng(1).uniform(2, 20, 190)]
    table = compare(model(start, (), 1), model(start, (), 2))
    spikes = table.loc["acquired_spikes"]
    assert spikes[["n", "n_a", "n_b"]].tolist() == [190, 0, 0]
    assert np.isnan(spikes["p"]) and spikes["null"] == ""


def test_positions_near_the_rule_at_the_start_are_compared_with_their_like():
    """Those just below the rule spike after any fine-tuning: an artefact, not agreement."""
    start = np.r_[np.linspace(80, 99, 20), np.random.default_rng(2).uniform(2, 20, 180)]
    rng = np.random.default_rng(3)
    a, b = (model(start, rng.choice(20, 10, replace=False), seed) for seed in (1, 2))
    spikes = compare(a, b).loc["acquired_spikes"]
    shared = round(spikes["statistic"] * 10)
    assert hypergeom.sf(shared - 1, 200, 10, 10) < 0.001
    assert spikes["p"] > 0.05 and spikes["expected"] > 0.3


def persistent(start, grown):
    """A model whose channels grow by `grown` in all blocks and at both sites alike."""
    rows = [
        pd.DataFrame({"channel": range(64), "start_ratio": start[place], "block": place // 2})
        .assign(site=("mlp_out", "pre_norm2")[place % 2])
        .assign(ratio=start[place] * np.exp(grown + 0.1 * np.sin(place + np.arange(64))))
        for place in range(len(start))
    ]
    return pd.concat(rows)


def test_channels_that_grow_through_all_blocks_are_one_event_each():
    """An artefact: by positions alone, half of these unrelated models would agree in growth."""
    rng = np.random.default_rng(7)
    p = []
    for _ in range(60):
        start = rng.uniform(2, 20, (8, 64))
        a, b = (persistent(start, rng.normal(0, 1.2, 64)) for _ in "ab")
        p.append(compare(a, b, 99)["p"])
    found = (pd.DataFrame(p) <= 0.05).mean()
    assert (found <= 0.12).all()  # 60 draws at 5 %
    start, grown = rng.uniform(2, 20, (8, 64)), rng.normal(0, 1.2, 64)
    table = compare(persistent(start, grown), persistent(start, grown))
    assert (table["p"] <= 0.005).all()


def units(genes, seed, planted=None):
    rng = np.random.default_rng(seed)
    rows = []
    for column in range(12):
        of = column // 6 * 6
        profile = rng.normal(size=len(genes))
        if planted is not None and column == of:
            profile = planted[:, column // 6] + 0.2 * profile
        about = {"unit_set": "candidate" if column == of else "control", "block": 0}
        about |= {"column": column, "of": of, "firing_rate": 0.5, "mean_activation": 1.0}
        rows.append(pd.DataFrame({"gene": genes, "profile": profile}).assign(**about))
    return pd.concat(rows)


def test_a_planted_module_is_matched_and_relabelled_genes_are_not():
    genes = np.array([f"G{i}" for i in range(80)])
    planted = np.random.default_rng(0).normal(size=(80, 2))
    a, b = units(genes, 1, planted), units(genes, 2, planted)
    row = next(iter(profile_rows(a, b, seed=0, draws=199)))
    assert row["statistic"] > 0.9 and row["p"] < 0.05 and row["n"] == 2
    relabelled = dict(zip(genes, np.random.default_rng(5).permutation(genes), strict=True))
    other = b.assign(gene=b["gene"].map(relabelled))
    assert next(iter(profile_rows(a, other, seed=0, draws=199)))["p"] > 0.05


def test_genes_of_one_cohort_only_are_left_out_and_no_candidate_is_told():
    genes = np.array([f"G{i}" for i in range(40)])
    planted = np.random.default_rng(0).normal(size=(40, 2))
    a, b = units(genes, 1, planted), units(genes, 2, planted)
    extra = units(np.array(["X1", "X2", "X3"]), 3)
    extra["profile"] = 1e3
    first, second = (
        next(iter(profile_rows(one, b, seed=0, draws=99))) for one in (a, pd.concat([a, extra]))
    )
    assert first == second
    empty = next(iter(profile_rows(a, b.iloc[:0], seed=0, draws=99)))
    assert (empty["n_a"], empty["n_b"]) == (0, 0) and np.isnan(empty["p"])


def test_the_start_is_that_of_the_blocks_alone(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    digests = []
    for name, factor, genes in (("a", 1, 4), ("b", 1, 9), ("c", 2, 4)):
        (tmp_path / name).mkdir()
        state = {"transformer_encoder.layers.0.linear2.weight": weight * factor}
        torch.save(state | {"encoder.embedding.weight": torch.rand(genes, 2)},
                   tmp_path / name / "best_model.pt")  # fmt: skip
        digests.append(start_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]
