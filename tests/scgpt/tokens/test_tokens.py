import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.stats import chisquare

import scsw.scgpt  # noqa: F401
from scsw.cohort.read import read_cohort
from scsw.errors import ScswError
from scsw.files import read_json, write_json
from scsw.scgpt.init import init
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer, training_batch_names
from scsw.scgpt.tokens.tokenizer import CLS_VALUE, MASK_VALUE, PAD_VALUE, Tokenizer
from tests.tiny import TYPES, model_settings, write_cohort


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


CASES = [
    {},
    {"max_seq_len": 10},
    {"max_seq_len": 1000},
    {"include_zero_gene": True},
    {"pad_value": 51, "mask_value": 52},
]


@pytest.mark.parametrize("changes", CASES)
@pytest.mark.parametrize("mask_ratio", [0.0, 0.4])
def test_packed_cells_are_the_padded_ones(cells, changes, mask_ratio):
    make, rows = tokenizer(cells, **changes), np.array([7, 3, 50, 3])
    packed = make.packed(rows, mask_ratio=mask_ratio, epoch=2)
    padded = make.batch(rows, mask_ratio=mask_ratio, epoch=2)
    assert padded.cells.tolist() == packed.cells.tolist() == [7, 3, 50, 3]
    assert torch.equal(padded.labels, packed.labels)
    real = padded.real
    assert packed.lengths == real.sum(1).tolist()
    assert packed.offsets.tolist() == [0, *np.cumsum(packed.lengths)]
    assert packed.offsets.dtype == torch.int32
    for name in ("genes", "values", "target"):
        own, theirs = getattr(packed, name), getattr(padded, name)
        assert own.dtype == theirs.dtype and torch.equal(own, theirs[real])
    assert torch.equal(packed.hidden, torch.nonzero(padded.hidden[real]).ravel())
    assert (packed.genes[packed.offsets[:-1].long()] == 1).all()
    for name in ("values", "target"):
        assert (getattr(padded, name)[padded.padding] == make.pad_value).all()
    assert (padded.values[padded.hidden] == make.mask_value).all()
    assert (packed.values[packed.hidden] == make.mask_value).all()


@pytest.mark.parametrize("changes", CASES)
def test_levels_are_all_values_that_can_be_shown(cells, changes):
    make = tokenizer(cells, **changes)
    packed = make.packed(np.arange(len(cells)), mask_ratio=0.4)
    levels = packed.levels
    assert levels.dtype == torch.float32 and (levels.diff() > 0).all()
    assert set(levels.tolist()) == {make.mask_value, *range(51)}
    assert set(packed.values.tolist()) <= set(levels.tolist())
    # As the model looks a value up among them.
    assert torch.equal(levels[torch.bucketize(packed.values, levels)], packed.values)


def test_pad_and_mask_value_are_those_of_the_model(cells, tmp_path):
    cohort = write_cohort(tmp_path)
    init(cohort, tmp_path / "init", model=model_settings(), seed=0)
    make = cohort_tokenizer(cells, tmp_path / "init")
    assert (make.pad_value, make.mask_value) == (PAD_VALUE, MASK_VALUE)
    args = read_json(tmp_path / "init" / "args.json")
    write_json(args | {"pad_value": -5, "mask_value": -3}, tmp_path / "init" / "args.json")
    make = cohort_tokenizer(cells, tmp_path / "init")
    assert (make.pad_value, make.mask_value) == (-5, -3)
    assert -3 in make.packed(np.arange(3), mask_ratio=0.4).values


def test_batch_labels_are_places_among_the_batches_of_the_training_donors(cells):
    obs = cells.obs.copy()
    donors = sorted(obs["donor_id"].unique())
    runs = obs["donor_id"].map({donor: f"run{1 + i % 2}" for i, donor in enumerate(donors)})
    obs["batch"] = pd.Categorical(runs.mask(obs["split"] == "test", "run0"))
    names = training_batch_names(obs)
    assert names == ["run1", "run2"]
    make = tokenizer(ad.AnnData(cells.X, obs=obs, var=cells.var), batches=names)
    rows = np.array([*np.flatnonzero(obs["split"] == "train"), 0])
    expected = [{"run0": -1, "run1": 0, "run2": 1}[name] for name in obs["batch"].iloc[rows]]
    assert make.packed(rows).batch_labels.tolist() == expected
    assert set(tokenizer(cells).packed(rows).batch_labels.tolist()) == {-1}


