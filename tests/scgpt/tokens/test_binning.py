import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import scsw.scgpt  # noqa: F401
from scsw.scgpt.tokens.binning import bin_counts, bin_edges

SMALL, ANY = st.integers(1, 5), st.integers(1, 2**31 - 1)
# Few different counts, as cells have them; counts on both sides of the table's end; any counts.
NEAR = st.one_of(SMALL, st.integers(250, 260))
CELL = st.one_of(*(st.lists(counts, min_size=1, max_size=130) for counts in (SMALL, NEAR, ANY)))


def package_bins(monkeypatch, counts, n_bins, draws):
    from scgpt.preprocess import binning

    monkeypatch.setattr(np.random, "rand", lambda n: draws)
    return binning(counts, n_bins)


def our_bins(cells, n_bins, draws):
    """Bin cells together, and return the bins of each."""
    counts, bounds = np.concatenate(cells), np.cumsum([0, *map(len, cells)])
    bins = bin_counts(counts, bounds, bin_edges(counts, bounds, n_bins), np.concatenate(draws))
    return np.split(bins, bounds[1:-1])


@pytest.mark.parametrize("n_bins", [3, 7, 51])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_package_for_the_same_draw(monkeypatch, n_bins, seed):
    random = np.random.default_rng(seed)
    sizes = (200, 1, 3000, 2)
    cells = [random.negative_binomial(1, 0.02 * (1 + i), n) + 1 for i, n in enumerate(sizes)]
    draws = [random.random(n) for n in sizes]
    for ours, counts, drawn in zip(our_bins(cells, n_bins, draws), cells, draws, strict=True):
        assert np.array_equal(ours, package_bins(monkeypatch, counts, n_bins, drawn))
        assert ours.min() >= 1 and ours.max() <= n_bins - 1


@settings(max_examples=300, deadline=None)
@given(
    cells=st.lists(CELL, min_size=1, max_size=4),
    n_bins=st.sampled_from([2, 3, 7, 51, 101]),
    dtype=st.sampled_from([np.int32, np.uint32, np.int64]),
    seed=st.integers(0, 9),
)
@example(cells=[[1]], n_bins=51, dtype=np.int32, seed=0)
@example(cells=[[7] * 100, [1]], n_bins=51, dtype=np.int32, seed=0)
@example(cells=[[255] * 9 + [254] * 9 + [256] * 9], n_bins=51, dtype=np.int32, seed=0)
@example(cells=[[2**31 - 1, 2**31 - 2, 1]], n_bins=51, dtype=np.int64, seed=0)
def test_equal_to_the_package_for_odd_cells(cells, n_bins, dtype, seed):
    random = np.random.default_rng(seed)
    draws = [random.random(len(cell)) for cell in cells]
    ours = our_bins([np.array(cell, dtype) for cell in cells], n_bins, draws)
    with pytest.MonkeyPatch.context() as patched:
        for bins, counts, drawn in zip(ours, cells, draws, strict=True):
            assert np.array_equal(bins, package_bins(patched, np.array(counts), n_bins, drawn))


def test_equal_to_the_package_for_the_tensors_that_its_tutorials_give(monkeypatch):
    import torch

    counts = np.random.default_rng(0).negative_binomial(1, 0.1, 500) + 1
    drawn = np.random.default_rng(1).random(500)
    theirs = package_bins(monkeypatch, torch.from_numpy(counts).float(), 51, drawn)
    assert np.array_equal(our_bins([counts], 51, [drawn])[0], theirs.numpy())


def test_part_of_a_cell_is_binned_by_the_edges_of_all_of_it():
    random = np.random.default_rng(0)
    counts, drawn = random.negative_binomial(1, 0.01, 400) + 1, random.random(400)
    whole, part = our_bins([counts], 51, [drawn])[0], np.flatnonzero(random.random(400) < 0.3)
    edges = bin_edges(counts, np.array([0, 400]), 51)
    bins = bin_counts(counts[part], np.array([0, part.size]), edges, drawn[part])
    assert np.array_equal(bins, whole[part])


def test_a_gene_that_was_not_detected_is_in_bin_0():
    counts, bounds = np.array([0, 3, 0, 5]), np.array([0, 4])
    edges = bin_edges(counts[[1, 3]], np.array([0, 2]), 51)
    bins = bin_counts(counts, bounds, edges, np.full(4, 0.999))
    assert np.array_equal(bins == 0, counts == 0)


def test_cells_without_counts_have_no_bins():
    full, none = np.array([3, 1, 2]), np.array([], int)
    cells = [none, full, none, full, none]
    bins = our_bins(cells, 51, [np.full(len(cell), 0.5) for cell in cells])
    assert [len(b) for b in bins] == [0, 3, 0, 3, 0]
    assert np.array_equal(bins[1], our_bins([full], 51, [np.full(3, 0.5)])[0])
    assert our_bins([none], 51, [np.zeros(0)])[0].size == 0
