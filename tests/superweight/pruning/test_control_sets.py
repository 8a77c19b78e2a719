"""Control sets against their definition, on small tensors of known order."""

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.superweight.pruning.control_sets import (
    free_weights,
    largest,
    largest_of_column,
    largest_of_row,
    mean_hidden_sizes,
    nearest,
    other_channels,
    wanda_scores,
)

WEIGHT = np.array([[1.0, -4.0, 2.0], [3.0, 0.5, -5.0], [2.5, -1.5, 0.1]])
HIDDEN = np.array([1.0, 2.0, 0.5])
SCORE = wanda_scores(WEIGHT, HIDDEN)


def flat(row, column):
    return 3 * row + column


def test_the_wanda_score_is_weight_times_mean_input():
    assert SCORE.tolist() == [[1, 8, 1], [3, 1, 2.5], [2.5, 3, 0.05]]


def test_candidates_are_never_controls():
    free = free_weights(WEIGHT.shape, 1, [(1, 0, 0), (1, 2, 2), (0, 1, 1)])
    assert np.argwhere(~free).tolist() == [[0, 0], [2, 2]]
    for n in range(1, 12):
        for found in (
            nearest(SCORE, (0, 0), free, n),
            largest_of_row(SCORE, 0, free, n),
            largest_of_column(SCORE, 2, free, n),
            largest(WEIGHT, free, n),
        ):
            assert free.ravel()[found].all() and len(set(found)) == len(found) <= n


def test_nearest_in_score_comes_first_and_ties_go_to_the_earlier_place():
    free = free_weights(WEIGHT.shape, 0, [(0, 1, 2)])
    found = nearest(SCORE, (1, 2), free, 4)  # score 2.5
    assert found.tolist() == [flat(2, 0), flat(1, 0), flat(2, 1), flat(0, 0)]


def test_an_extreme_weight_gets_the_next_largest():
    free = free_weights(WEIGHT.shape, 0, [(0, 0, 1)])
    assert nearest(SCORE, (0, 1), free, 2).tolist() == [flat(1, 0), flat(2, 1)]


def test_neighbours_of_row_and_column_are_the_largest_there():
    free = free_weights(WEIGHT.shape, 0, [(0, 1, 0)])
    assert largest_of_row(SCORE, 1, free, 5).tolist() == [flat(1, 2), flat(1, 1)]
    assert largest_of_column(SCORE, 0, free, 5).tolist() == [flat(2, 0), flat(0, 0)]


def test_a_row_of_candidates_alone_has_no_neighbours():
    free = free_weights(WEIGHT.shape, 0, [(0, 1, c) for c in range(3)])
    assert largest_of_row(SCORE, 1, free, 5).size == 0


def test_the_largest_are_by_size_and_without_the_candidates():
    free = free_weights(WEIGHT.shape, 0, [(0, 1, 2)])
    assert largest(WEIGHT, free, 3).tolist() == [flat(0, 1), flat(1, 0), flat(2, 0)]


def test_noise_goes_to_other_channels_and_the_seed_draws_them():
    drawn = other_channels(3, 64, 20, [0, 1, 3, 5])
    assert len(set(drawn)) == 20 and 3 not in drawn and drawn.max() < 64
    assert drawn.tolist() == other_channels(3, 64, 20, [0, 1, 3, 5]).tolist()
    assert drawn.tolist() != other_channels(3, 64, 20, [1, 1, 3, 5]).tolist()
    assert other_channels(1, 4, 20, [0]).tolist() == [0, 2, 3]


def spikes(**changes):
    rows = [
        (block, site, channel, group, 10 * block + channel)
        for block in range(2)
        for site in ("mlp_hidden", "mlp_out")
        for group in ("all", "donor")
        for channel in (2, 0, 1)
    ]
    table = pd.DataFrame(rows, columns=["block", "site", "channel", "group_by", "mean"])
    return table.assign(**changes)


def test_mean_hidden_sizes_are_read_in_the_order_of_the_channels(tmp_path):
    spikes().to_parquet(tmp_path / "spikes.parquet")
    found = mean_hidden_sizes(tmp_path / "spikes.parquet")
    assert [h.tolist() for h in found] == [[0, 1, 2], [10, 11, 12]]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[t["block"] != 0],
        lambda t: t[(t["block"] != 1) | (t["channel"] != 1)],
        lambda t: t[t["site"] == "mlp_out"],
    ],
)
def test_spikes_of_something_else_are_refused(tmp_path, change):
    change(spikes()).to_parquet(tmp_path / "spikes.parquet")
    with pytest.raises(ScswError, match="hidden units of every block"):
        mean_hidden_sizes(tmp_path / "spikes.parquet")
