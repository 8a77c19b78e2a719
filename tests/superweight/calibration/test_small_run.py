"""A small subset of the calibration, run again and compared with what is stored."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.files import read_json, read_table
from scsw.superweight.calibration import null_families
from scsw.superweight.calibration.__main__ import gather
from scsw.superweight.calibration.sizes import SMALL, WHOLE, settings
from scsw.superweight.calibration.summary import called
from scsw.superweight.calibration.work_units import do_all, null_units, power_units

STORED = Path(__file__).parents[3] / "docs" / "calibration"


@pytest.mark.parametrize("part", ["null", "power"])
def test_the_stored_settings_are_those_of_the_code(part):
    """But for keys that came later."""
    for section, own in settings(WHOLE, part).items():
        found = read_json(STORED / "settings.json")[part][section]
        assert found == {key: own[key] for key in found}


def test_the_rules_allow_a_verdict_with_so_few_controls():
    stored = read_json(STORED / "settings.json")
    small = settings(SMALL, "null")
    for own, members in ((stored["null"], WHOLE.members), (stored["power"], 1), (small, 4)):
        m = max(members, own["search"]["max_candidates"])
        assert 1 / (own["prune"]["n_controls"] + 1) <= own["statistics"]["alpha"] / m


def searched_tables(folder):
    """Write what blind candidates are made from: two blocks of 4 × 3 weights."""
    blocks, rows, columns = (x.ravel() for x in np.mgrid[:2, :4, :3])
    weights = pd.DataFrame({"block": blocks, "row": rows, "column": columns})
    weights = weights.assign(weight=np.arange(24.0), first_order=0.0, cohort="c", arm="real")
    hidden = pd.DataFrame({"block": [0] * 3 + [1] * 3, "channel": [0, 1, 2] * 2})
    hidden = hidden.assign(site="mlp_hidden", group_by="all", mean=np.arange(6.0))
    names = [*"cohort arm seed rank candidate_id family block row column weight".split()]
    names += "mean_hidden spike_ratio contribution stability found_by iteration".split()
    tables = {
        "weights": weights,
        "spikes": hidden,
        "candidates": pd.DataFrame(columns=names),
        "families": pd.DataFrame({"candidate_id": []}),
    }
    folder.mkdir()
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("scope", null_families.SCOPES)
def test_blind_candidates_are_weights_of_the_model(tmp_path, scope):
    searched_tables(tmp_path / "search")
    for family in range(4):
        out = tmp_path / f"{scope}-{family}"
        null_families.write_blind(tmp_path / "search", out, 5, scope, family, seed=family)
        own = read_table(out / "candidates.parquet")
        assert own["candidate_id"].is_unique and own["rank"].tolist() == [1, 2, 3, 4, 5]
        if scope == "same_tensor":
            assert set(own["block"]) == {family // 2 % 2}
        assert (own["weight"] == own["block"] * 12 + own["row"] * 3 + own["column"]).all()
        assert (own["mean_hidden"] == own["block"] * 3 + own["column"]).all()
        assert own["spike_ratio"].isna().all() and (own["seed"] == family).all()
        assert read_table(out / "families.parquet").empty


@pytest.mark.slow
def test_a_small_subset_comes_out_as_stored(tmp_path):
    do_all(null_units(SMALL, 0, 1), settings(SMALL, "null"), tmp_path, workers=1)
    power = power_units(SMALL, tuple(SMALL.strengths), 0, 1)
    do_all(power, settings(SMALL, "power"), tmp_path, workers=1)
    gather([tmp_path / "done"], tmp_path)
    null, implants = (read_table(tmp_path / f"{name}.parquet") for name in ("null", "power"))
    old_null, old_implants = (
        read_table(STORED / "small" / f"{n}.parquet") for n in ("null", "power")
    )
    old_null = old_null[old_null["model"] == 0].reset_index(drop=True)
    # The draws are the same on every machine.
    keys = ["family", "scope", "seed", "candidate_id"]
    pd.testing.assert_frame_equal(null[keys], old_null[keys])
    assert implants["candidate_id"].tolist() == old_implants["candidate_id"].tolist()
    assert not called(null["verdict"]).any() and not called(old_null["verdict"]).any()
    own = implants.iloc[0]
    assert own["found_rank"] == 1 and own["q"] <= 0.05 and own["effect_low"] > 0.05 * own["gap"]
    made = read_json(STORED / "small" / "machine.json")
    here = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    if made == here:  # other kernels of a matrix product train another model
        numbers = ["effect_nll", "effect_low", "p", "q"]
        pd.testing.assert_frame_equal(null[numbers], old_null[numbers], rtol=1e-4)
        pd.testing.assert_frame_equal(implants[numbers], old_implants[numbers], rtol=1e-4)
        assert implants["verdict"].tolist() == old_implants["verdict"].tolist()
