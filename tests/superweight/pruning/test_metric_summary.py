"""The table of every metric over donors, where a cohort lacks what it would be divided by."""

import numpy as np
import pandas as pd
import pytest

from scsw.superweight.pruning.metric_summary import COLUMNS, metric_summary
from tests.superweight.pruning.test_metrics_derived import TYPES, effects_of, made_up
from tests.superweight.verdict.made_up_effects import run


def summary(effects, stage, n_donors=12):
    effects = effects.assign(
        weight_set="candidate", of="", mode="zero", scale=0.0, draw=0, region="MTG"
    )
    donors = pd.DataFrame({"donor_id": sorted(set(effects["donor_id"]))})
    donors = donors.assign(adnc=stage, braak=-1)
    frequencies = pd.Series(1 / len(TYPES), index=TYPES)
    return metric_summary(effects, TYPES, donors, frequencies, run(n_donors=n_donors))


@pytest.mark.parametrize("stage", [2, -1])
def test_numbers_stay_numbers_where_no_stage_is_known(stage):
    table = summary(effects_of(made_up(0.5)), stage)
    assert list(table.columns) == COLUMNS
    assert ("adnc" in set(table["by"])) == (stage != -1) and "braak" not in set(table["by"])
    numbers = ["intact", "pruned", "effect", "effect_low", "effect_high", "floor", "majority"]
    assert all(table[name].dtype == np.float64 for name in numbers)
    assert table.loc[table["by"] != "all", "effect_low"].isna().all()


def test_each_donor_stands_for_itself():
    effects = effects_of(made_up(0.5))
    table = summary(effects, -1)
    own = table[table["by"] == "donor"]
    assert set(own["group"]) == {"d1", "d2", "d3"} and own["n_donors"].eq(1).all()
    assert {"nll", "balanced_accuracy", "gep_mse", "top_share"} <= set(own["metric"])
    # The mean over donors is the row over all of them.
    keys = ["candidate_id", "metric"]
    whole = table[table["by"] == "all"].set_index(keys)["effect"]
    mean = own.groupby(keys)["effect"].mean()
    assert mean.loc[whole.index].to_numpy() == pytest.approx(whole.to_numpy(), rel=1e-9, abs=1e-12)
    # Within one type a mean over types says nothing.
    of_types = table[table["by"] == "cell_type"]
    assert not {"balanced_accuracy", "macro_f1"} & set(of_types["metric"])


def test_without_donors_enough_there_is_no_interval_but_a_number():
    table = summary(effects_of(made_up(0.5)), -1, n_donors=1)
    assert table["effect_low"].isna().all() and table["effect_low"].dtype == np.float64
    assert table["effect"].notna().all()


def test_nothing_measured_in_detail_gives_no_rows():
    effects = effects_of(made_up(0.5)).assign(predicted_counts=None)
    assert summary(effects, 2).empty
