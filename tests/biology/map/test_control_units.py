"""Which units and edits a candidate is compared with."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from scsw.biology.map.cell_sample import spread_cells
from scsw.biology.map.control_units import Alike, read_in_controls, write_out_controls

N_BLOCKS, N_UNITS, N_ROWS = 3, 100, 64


@pytest.fixture(scope="module")
def units():
    rng = np.random.default_rng(0)
    firing, activation = rng.uniform(size=(2, N_BLOCKS, N_UNITS))
    size = rng.uniform(0.5, 2, (N_BLOCKS, N_UNITS))
    size[1, 7] = 0
    return Alike(firing, activation), firing, activation, size


def family(*places):
    rows = [(f"ffn_down.b{b}.r{r}.c{c}", b, r, c, w) for b, r, c, w in places]
    return pd.DataFrame(rows, columns=["candidate_id", "block", "row", "column", "weight"])


def test_units_of_the_block_come_first_and_the_nearest_before_others(units):
    alike, firing, activation, _ = units
    candidates = family((1, 2, 5, 1.0), (1, 3, 5, 1.0), (1, 3, 9, -1.0))
    table = read_in_controls(candidates, alike, 150)
    assert (table.groupby("candidate_id").size() == 150).all()
    assert not set(table["control"]) & {"read_in.b1.c5", "read_in.b1.c9"}
    own = table[table["candidate_id"] == "ffn_down.b1.r2.c5"].reset_index(drop=True)
    null = own[own["in_unit_p"]]
    assert len(null) == N_UNITS // 4 and (null["block"] == 1).all()
    assert null["distance"].is_monotonic_increasing
    assert own["distance"][len(null) :].is_monotonic_increasing
    ranks = rankdata(np.column_stack([firing.ravel(), activation.ravel()]), axis=0)
    ranks = ranks.reshape(N_BLOCKS, N_UNITS, 2) / (N_BLOCKS * N_UNITS)
    far = np.linalg.norm(ranks[1] - ranks[1, 5], axis=1)
    expected = [c for c in np.argsort(far) if c not in (5, 9)][: len(null)]
    assert null["column"].tolist() == expected
    assert null["distance"].to_numpy() == pytest.approx(far[expected])
    # One column is one unit, whatever the row.
    other = table[table["candidate_id"] == "ffn_down.b1.r3.c5"]
    assert other["control"].tolist() == own["control"].tolist()


def test_a_small_model_gives_the_units_that_it_has(units):
    table = read_in_controls(family((1, 2, 5, 1.0)), units[0], 1000)
    assert len(table) == N_BLOCKS * N_UNITS - 1 and table["control"].is_unique


def test_a_small_block_gives_the_fewest_that_can_be_tested(units):
    rng = np.random.default_rng(0)
    small = Alike(*rng.uniform(size=(2, N_BLOCKS, 40)))
    candidates = family((1, 2, 5, 1.0))
    assert read_in_controls(candidates, small, 60)["in_unit_p"].sum() == 19
    size = np.ones((N_BLOCKS, 40))
    assert write_out_controls(candidates, small, size, 30, 20, seed=0)["in_unit_p"].sum() == 19


def test_edits_have_the_candidates_l2_and_leave_its_row(units):
    alike, _, _, size = units
    candidates = family((1, 2, 5, -0.5), (1, 3, 5, 2.0), (0, 3, 9, 1.0))
    table = write_out_controls(candidates, alike, size, N_ROWS, 60, seed=0)
    assert (table.groupby("candidate_id").size() == 60).all()
    own = table[table["candidate_id"] == "ffn_down.b1.r2.c5"]
    assert own["in_unit_p"].sum() == 30 and own.loc[own["in_unit_p"], "column"].eq(5).all()
    assert not own["row"].isin([2, 3]).any() and (own["block"] == 1).all()
    assert not own["column"].eq(7).any()  # a silent unit changes nothing
    own_size = 0.5 * size[1, 5]
    assert own["factor"].to_numpy() * size[1, own["column"]] == pytest.approx(own_size)
    assert (own["l2_ratio"] == 1).all()
    # The same edits serve the candidate that shares the unit, at the size of the first.
    shared = table[table["candidate_id"] == "ffn_down.b1.r3.c5"]
    assert shared["control"].tolist() == own["control"].tolist()
    assert shared["l2_ratio"].to_numpy() == pytest.approx(4)
    again = write_out_controls(candidates, alike, size, N_ROWS, 60, seed=0)
    pd.testing.assert_frame_equal(table, again)
    assert not table.equals(write_out_controls(candidates, alike, size, N_ROWS, 60, seed=1))


def test_cells_are_taken_in_turn_from_donors_and_types():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"donor_id": ["a"] * 80 + ["b"] * 20, "cell_type": ["x", "y"] * 50})
    keys = rng.permutation(100).astype(np.uint64)
    rows = spread_cells(obs, keys, 40)
    assert (obs.iloc[rows].value_counts() == 10).all() and (np.diff(rows) > 0).all()
    order = rng.permutation(100)
    shuffled = spread_cells(obs.iloc[order], keys[order], 40)
    assert set(order[shuffled]) == set(rows)
    assert len(spread_cells(obs, keys, None)) == len(spread_cells(obs, keys, 1000)) == 100
