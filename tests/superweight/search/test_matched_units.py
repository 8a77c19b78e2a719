"""Control units: those of the same block that fire most like a candidate's."""

import numpy as np
import pandas as pd

from scsw.superweight.search.matched_units import COLUMNS, matched_units


def block_of(n, seed=0):
    """Return firing rates and mean activations of a block's units."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.linspace(0, 1, n)), rng.gamma(2, 1, n)


def test_the_nearest_units_are_taken_and_none_twice():
    rates = np.array([0.9, 0.1, 0.8, 0.2, 0.85, 0.0])
    means = 10 * rates
    found = matched_units([rates], [means], [(0, 0), (0, 1)], n_controls=1, seed=0)
    assert list(found.columns) == COLUMNS
    assert found[["unit_set", "column", "of"]].values.tolist()[:2] == [
        ["candidate", 0, 0],
        ["candidate", 1, 1],
    ]
    controls = found[found["unit_set"] == "control"].set_index("of")
    assert controls.loc[0, "column"] == 4 and controls.loc[1, "column"] in (3, 5)
    assert (found["firing_rate"] == rates[found["column"]]).all()
    assert (found["mean_activation"] == means[found["column"]]).all()


def controls_of_each(found):
    return found[found["unit_set"] == "control"].groupby(["block", "of"]).size()


def test_controls_are_shared_out_evenly_until_a_block_is_used_up():
    firing, activation = zip(block_of(40), block_of(100, seed=1), strict=True)
    wanted = [(0, column) for column in range(13)] + [(1, 5)]
    found = matched_units(firing, activation, wanted, n_controls=8, seed=0)
    assert not found.duplicated(["block", "column"]).any()
    sizes = controls_of_each(found)
    assert sizes[1, 5] == 8
    assert sizes[0].sum() == 40 - 13 and set(sizes[0]) == {2, 3}


def test_a_unit_has_no_more_controls_than_a_tenth_of_its_block():
    blocks = [block_of(n, seed=n) for n in (5, 64, 300)]
    firing, activation = zip(*blocks, strict=True)
    found = matched_units(firing, activation, [(b, 2) for b in range(3)], n_controls=20, seed=0)
    assert controls_of_each(found).tolist() == [1, 6, 20]


def test_both_measures_count():
    rng = np.random.default_rng(3)
    rates, means = rng.random(400), rng.gamma(2, 1, 400)
    found = matched_units([rates], [means], [(0, 17)], n_controls=20, seed=0)
    controls = found[found["unit_set"] == "control"]
    for values, name in ((rates, "firing_rate"), (means, "mean_activation")):
        far = np.abs(
            (controls[name].to_numpy()[:, None] > values).mean(1) - (values[17] > values).mean()
        )
        assert far.max() < 0.2  # of ranks; 20 of 400 fill a circle of radius 0.13


def test_several_weights_of_a_column_are_one_unit_and_the_order_does_not_matter():
    firing, activation = block_of(30)
    once = matched_units([firing], [activation], [(0, 4), (0, 9)], n_controls=5, seed=2)
    many = [(0, 9), (0, 4), (0, 9), (0, 4)]
    again = matched_units([firing], [activation], many, n_controls=5, seed=2)
    pd.testing.assert_frame_equal(once, again)


def test_ties_go_by_the_seed():
    flat = np.full(50, 0.5)
    drawn = [
        matched_units([flat], [flat], [(0, 0)], n_controls=5, seed=seed)["column"].tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_nothing_wanted_gives_the_columns():
    assert list(matched_units([], [], [], n_controls=3, seed=0).columns) == COLUMNS
