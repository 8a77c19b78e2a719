"""The search with made-up cells and without `<cls>`, on a tiny scGPT model."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.cohort.read import read_cohort
from scsw.scgpt.forward import forward_packed, forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model, read_vocabulary
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.controls.implant import WEIGHT, implant_constant
from scsw.superweight.find import find_candidates
from scsw.superweight.search.discovery import (
    DiscoveryCells,
    chosen_cells,
    real_tokens,
    scgpt_blocks,
    without_cls,
)
from scsw.superweight.search.other_inputs import (
    KINDS,
    MADE_UP,
    _batches,
    made_up_cells,
    other_inputs_table,
)
from tests.tiny import model_settings, write_cohort

CPU = torch.device("cpu")
PLACE = {"block": 1, "row": 5, "column": 11}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a model with an implanted scalar, and its tokenizer."""
    folder = tmp_path_factory.mktemp("made")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(max_seq_len=80), seed=0)
    model = load_model(folder / "init").eval()
    plain = copy.deepcopy(model)
    implant_constant(model, PLACE, WEIGHT)
    blocks = scgpt_blocks(model)
    cells = read_cohort(cohort, ["discovery"])
    tokenizer = cohort_tokenizer(cells, folder / "init")
    return SimpleNamespace(
        plain=plain,
        model=model,
        cells=DiscoveryCells(cells, tokenizer, 5, CPU),
        tokenizer=tokenizer,
        vocabulary=read_vocabulary(folder / "init"),
        downs=[block.down for block in blocks],
        sums=[block.norms.after for block in blocks],
    )


@pytest.mark.parametrize("kind", MADE_UP)
def test_made_up_cells_are_full_and_seeded(made, kind):
    tokenizer = made.tokenizer
    cells = list(made_up_cells(tokenizer, kind, 10, 4, CPU))
    assert [len(batch.cells) for batch in cells] == [4, 4, 2]
    assert torch.cat([batch.cells for batch in cells]).tolist() == list(range(10))
    for batch in cells:
        assert not batch.padding.any() and not batch.hidden.any()
        assert (batch.genes[:, 0] == made.vocabulary["<cls>"]).all()
        genes, bins = batch.genes[:, 1:].numpy(), batch.values[:, 1:]
        assert np.isin(genes, tokenizer.token_ids).all()
        assert all(len(set(own)) == len(own) for own in genes.tolist())
        assert ((bins >= 1) & (bins < tokenizer.n_bins)).all()
        assert (bins.unique().numel() == 1) == (kind == "constant")
    again = list(made_up_cells(tokenizer, kind, 10, 5, CPU))
    for name in ("genes", "values"):
        whole = [torch.cat([getattr(b, name) for b in each]) for each in (cells, again)]
        assert whole[0].equal(whole[1])


RULES = {"spike_ratio": 20.0, "min_share": 0.1, "max_iterations": 5}


def table(made, model, family):
    return other_inputs_table(model, made.cells, family, made.downs, made.sums, n_cells=9, **RULES)


def test_an_implant_is_found_whatever_the_input(made):
    family = pd.DataFrame([PLACE, {"block": 0, "row": 0, "column": 0}])
    found = table(made, made.model, family)
    assert list(dict.fromkeys(found["kind"])) == list(KINDS)
    for _, own in found.groupby("kind"):
        best = own.iloc[0]
        assert best[["block", "row", "column"]].to_dict() == PLACE
        assert best["found_by"] == "spike" and best["in_family"] and best["rank"] == 1
        assert best["candidate_id"] == "ffn_down.b1.r5.c11"
        assert own["rank"].tolist() == list(range(1, len(own) + 1))
        places = own[["block", "row", "column"]].itertuples(index=False, name=None)
        known = {(1, 5, 11), (0, 0, 0)}
        assert own["in_family"].tolist() == [place in known for place in places]
    assert encoder_layers(made.model)[1].linear2.weight[5, 11] != 0


