"""Agreement of gene profiles between models, on profiles whose answer is known."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from scsw.superweight.search.matched_units import matched_units
from scsw.superweight.stability.profile_agreement import (
    COLUMNS,
    correlation_sizes,
    matched_mean,
    profile_agreement,
)
from tests.superweight.search.unit_profiles import profiles_of

OPTIONS = {"cohort": "x", "one_start": False, "seed": 0, "draws": 199}


def frame(values):
    return pd.DataFrame(values, [f"g{i}" for i in range(len(values))])


def test_matching_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    sizes = correlation_sizes(frame(a), frame(b))
    np.testing.assert_allclose(sizes, np.abs(np.corrcoef(a.T, b.T)[:4, 4:]))
    best = max(sizes[range(4), order].mean() for order in permutations(range(4)))
    assert matched_mean(sizes, range(4), range(4)) == pytest.approx(best)
    assert np.isnan(matched_mean(sizes, [], range(4)))


def test_a_gene_that_a_profile_lacks_is_zero_and_a_flat_profile_agrees_with_none():
    a = pd.DataFrame({"x": [1.0, 2.0]}, ["g1", "g2"])
    b = pd.DataFrame({"y": [2.0, 5.0]}, ["g2", "g3"])
    expected = abs(np.corrcoef([1, 2, 0], [0, 2, 5])[0, 1])
    assert correlation_sizes(a, b).item() == pytest.approx(expected)
    assert correlation_sizes(a, pd.DataFrame({"y": [0.1, 0.1]}, ["g1", "g2"])).item() == 0


def test_a_planted_shared_profile_is_significant_and_noise_is_not():
    rng = np.random.default_rng(1)
    planted = rng.normal(size=(60, 4))
    mixed = -planted[:, [2, 0, 3, 1]] + 0.1 * rng.normal(size=(60, 4))
    models = {0: profiles_of(rng, planted), 1: profiles_of(rng, mixed)}
    models[2] = profiles_of(rng, rng.normal(size=(60, 4)))
    table = profile_agreement(models, **OPTIONS)
    assert list(table.columns) == COLUMNS
    same, *other = table.itertuples()
    assert (same.seed_a, same.seed_b, same.n_units, same.n_genes) == (0, 1, 4, 60)
    assert same.n_controls == 8 and same.mean_correlation > 0.98 and same.p == 1 / 200
    assert same.control_high < 0.6 and same.control_low <= same.control_mean <= same.control_high
    assert "same block nearest in firing rate and mean activation" in same.null
    assert all(row.p > 0.05 and row.mean_correlation < 0.5 for row in other)
    pd.testing.assert_frame_equal(table, profile_agreement(models, **OPTIONS))


def model_whose_often_firing_units_read_alike(rng, common, own=None):
    """Return rates, means and profiles (genes × units) of one block of 200 units.

    The more often a unit fires, the more its profile is the `common` one. `own` is added to the
    three candidates, which are among those that fire most often.
    """
    rates = np.linspace(0.02, 0.98, 200)
    profiles = rates * common[:, None] + 0.3 * (1 - rates) * rng.normal(size=(common.size, 200))
    profiles += 0.05 * rng.normal(size=profiles.shape)
    candidates = [150, 170, 190]
    if own is not None:
        profiles[:, candidates] += own
    return rates, rates * rng.uniform(1, 1.2, 200), profiles, candidates


def table_of(units, profiles):
    genes = [f"g{i}" for i in range(len(profiles))]
    return pd.concat(
        [
            pd.DataFrame({"gene": genes, "profile": profiles[:, unit["column"]]}).assign(**unit)
            for unit in units.to_dict("records")
        ]
    )


def agreement_of(models, n_controls=20):
    tables = {}
    for seed, (rates, means, profiles, candidates) in enumerate(models):
        wanted = [(0, column) for column in candidates]
        units = matched_units([rates], [means], wanted, n_controls=n_controls, seed=seed)
        tables[seed] = table_of(units, profiles)
    return profile_agreement(tables, **OPTIONS).iloc[0], tables


def test_units_that_agree_only_because_they_fire_often_are_not_significant():
    rng = np.random.default_rng(2)
    common = rng.normal(size=80)
    models = [model_whose_often_firing_units_read_alike(rng, common) for _ in range(2)]
    row, tables = agreement_of(models)
    assert row["mean_correlation"] > 0.8 and row["p"] > 0.05
    assert row["firing_rate"] == pytest.approx(row["control_firing_rate"], abs=0.05)
    # Beside units of any rate, as once, the same candidates would be significant.
    for seed, (rates, _, profiles, candidates) in enumerate(models):
        units = tables[seed].drop_duplicates("column").drop(columns=["gene", "profile"])
        others = np.setdiff1d(np.arange(200), candidates)
        controls = units["unit_set"] == "control"
        units.loc[controls, "column"] = rng.choice(others, controls.sum(), replace=False)
        units["firing_rate"] = rates[units["column"]]
        tables[seed] = table_of(units, profiles)
    assert profile_agreement(tables, **OPTIONS)["p"].item() < 0.05


def test_a_shared_program_of_units_that_fire_often_is_significant():
    rng = np.random.default_rng(3)
    common, own = rng.normal(size=80), rng.normal(size=(80, 3))
    models = [model_whose_often_firing_units_read_alike(rng, common, own) for _ in range(2)]
    assert agreement_of(models)[0]["p"] == 1 / 200


def test_the_p_value_is_that_of_every_draw():
    """With one candidate, p tends to the share of pairs of itself or controls that are as large."""
    rng = np.random.default_rng(4)
    planted = rng.normal(size=(25, 1))
    close = 0.4 * planted + rng.normal(size=(25, 1))
    models = {0: profiles_of(rng, planted, 11), 1: profiles_of(rng, close, 11)}
    row = profile_agreement(models, **OPTIONS | {"draws": 4000}).iloc[0]
    values = [
        model.pivot(index="gene", columns="column", values="profile").to_numpy().T
        for model in models.values()
    ]
    pairs = np.abs(np.corrcoef(*values)[:12, 12:])
    exact = (pairs >= row["mean_correlation"] - 1e-12).mean()
    assert 0.01 < exact < 0.6
    assert row["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact / 4000))
    assert row["control_mean"] == pytest.approx(pairs.mean(), abs=0.02)


def test_few_controls_cannot_give_a_small_p():
    """Of one candidate and one control there are four pairs, and the own one is always drawn."""
    rng = np.random.default_rng(5)
    planted = rng.normal(size=(40, 1))
    models = {seed: profiles_of(rng, planted, 1) for seed in (0, 1)}
    row = profile_agreement(models, **OPTIONS | {"draws": 999}).iloc[0]
    assert row["mean_correlation"] == pytest.approx(1)
    assert row["p"] == pytest.approx(0.25, abs=0.06)


def test_one_seed_gives_no_pair_and_no_candidate_or_control_no_p():
    rng = np.random.default_rng(6)
    alone = profile_agreement({0: profiles_of(rng, rng.normal(size=(9, 2)))}, **OPTIONS)
    assert alone.empty and list(alone.columns) == COLUMNS
    some = profiles_of(rng, rng.normal(size=(9, 2)))
    none = profiles_of(rng, np.empty((9, 0)))
    for models in ({0: none, 1: none}, {0: some, 1: none}):
        row = profile_agreement(models, **OPTIONS).iloc[0]
        assert row["n_units"] == 0 and np.isnan(row["p"]) and np.isnan(row["mean_correlation"])
        assert row["null"] == ""
    bare = {seed: profiles_of(rng, rng.normal(size=(9, 2)), n_controls=0) for seed in (0, 1)}
    row = profile_agreement(bare, **OPTIONS).iloc[0]
    assert np.isnan(row["p"]) and row["n_controls"] == 0 and row["mean_correlation"] > 0
    assert row["firing_rate"] == 0.5 and np.isnan(row["control_firing_rate"])
