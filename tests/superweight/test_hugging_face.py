"""The search core on models that are not scGPT: Hugging Face's BERT and GPT-2, made small."""

import pytest
import torch

from scsw.superweight.find import find_candidates

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 50, "max_position_embeddings": 32, "n_positions": 32}
BLOCK, ROW, COLUMN = 1, 5, 20


def bert():
    """A post-norm encoder; its feed-forward layers are ordinary linear ones."""
    config = transformers.BertConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40, **SIZES
    )
    model = transformers.BertModel(config)
    downs = [f"encoder.layer.{block}.output.dense" for block in range(3)]
    sums = [f"encoder.layer.{block}.output.LayerNorm" for block in range(3)]
    return model, downs, sums, model.encoder.layer[BLOCK].intermediate.dense.bias


def gpt2():
    """A pre-norm decoder whose ``Conv1D`` stores the transpose of a linear layer's weight."""
    config = transformers.GPT2Config(n_embd=24, n_layer=3, n_head=2, n_inner=40, **SIZES)
    model = transformers.GPT2Model(config)
    downs = [f"h.{block}.mlp.c_proj" for block in range(3)]
    return model, downs, None, model.h[BLOCK].mlp.c_fc.bias


def batches():
    generator = torch.Generator().manual_seed(2)
    found = []
    for _ in range(2):
        mask = torch.ones(3, 9, dtype=torch.long)
        mask[1, 6:] = 0
        found.append((torch.randint(0, 50, (3, 9), generator=generator), mask))
    return found


@pytest.mark.parametrize("made", [bert, gpt2])
def test_an_implanted_weight_is_found_at_its_row_and_column(made):
    torch.manual_seed(0)
    model, downs, sums, bias = made()
    model.eval()
    weight = model.get_submodule(downs[BLOCK]).weight
    with torch.no_grad():
        (weight if made is bert else weight.T)[ROW, COLUMN] = 40.0
        bias[COLUMN] = 2.0
    before = {name: x.clone() for name, x in model.state_dict().items()}
    found = find_candidates(
        model,
        batches(),
        downs,
        forward=lambda m, batch: m(input_ids=batch[0], attention_mask=batch[1]),
        token_mask=lambda batch: batch[1].bool(),
        sums=sums,
        max_candidates=5,
    )
    best = found.iloc[0]
    assert (best["block"], best["row"], best["column"]) == (BLOCK, ROW, COLUMN)
    assert best["weight"] == 40 and best["spike_ratio"] > 20 and best["contribution"] > 0.5
    assert (found["spike_ratio"].iloc[1:] < best["spike_ratio"]).all()
    assert all(x.equal(before[name]) for name, x in model.state_dict().items())
