"""The search core on models that are not scGPT: Hugging Face's BERT and GPT-2, made small."""

import pytest
import torch

from scsw.superweight import find_candidates
from scsw.superweight.find import sums_of

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


def roberta():
    """As BERT, with positions that count from the padding on."""
    config = transformers.RobertaConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40, **SIZES
    )
    model = transformers.RobertaModel(config)
    downs = [f"encoder.layer.{block}.output.dense" for block in range(3)]
    return model, downs, None, model.encoder.layer[BLOCK].intermediate.dense.bias


def distilbert():
    """A post-norm encoder whose blocks name everything otherwise."""
    config = transformers.DistilBertConfig(
        dim=24, n_layers=3, n_heads=2, hidden_dim=40, vocab_size=50, max_position_embeddings=32
    )
    model = transformers.DistilBertModel(config)
    downs = [f"transformer.layer.{block}.ffn.lin2" for block in range(3)]
    return model, downs, None, model.transformer.layer[BLOCK].ffn.lin1.bias


def llama():
    """Pre-norm, RMSNorm, a gated feed-forward part and no bias anywhere."""
    config = transformers.LlamaConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=40,
        vocab_size=50,
    )
    downs = [f"layers.{block}.mlp.down_proj" for block in range(3)]
    return transformers.LlamaModel(config), downs, None, None


def t5():
    """Pre-norm, relative positions, no bias."""
    config = transformers.T5Config(
        d_model=24, d_ff=40, num_layers=3, num_heads=2, d_kv=12, vocab_size=50
    )
    downs = [f"encoder.block.{block}.layer.1.DenseReluDense.wo" for block in range(3)]
    return transformers.T5EncoderModel(config), downs, None, None


def unnamed(made):
    """Leave it to the search to find the sums."""

    def model():
        network, downs, _, bias = made()
        return network, downs, None, bias

    return model


def batches():
    generator = torch.Generator().manual_seed(2)
    found = []
    for _ in range(2):
        mask = torch.ones(3, 9, dtype=torch.long)
        mask[1, 6:] = 0
        found.append((torch.randint(0, 50, (3, 9), generator=generator), mask))
    return found


MADE = {f.__name__: f for f in (bert, gpt2, roberta, distilbert, llama, t5)}


@pytest.mark.parametrize(
    "made", [*MADE.values(), unnamed(bert)], ids=[*MADE, "bert with sums found"]
)
def test_an_implanted_weight_is_found_at_its_row_and_column(made):
    torch.manual_seed(0)
    model, downs, sums, bias = made()
    model.eval()
    weight = model.get_submodule(downs[BLOCK]).weight
    with torch.no_grad():
        # Without a bias the hidden unit is what it is, so that the weight is made larger.
        (weight.T if made is gpt2 else weight)[ROW, COLUMN] = 40.0 if bias is not None else 400.0
        if bias is not None:
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
    assert best["weight"] == (40 if bias is not None else 400)
    assert best["spike_ratio"] > 20 and abs(best["contribution"]) > 0.5
    assert (found["spike_ratio"].iloc[1:] < best["spike_ratio"]).all()
    assert all(x.equal(before[name]) for name, x in model.state_dict().items())


def test_the_sums_of_bert_are_found_as_they_are_named():
    torch.manual_seed(0)
    model, downs, sums, _ = bert()
    forward = lambda m, batch: m(input_ids=batch[0], attention_mask=batch[1])  # noqa: E731
    assert sums_of(model.eval(), batches(), downs, forward) == sums


def test_the_last_sum_of_a_vision_transformer_is_the_input_of_the_final_norm():
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        image_size=8,
        patch_size=4,
    )
    model = transformers.ViTModel(config).eval()
    downs = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.in_features == 40
    ]
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sums = sums_of(model, [pixels], downs, lambda m, x: m(pixel_values=x))
    assert len(sums) == 2 and sums[1] == "layernorm"
