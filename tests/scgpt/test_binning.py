import numpy as np
import pytest

import scsw.scgpt  # noqa: F401
from scsw.scgpt.binning import bin_counts


@pytest.mark.parametrize("n_bins", [3, 7, 51])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_package_for_the_same_draw(monkeypatch, n_bins, seed):
    from scgpt.preprocess import binning

    counts = np.random.default_rng(seed).negative_binomial(1, 0.2, size=200) + 1
    draws = np.random.default_rng([seed, 1]).random(counts.size)
    monkeypatch.setattr(np.random, "rand", lambda n: draws)
    ours = bin_counts(counts, n_bins, np.random.default_rng([seed, 1]))
    assert np.array_equal(ours, binning(counts, n_bins))
    assert ours.min() >= 1 and ours.max() <= n_bins - 1


def test_a_cell_without_counts_has_no_bins():
    assert bin_counts(np.array([], int), 51, np.random.default_rng(0)).size == 0
