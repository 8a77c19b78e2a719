import numpy as np
import pytest

from scsw.cohort.read import read_cohort
from scsw.scgpt.tokens import CLS_VALUE, MASK_VALUE, PAD_VALUE, Tokenizer
from tests.tiny import TYPES, write_cohort


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return read_cohort(write_cohort(tmp_path_factory.mktemp("cohort")))


def tokenizer(cells, **changes) -> Tokenizer:
    vocabulary = {"<pad>": 0, "<cls>": 1}
    settings = {"n_bins": 51, "max_seq_len": 20, "include_zero_gene": False, "seed": 0}
    return Tokenizer(cells, TYPES, vocabulary, **settings | changes)


def tokens_of(batch, row):
    real = ~batch.padding[row].numpy()
    return [x[row].numpy()[real] for x in (batch.genes, batch.values, batch.target, batch.hidden)]


def test_a_cell_does_not_depend_on_its_batch(cells):
    make = tokenizer(cells)
    together = make.batch(np.arange(10), mask_ratio=0.4)
    reverse = make.batch(np.arange(10)[::-1], mask_ratio=0.4)
    for row in range(10):
        alone = make.batch(np.array([row]), mask_ratio=0.4)
        for a, b, c in zip(
            tokens_of(together, row), tokens_of(alone, 0), tokens_of(reverse, 9 - row), strict=True
        ):
            assert np.array_equal(a, b) and np.array_equal(a, c)


def test_cls_comes_first_and_is_never_hidden(cells):
    batch = tokenizer(cells).batch(np.arange(len(cells)), mask_ratio=0.9)
    assert (batch.genes[:, 0] == 1).all()
    assert (batch.values[:, 0] == CLS_VALUE).all()
    assert not batch.hidden[:, 0].any()
    assert (batch.genes[:, 1:] != 1).all()


def test_hidden_and_padded_positions(cells):
    batch = tokenizer(cells).batch(np.arange(30), mask_ratio=0.4)
    assert (batch.values[batch.hidden] == MASK_VALUE).all()
    assert (batch.target[batch.hidden] >= 1).all()
    assert (batch.values[batch.padding] == PAD_VALUE).all()
    assert (batch.genes[batch.padding] == 0).all()
    genes = batch.real.sum(1) - 1
    assert (batch.hidden.sum(1) == (0.4 * genes).round().clamp(min=1)).all()


def test_long_cells_are_sampled_without_replacement(cells):
    batch = tokenizer(cells, max_seq_len=10).batch(np.arange(20))
    assert batch.genes.shape[1] == 10
    for row in batch.genes.numpy():
        assert len(set(row)) == 10


def test_detected_genes_are_the_tokens_unless_zeros_are_asked_for(cells):
    whole = tokenizer(cells, max_seq_len=1000)
    genes, values, *_ = tokens_of(whole.batch(np.array([3])), 0)
    detected = cells.X[3].nonzero()[1]
    assert np.array_equal(genes[1:], cells.var["token_id"].to_numpy()[detected])
    with_zeros = tokenizer(cells, max_seq_len=1000, include_zero_gene=True)
    genes, bins, *_ = tokens_of(with_zeros.batch(np.array([3])), 0)
    assert len(genes) == cells.n_vars + 1
    assert np.array_equal(np.flatnonzero(bins[1:]), detected)
    assert np.array_equal(bins[1:][detected], values[1:])


def test_epochs_and_seeds_renew_the_draws(cells):
    make = tokenizer(cells)
    hidden = [make.batch(np.arange(20), mask_ratio=0.4, epoch=e).hidden for e in (0, 1, 0)]
    assert hidden[0].equal(hidden[2])
    assert hidden[0].shape != hidden[1].shape or not hidden[0].equal(hidden[1])
    rows = np.arange(len(cells))
    assert not np.array_equal(make.shuffled(rows, 0), make.shuffled(rows, 1))
    assert sorted(make.shuffled(rows, 0)) == list(rows)


def test_a_type_that_the_model_does_not_know_is_not_scored(cells):
    make = Tokenizer(
        cells,
        TYPES[:2],
        {"<pad>": 0, "<cls>": 1},
        n_bins=51,
        max_seq_len=20,
        include_zero_gene=False,
        seed=0,
    )
    assert set(make.labels[cells.obs["cell_type"] == TYPES[2]]) == {-1}