def one_gene_a_cell(sizes, counts=3):
    """Return cells with so many detected genes each."""
    n_genes = max(sizes) + 5
    matrix = np.zeros((len(sizes), n_genes), np.int32)
    for row, size in enumerate(sizes):
        matrix[row, :size] = counts
    names = [f"cell{i}" for i in range(len(sizes))]
    obs = pd.DataFrame({"cell_id": names, "cell_type": TYPES[0], "batch": "1"}, index=names)
    var = pd.DataFrame(
        {"token_id": np.arange(n_genes) + 2}, index=[f"g{i}" for i in range(n_genes)]
    )
    return ad.AnnData(sparse.csr_matrix(matrix), obs=obs, var=var)


@pytest.mark.parametrize("mask_ratio", [0.0, 0.4])
def test_cells_of_no_gene_one_gene_and_exactly_as_many_as_fit(mask_ratio):
    make = tokenizer(one_gene_a_cell([0, 1, 18, 19, 20, 0]))
    packed = make.packed(np.arange(6), mask_ratio=mask_ratio)
    assert packed.lengths == [1, 2, 19, 20, 20, 1]
    hidden = np.bincount(
        np.searchsorted(packed.offsets.numpy(), packed.hidden.numpy(), "right") - 1, minlength=6
    )
    assert hidden.tolist() == ([0, 1, 7, 8, 8, 0] if mask_ratio else [0] * 6)
    alone = make.packed(np.array([0]), mask_ratio=mask_ratio)
    assert alone.genes.tolist() == [1] and alone.values.tolist() == [CLS_VALUE]


def test_hidden_genes_are_any_of_the_kept_ones():
    make = tokenizer(one_gene_a_cell([40]), max_seq_len=21)
    kept, hidden = np.zeros(45), np.zeros(45)
    for epoch in range(3000):
        packed = make.packed(np.array([0]), mask_ratio=0.3, epoch=epoch)
        kept[packed.genes[1:] - 2] += 1
        hidden[packed.genes[packed.hidden] - 2] += 1
    assert kept.sum() == 20 * 3000 and hidden.sum() == 6 * 3000
    # Draws without replacement vary less than chi-square has it, so that this is a strict limit
    # for large deviations only; small ones are tested with the draws themselves.
    assert chisquare(kept[:40]).pvalue > 0.001
    assert chisquare(hidden[:40]).pvalue > 0.001


def test_ties_do_not_depend_on_which_genes_are_kept_or_hidden(cells):
    whole = tokenizer(cells, max_seq_len=1000).packed(np.array([5]), mask_ratio=0.0)
    part = tokenizer(cells, max_seq_len=12).packed(np.array([5]), mask_ratio=0.4)
    bins = dict(zip(whole.genes.tolist(), whole.target.tolist(), strict=True))
    assert [bins[gene] for gene in part.genes.tolist()] == part.target.tolist()


def test_counts_are_whole_numbers_of_any_type(cells):
    expected = tokenizer(cells).packed(np.arange(9), mask_ratio=0.4)
    for dtype in (np.float32, np.float64, np.int64, np.uint16):
        same = ad.AnnData(cells.X.astype(dtype), obs=cells.obs, var=cells.var)
        packed = tokenizer(same).packed(np.arange(9), mask_ratio=0.4)
        assert torch.equal(packed.values, expected.values)
        assert torch.equal(packed.genes, expected.genes)


def test_stored_zeros_are_no_detected_genes(cells):
    counts = cells.X.copy()
    counts.data[:50] = 0
    before = counts.copy()
    packed = tokenizer(ad.AnnData(counts, obs=cells.obs, var=cells.var)).packed(np.arange(3))
    assert (packed.target[packed.genes != 1] >= 1).all()
    assert np.array_equal(counts.data, before.data)


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, -1.0])
def test_counts_that_are_none_are_refused(cells, wrong):
    counts = cells.X.astype(float)
    counts.data[7] = wrong
    with pytest.raises(ScswError, match="raw counts"):
        tokenizer(ad.AnnData(counts, obs=cells.obs, var=cells.var))
