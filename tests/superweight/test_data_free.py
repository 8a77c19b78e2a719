"""The search with made-up cells, on a tiny scGPT model."""

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
from scsw.superweight.data_free import KINDS, data_free_table, made_up_cells
from scsw.superweight.discovery import scgpt_blocks
from scsw.superweight.find import find_candidates
from scsw.superweight.implant import implant_constant
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
    implant_constant(model, PLACE)
    blocks = scgpt_blocks(model)
    return SimpleNamespace(
        model=model,
        tokenizer=cohort_tokenizer(read_cohort(cohort, ["discovery"]), folder / "init"),
        vocabulary=read_vocabulary(folder / "init"),
        downs=[block.down for block in blocks],
        sums=[block.norms.after for block in blocks],
    )


@pytest.mark.parametrize("kind", KINDS)
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


def test_an_implant_is_found_without_data(made):
    family = pd.DataFrame([PLACE, {"block": 0, "row": 0, "column": 0}])
    rules = {"spike_ratio": 20.0, "min_share": 0.1, "max_iterations": 5}
    settings = {"n_cells": 12, "batch_size": 5, **rules}
    table = data_free_table(
        made.model, made.tokenizer, family, made.downs, made.sums, CPU, **settings
    )
    for kind in KINDS:
        own = table[table["kind"] == kind]
        best = own.iloc[0]
        assert best[["block", "row", "column"]].to_dict() == PLACE
        assert best["found_by"] == "spike" and best["in_family"] and best["rank"] == 1
        assert best["candidate_id"] == "ffn_down.b1.r5.c11"
        assert own["rank"].tolist() == list(range(1, len(own) + 1))
        places = own[["block", "row", "column"]].itertuples(index=False, name=None)
        known = {(1, 5, 11), (0, 0, 0)}
        assert own["in_family"].tolist() == [place in known for place in places]
    assert encoder_layers(made.model)[1].linear2.weight[5, 11] != 0


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