def test_a_spike_that_needs_cls_is_not_found_without_it(made):
    """One hidden unit reads what `<cls>` has and genes have not."""
    model = copy.deepcopy(made.plain)
    block, row, column = PLACE.values()
    layer, name = encoder_layers(model)[block], f"transformer_encoder.layers.{block}.norm1"
    with torch.no_grad():
        at_cls, at_genes = tokens_at(model, made.cells, name)
        difference = at_cls.mean(0) - at_genes.mean(0)
        layer.linear1.weight[column] = difference / difference.square().sum()
        ends = [(x @ layer.linear1.weight[column]) for x in (at_genes, at_cls)]
        assert ends[0].max() < ends[1].min()
        layer.linear1.bias[column] = -(ends[0].max() + 0.1 * (ends[1].min() - ends[0].max()))
        layer.linear2.weight[row, column] = 300.0
    found = table(made, model, pd.DataFrame([PLACE]))
    spikes = found[found["found_by"] == "spike"].groupby("kind")["candidate_id"].agg(set)
    name = f"ffn_down.b{block}.r{row}.c{column}"
    assert name in spikes["with_cls"] and name not in spikes.get("without_cls", set())


def tokens_at(model, cells, name):
    """Return a norm's output at `<cls>` and at genes, of the sampled cells."""
    kept = []
    hook = model.get_submodule(name).register_forward_hook(lambda _, __, x: kept.append(x))
    batches = list(cells.sample(9))
    for batch in batches:
        forward_padded(model, batch)
    hook.remove()
    genes = [x[:, 1:][b.real[:, 1:]] for x, b in zip(kept, batches, strict=True)]
    return torch.cat([x[:, 0] for x in kept]), torch.cat(genes)


def test_without_cls_the_genes_are_the_same(made):
    batch = next(iter(made.cells))
    bare = without_cls(batch)
    for name in ("genes", "values", "target", "padding", "hidden"):
        assert getattr(bare, name).equal(getattr(batch, name)[:, 1:])
    assert (bare.genes != made.vocabulary["<cls>"]).all() and bare.cells.equal(batch.cells)
    own = chosen_cells(bare, torch.tensor([False, True, False, False, True]))
    assert own.cells.equal(batch.cells[[1, 4]]) and own.genes.equal(bare.genes[[1, 4]])


def test_a_cell_without_genes_is_left_out(made):
    cells = made.cells
    counts = cells.cells.copy()
    first = counts.X.indptr[1]
    counts.X.data[:first] = 0
    counts.X.eliminate_zeros()
    tokenizer = Tokenizer(
        counts,
        [],
        made.vocabulary,
        n_bins=51,
        max_seq_len=80,
        include_zero_gene=False,
        seed=0,
    )
    empty = DiscoveryCells(counts, tokenizer, 1, CPU)
    for kind in ("with_cls", "without_cls"):
        batches = list(_batches(empty, kind, len(tokenizer)))
        assert [b.cells.item() for b in batches] == list(range(1, len(tokenizer)))
        assert all(real_tokens(b).any() for b in batches)


def test_packed_cells_give_the_finds_of_padded_ones(made):
    packed = list(made.tokenizer.packed_batches(np.arange(len(made.tokenizer)), 5))
    lengths = {length for batch in packed for length in batch.lengths}
    assert len(lengths) > 1  # so that there is padding to be told
    padded = [b.padded(made.tokenizer.pad_id, made.tokenizer.pad_value) for b in packed]
    a, b = (
        find_candidates(
            made.model,
            list(zip(packed, padded, strict=True)),
            made.downs,
            forward=forward,
            token_mask=lambda pair: pair[1].real,
            sums=made.sums,
            max_candidates=5,
        )
        for forward in (
            lambda m, pair: forward_packed(m, pair[0]),
            lambda m, pair: forward_padded(m, pair[1]),
        )
    )
    assert a.loc[0, list(PLACE)].to_dict() == PLACE
    same = ["block", "row", "column", "site", "found_by", "iteration"]
    assert a[same].equals(b[same])
    for name in ("spike_ratio", "contribution", "residual_share"):
        assert a[name].to_numpy() == pytest.approx(b[name].to_numpy(), rel=1e-4)
