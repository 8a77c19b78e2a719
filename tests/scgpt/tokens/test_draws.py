"""Random numbers of cells, and the subsets drawn with them."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest, pearsonr

from scsw.scgpt.tokens.draws import CellDraws, cell_key, lower_half
from scsw.scgpt.tokens.lowest import limits_passed

KEYS = np.array([cell_key(f"cell{i}") for i in range(40)], np.uint64)
EACH = 500


def numbers(seed=0, kind=0, epoch=0, keys=KEYS, each=EACH):
    return CellDraws(seed).numbers(keys, np.arange(len(keys) + 1) * each, kind, epoch)


def upper_half(drawn):
    return (drawn >> np.uint64(32)) * 2.0**-32


@pytest.mark.parametrize("half", [lower_half, upper_half])
def test_both_halves_are_uniform(half):
    drawn = half(numbers())
    assert drawn.dtype == np.float64 and drawn.min() >= 0 and drawn.max() < 1
    assert kstest(drawn, "uniform").pvalue > 0.001
    # So are the first number of each cell and those of one cell.
    firsts = half(numbers(keys=np.array([cell_key(str(i)) for i in range(5000)]), each=1))
    assert kstest(firsts, "uniform").pvalue > 0.001
    assert min(kstest(cell, "uniform").pvalue for cell in drawn.reshape(-1, EACH)) > 1e-5


def test_draws_of_another_kind_epoch_seed_or_cell_have_nothing_in_common():
    first = numbers()
    others = [
        numbers(kind=1), numbers(epoch=1), numbers(seed=1), numbers(seed=2**40),
        numbers(keys=KEYS[::-1].copy()), np.roll(first, 1), np.roll(first, EACH),
    ]  # fmt: skip
    # Correlations of n independent pairs lie within 4.5 / sqrt(n) but for 7 in a million.
    limit = 4.5 / np.sqrt(first.size)
    assert not any(np.isin(first, other).any() for other in others[:4])
    for other in others:
        for a in (lower_half, upper_half):
            for b in (lower_half, upper_half):
                assert abs(pearsonr(a(first), b(other)).statistic) < limit
    assert abs(pearsonr(lower_half(first), upper_half(first)).statistic) < limit


def test_a_cells_draws_depend_on_nothing_else():
    drawn = numbers().reshape(-1, EACH)
    some = numbers(keys=KEYS[[7, 3, 7]], each=100).reshape(-1, 100)
    assert np.array_equal(some, drawn[[7, 3, 7], :100])
    made = CellDraws(0)
    made.numbers(KEYS[:3], np.array([0, 1, 1, 4]), 1, 5)  # what was drawn before
    assert np.array_equal(made.numbers(KEYS, np.arange(41) * EACH, 0, 0), numbers())


def test_the_draws_are_numpys_philox():
    counter, key = np.array([0, 1, 3, 0], np.uint64), np.array([KEYS[0], 9], np.uint64)
    expected = np.random.Philox(counter=counter, key=key).random_raw(EACH)
    assert np.array_equal(numbers(seed=9, kind=1, epoch=3, keys=KEYS[:1]), expected)


@pytest.mark.parametrize("bits", [64, 10, 1])
def test_the_lowest_numbers_pass_no_limit(bits):
    random = np.random.default_rng(bits)
    sizes = np.array([5, 0, 1, 300, 2000, 17])
    bounds = np.concatenate([[0], sizes.cumsum()])
    drawn = random.integers(0, 2**bits, bounds[-1], np.uint64, endpoint=False) << np.uint64(
        64 - bits
    )
    kept = np.minimum(sizes, [5, 0, 0, 250, 1199, 16])
    hidden = np.minimum(kept, [1, 0, 0, 250, 480, 3])
    passed = limits_passed(drawn, bounds, np.stack([hidden, kept], axis=1))
    for cell in range(len(sizes)):
        own = slice(bounds[cell], bounds[cell + 1])
        rank = np.argsort(np.argsort(drawn[own], kind="stable"))
        expected = (rank >= hidden[cell]).astype(int) + (rank >= kept[cell])
        assert np.array_equal(passed[own], expected)


def test_every_gene_has_the_same_chance():
    n_cells, n_genes, n_chosen = 4000, 30, 12
    keys = np.array([cell_key(str(i)) for i in range(n_cells)], np.uint64)
    bounds = np.arange(n_cells + 1) * n_genes
    drawn = CellDraws(0).numbers(keys, bounds, 0, 0)
    chosen = limits_passed(drawn, bounds, np.full((n_cells, 1), n_chosen)) == 0
    chosen = chosen.reshape(n_cells, n_genes)
    assert (chosen.sum(1) == n_chosen).all()
    # Draws without replacement: the statistic is chi-square after this correction.
    expected = n_cells * n_chosen / n_genes
    statistic = ((chosen.sum(0) - expected) ** 2 / expected).sum()
    statistic *= (n_genes - 1) / (n_genes - n_chosen)
    assert chi2.sf(statistic, n_genes - 1) > 0.001
    # Neighbours are chosen together as often as chance has it.
    together = (chosen[:, 1:] & chosen[:, :-1]).mean()
    chance = n_chosen * (n_chosen - 1) / (n_genes * (n_genes - 1))
    assert abs(together - chance) < 4 * np.sqrt(chance / n_cells / (n_genes - 1))
