"""The other families beside others of their kind, from made-up effects."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from scsw.superweight.verdict.family_effects import COLUMNS, family_effects
from tests.superweight.verdict.made_up_effects import run

DONORS = [f"d{i:02}" for i in range(12)]


def rows_of(weight_set, name, family, block, rise, of=""):
    """Return one edit's rows: `rise` nats per cell in each donor, give or take."""
    spread = np.linspace(-0.01, 0.01, len(DONORS))
    return pd.DataFrame(
        {
            "weight_set": weight_set,
            "candidate_id": name,
            "of": of,
            "mode": "zero",
            "scale": 0.0,
            "draw": 0,
            "family": family,
            "block": block,
            "row": 1,
            "column": -1,
            "donor_id": DONORS,
            "n_cells": 4,
            "sum_d_nll": 4 * (rise + spread),
            "floor_nll": 0.004,
        }
    )


def effects(n_rows=19):
    parts = [
        rows_of("family", "row.b0.r1.c-", "row", 0, 0.5, of="0.linear2"),
        rows_of("family", "row.b1.r1.c-", "row", 1, 0.5, of="1.linear2"),
        rows_of("family", "norm_gamma.b0.r1.c-", "norm2_gamma", 0, 0.0005, of="0.norm2"),
    ]
    # Rows of block 0 do little, those of block 1 as much; γ has one control that does nothing.
    parts += [rows_of("family_random", f"r{i}", "row", 0, 0.01 * i) for i in range(n_rows)]
    parts += [rows_of("family_random", f"s{i}", "row", 1, 0.1 * i) for i in range(10)]
    parts += [rows_of("family_random", "g", "norm2_gamma", 0, 0.0)]
    parts += [rows_of("random", "x", "ffn_down", 0, 9.0)]  # of another family: no control here
    return pd.concat(parts, ignore_index=True)


def test_each_candidate_is_ranked_among_its_own_kind_and_block():
    table = family_effects(effects(), run())
    assert list(table.columns) == COLUMNS
    table = table.set_index("candidate_id")
    first, second, gamma = (
        table.loc[name] for name in ("row.b0.r1.c-", "row.b1.r1.c-", "norm_gamma.b0.r1.c-")
    )
    assert (first["p"], first["n_controls"]) == (1 / 20, 19)
    assert second["p"] == pytest.approx(6 / 11)  # five of ten do as much or more
    assert first["control_max"] == pytest.approx(0.18)
    assert first["control_mean"] == pytest.approx(0.09)
    assert first["effect_low"] < first["effect_nll"] == pytest.approx(0.5)
    assert first["null"] == "19 other rows of linear2, block 0, set to zero"
    assert gamma["null"] == "1 other channels' γ of norm2, block 0, set to zero"
    assert gamma["unresolved"] and not first["unresolved"]
    assert table["q"].to_numpy() == pytest.approx(false_discovery_control(table["p"]))


def test_without_donors_enough_there_is_neither_interval_nor_p():
    table = family_effects(effects(), run(n_donors=9))
    assert table[["effect_low", "effect_high", "p", "q"]].isna().all(axis=None)
    assert table["effect_nll"].notna().all() and table["control_max"].notna().all()


def test_without_controls_there_is_no_p():
    table = effects()
    table = table[table["candidate_id"] != "g"]
    gamma = family_effects(table, run()).set_index("candidate_id").loc["norm_gamma.b0.r1.c-"]
    assert gamma["n_controls"] == 0 and math.isnan(gamma["p"]) and math.isnan(gamma["q"])


def test_a_model_without_such_candidates_has_an_empty_table():
    table = effects()
    table = table[table["weight_set"] == "random"]
    found = family_effects(table, run())
    assert found.empty and list(found.columns) == COLUMNS
