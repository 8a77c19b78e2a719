import numpy as np
import pytest

from scsw.scgpt.tokens.draws import cell_key
from scsw.scgpt.tokens.streamed_rows import CACHED
from scsw.scgpt.training import epoch_order as module
from scsw.scgpt.training.epoch_order import BLOCK, WINDOW, epoch_order

KEYS = np.array([cell_key(f"cell{i}") for i in range(60_000)], np.uint64)


def order(cells, seed=0, epoch=0):
    return epoch_order(cells, KEYS[cells], seed, epoch)


@pytest.mark.parametrize("n", [0, 1, 1000, 60_000])
def test_every_cell_comes_once(n):
    cells = np.arange(0, n, 1 if n < 60_000 else 2)
    assert np.array_equal(np.sort(order(cells)), cells)


@pytest.mark.parametrize("n", [1000, 60_000])
def test_it_is_a_function_of_seed_and_epoch(n):
    cells = np.arange(n)
    first = order(cells)
    assert np.array_equal(order(cells), first)
    assert (order(cells, epoch=1) == first).mean() < 0.02
    assert (order(cells, seed=1) == first).mean() < 0.02


def test_the_order_of_a_small_cohort_does_not_depend_on_that_of_its_file():
    cells, moved = np.arange(2000), np.random.default_rng(0).permutation(2000)
    in_file_order = epoch_order(cells, KEYS[cells], 0, 3)
    otherwise = epoch_order(cells, KEYS[moved], 0, 3)  # row i is now cell moved[i]
    assert np.array_equal(moved[otherwise], in_file_order)


def reads(places, kept):
    """Count how often a block is read if the `kept` that were last used stay in memory."""
    held, n = {}, 0
    for block in places // BLOCK:
        n += block not in held
        held.pop(block, None)
        held[block] = True
        if len(held) > kept:
            del held[next(iter(held))]
    return n


def test_blocks_of_a_large_cohort_are_read_about_once():
    cells = np.arange(60_000)
    cells = cells[cells % 7 > 0]  # some are validation cells
    n_blocks = np.unique(cells // BLOCK).size
    assert n_blocks > 3 * WINDOW
    for epoch in range(3):
        assert reads(order(cells, epoch=epoch), CACHED) <= n_blocks + WINDOW
    shuffled = np.random.default_rng(0).permutation(cells)
    assert reads(shuffled, CACHED) > 100 * n_blocks  # what it costs otherwise


def test_no_more_blocks_than_the_window_are_under_way():
    places = order(np.arange(60_000)) // BLOCK
    first, last = np.full(places.max() + 1, -1), np.zeros(places.max() + 1, int)
    for position, block in enumerate(places):
        first[block] = position if first[block] < 0 else first[block]
        last[block] = position
    # Those that are begun at the end and ended at the start lie all around.
    is_within = last - first < places.size // 2
    assert (~is_within).sum() < WINDOW
    for position in range(WINDOW * BLOCK, places.size - WINDOW * BLOCK, 501):
        under_way = is_within & (first <= position) & (position <= last)
        assert under_way.sum() <= WINDOW + 1


def test_batches_mix_donors_even_if_the_file_holds_one_after_the_other():
    donors = np.repeat(np.arange(40), 1500)
    places = order(np.arange(60_000))

    def donors_per_batch(rows):
        return np.array([np.unique(batch).size for batch in donors[rows].reshape(-1, 50)])

    mixed = donors_per_batch(places)
    shuffled = donors_per_batch(np.random.default_rng(0).permutation(60_000)).mean()
    for part in np.array_split(mixed, 10):  # from the first batch to the last
        assert part.mean() > 0.8 * shuffled
    assert mixed.min() > 0.5 * shuffled


def test_a_small_window_is_what_makes_an_order_local(monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 4)
    cells = np.arange(60_000)
    assert reads(order(cells), 5) <= np.unique(cells // BLOCK).size + 4
