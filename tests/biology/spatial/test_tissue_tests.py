"""Planted truth in made-up readouts: slopes along depth and stage, and changes when pruned."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from scsw.biology.spatial.donor_tests import mean_over_donors, slope_by_donor
from scsw.biology.spatial.readout import CellReadout
from scsw.biology.spatial.tissue_tests import accuracy_rows, position_rows, stage_rows
from scsw.settings import section_settings

SETS = ["AD_MICROGLIA_DAM", "AD_ASTROCYTE_REACTIVE"]
N_DONORS, PER_TYPE = 14, 30


@pytest.fixture
def obs():
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(N_DONORS), 2 * PER_TYPE)
    table = {
        "donor_id": [f"D{d:02d}" for d in donor],
        "section": [f"S{d:02d}" for d in donor],
        "cell_type": np.tile(np.repeat(["Microglia-PVM", "Astrocyte"], PER_TYPE), N_DONORS),
        "position": rng.random(len(donor)),
        "n_genes": 50, "pct_mito": np.nan, "adnc": donor % 4, "braak": -1, "thal": -1,
        "assay": "MERFISH", "cerad": -1, "cognition": -1, "cps": np.nan, "sex": "female",
        "age_death": 80.0 + donor % 5, "pmi": 5.0,
    }  # fmt: skip
    return pd.DataFrame(table)


def readout(obs, *, depth=0.0, stage=0.0, change=0.0, seed=1):
    """Scores whose first set follows depth and stage; zeroing the candidate changes the slope."""
    rng = np.random.default_rng(seed)
    donor = obs["donor_id"].str[1:].astype(int).to_numpy()
    scores = rng.normal(size=(len(obs), 2)) + 0.2 * rng.normal(size=(N_DONORS, 2))[donor]
    scores[:, 0] += depth * obs["position"] + stage * obs["adnc"]
    changes = 0.1 * rng.normal(size=(1, len(obs), 2))
    changes[0, :, 0] += change * obs["position"]
    types = np.zeros(len(obs), int)
    return CellReadout(types, types[None], scores, changes)


def positions(obs, found):
    rows = position_rows(found, SETS, obs, ["c1"], "depth", 5, 10)
    return pd.DataFrame(rows).set_index(["gene_set", "measure"])


def test_planted_slopes_along_depth_are_found_and_no_others(obs):
    table = positions(obs, readout(obs, depth=2.0, change=1.0))
    dam = table.loc["AD_MICROGLIA_DAM"]
    assert dam.loc["slope", "p"] < 1e-4 and dam.loc["slope", "value"] == pytest.approx(2, abs=0.5)
    assert dam.loc["slope_change", "p"] < 1e-4 and dam.loc["slope_change", "low"] > 0.8
    assert (table.loc["AD_ASTROCYTE_REACTIVE", "p"] > 0.01).all()
    assert set(table["cell_type"]) == {"Microglia-PVM", "Astrocyte"}


def test_without_an_effect_p_is_as_often_low_as_it_says(obs):
    p = np.concatenate([positions(obs, readout(obs, seed=s))["p"] for s in range(25)])
    assert (p < 0.1).mean() < 0.2


def test_a_planted_slope_on_the_stage_is_found_in_its_set_alone(obs):
    stages = section_settings("stages", {"min_cells": 5, "covariates": ["age_death"]})
    found = readout(obs, stage=0.5)
    table = pd.DataFrame(stage_rows(found, SETS, obs, ["c1"], stages, 10))
    tested = table[table["status"].eq("tested")]
    assert set(tested["stage"]) == {"adnc"} and len(tested) == 2 * 2 * 2
    low = tested[tested["p"] < 0.001]
    assert set(zip(low["gene_set"], low["measure"], strict=True)) == {(SETS[0], "slope")}
    assert set(low["cell_type"]) == {"Microglia-PVM", "Astrocyte"}


def test_accuracy_and_its_change_are_over_donors(obs):
    labels = np.where(obs["cell_type"].eq("Astrocyte"), 1, 0)
    labels[:30] = -1  # of a type that the model does not know
    intact, pruned = labels.copy(), labels.copy()
    pruned[np.arange(len(obs)) % 7 == 0] = 5
    found = CellReadout(intact, np.array([pruned, intact]), None, None)
    table = pd.DataFrame(accuracy_rows(found, labels, obs, ["c1", "c2"], 10))
    assert table.loc[0, "value"] == 1.0 and table.loc[0, "n_cells"] == len(obs) - 30
    assert table.loc[1, "value"] < 0 and table.loc[1, "p"] < 1e-4
    assert table.loc[2, "status"] == "not tested" and "it is 0 in all" in table.loc[2, "reason"]


def test_the_mean_over_donors_equals_scipy():
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    found = mean_over_donors(values, 10, tested=True)
    expected = stats.ttest_1samp(values, 0)
    assert found["p"] == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert mean_over_donors(values[:5], 10, tested=True)["reason"] == "5 donors; 10 are needed"


def test_slopes_are_those_of_least_squares_within_sections(obs):
    values = np.random.default_rng(3).normal(size=len(obs))
    found = slope_by_donor(values, obs, 5)
    own = obs["donor_id"].eq("D03").to_numpy()
    fit = sm.OLS(values[own], sm.add_constant(obs.loc[own, "position"])).fit()
    assert found["D03"] == pytest.approx(fit.params["position"])
    assert slope_by_donor(values, obs.assign(position=np.nan), 5).empty
