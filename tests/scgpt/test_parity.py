"""Our models against the untouched package's, in float32, in every form that the package builds.

Outputs are compared to 1e-5, gradients to 1e-4, both relative to the largest absolute value of the
package's output, or of its gradient of that parameter.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from scsw.scgpt.forward import forward_packed
from scsw.scgpt.model import exchange_layers
from scsw.scgpt.tokens.packed import PackedBatch
from tests.scgpt.forms import (
    CATEGORY,
    CLS_ID,
    CONTINUOUS,
    FORMS,
    N_BATCHES,
    N_BINS,
    N_CLS,
    N_GENES,
    PAD_ID,
    POOLED,
    stock,
)

OUTPUTS, GRADIENTS = 1e-5, 1e-4


def pair(form, **changes):
    given = stock(form, **changes)
    return given, exchange_layers(copy.deepcopy(given))


def packed_cells(form, lengths, *, n_genes=N_GENES, cls_id=CLS_ID, n_cls=N_CLS):
    """Return cells of the given numbers of tokens with 0.4 of their values hidden."""
    draw = torch.Generator().manual_seed(1)
    mask_value = N_BINS + 1.0 if form.get("input_emb_style") == "category" else -1.0
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    genes, target = torch.empty(0, dtype=torch.long), torch.empty(0)
    for n in lengths:
        own = torch.randperm(n_genes, generator=draw)[: n - 1]
        bins = torch.randint(0, N_BINS, (n - 1,), generator=draw)
        genes = torch.cat([genes, torch.tensor([cls_id]), own])
        target = torch.cat([target, torch.zeros(1), bins.float()])
    free = torch.ones(len(genes), dtype=torch.bool)
    free[offsets[:-1]] = False
    hidden = torch.where(free & (torch.rand(len(genes), generator=draw) < 0.4))[0]
    values = target.index_fill(0, hidden, mask_value)
    one_domain = form.get("domain_spec_batchnorm") == "dsbn"
    batches = torch.full((len(lengths),), 1) if one_domain else torch.arange(len(lengths))
    return PackedBatch(
        cells=torch.arange(len(lengths)),
        lengths=list(lengths),
        offsets=offsets.int(),
        genes=genes,
        values=values,
        levels=torch.unique(torch.tensor([mask_value, *range(N_BINS)])),
        target=target,
        hidden=hidden,
        labels=torch.arange(len(lengths)) % n_cls,
        batch_labels=batches % N_BATCHES,
    )


def padded(x, lengths, fill):
    """Return packed values as (cells, tokens)."""
    cells = x.split(list(lengths))
    return torch.nn.utils.rnn.pad_sequence(cells, batch_first=True, padding_value=fill)


def run_padded(model, batch, form, pad_id=PAD_ID):
    """Run the package's forward pass; return its outputs with those of tokens packed again."""
    genes = padded(batch.genes, batch.lengths, pad_id)
    values = padded(batch.values, batch.lengths, float(form["pad_value"]))
    padding = genes.eq(pad_id)
    needed = model.use_batch_labels or model.domain_spec_batchnorm
    output = model(
        genes,
        values,
        padding,
        batch_labels=batch.batch_labels if needed else None,
        CLS=True,
        MVC=True,
        ECS=True,
    )
    return {k: x[~padding] if x.shape == genes.shape else x for k, x in output.items()}


def loss(output, batch):
    """Return GEP + MVC + CLS, and what else the model has a head for."""
    hidden, target = batch.hidden, batch.target[batch.hidden]
    total = F.cross_entropy(output["cls_output"], batch.labels)
    for kind in ("mlm", "mvc"):
        total = total + 0.01 * F.mse_loss(output[f"{kind}_output"][hidden], target)
        if f"{kind}_zero_probs" in output:
            zero = output[f"{kind}_zero_probs"][hidden]
            total = total - torch.where(target > 0, (1 - zero).log(), zero.log()).mean()
    if "dab_output" in output:
        total = total + F.cross_entropy(output["dab_output"], batch.batch_labels)
    return total


def gradients(model, output, batch):
    model.zero_grad()
    loss(output, batch).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found, expected, tolerance):
    """Compare tensors by name, each relative to the largest |expected| of its own."""
    assert found.keys() == expected.keys()
    far = {}
    for name, value in expected.items():
        deviation = (found[name] - value).abs().max().item()
        scale = value.abs().max().item()
        if not deviation <= tolerance * scale:
            far[name] = deviation / scale if scale else math.inf
    assert not far


def assert_same_gradients(found, expected, *, normed=False):
    largest = max(x.abs().max().item() for x in expected.values())
    if normed:
        # A batch norm in training takes away any constant that was added before it, so that the
        # gradient of such a bias is zero but for rounding.
        for name in {"value_encoder.norm.bias", "value_encoder.enc_norm.bias"} & {*expected}:
            for gradient in (found.pop(name), expected.pop(name)):
                assert gradient.abs().max() < 1e-6 * largest
    assert_close(found, expected, GRADIENTS)


def has_norm(form):
    return form.get("domain_spec_batchnorm") in ("dsbn", "batchnorm")


EVEN, UNEVEN = (9, 9, 9, 9), (12, 3, 9, 7)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("lengths", [EVEN, UNEVEN], ids=["even", "padded"])
@pytest.mark.parametrize("form", (FORMS | POOLED).values(), ids=FORMS | POOLED)
def test_padded_outputs(form, lengths, training):
    theirs, ours = (model.train(training) for model in pair(form))
    batch = packed_cells(form, lengths)
    # In eval mode without gradients the package takes a fused path, which gives zeros at padding;
    # pooling would count them, and in training it does not find them.
    pooled = form.get("cell_emb_style", "cls") != "cls"
    with torch.set_grad_enabled(pooled):
        assert_close(run_padded(ours, batch, form), run_padded(theirs, batch, form), OUTPUTS)
    running = {k: v for k, v in theirs.state_dict().items() if "running" in k}
    assert_close({k: ours.state_dict()[k] for k in running}, running, OUTPUTS)


@pytest.mark.parametrize("lengths", [EVEN, UNEVEN], ids=["even", "padded"])
@pytest.mark.parametrize("form", (FORMS | POOLED).values(), ids=FORMS | POOLED)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_padded_gradients(form, lengths, training):
    theirs, ours = (model.train(training) for model in pair(form))
    batch = packed_cells(form, lengths)
    expected = gradients(theirs, run_padded(theirs, batch, form), batch)
    assert len(expected) > 50 and all(x.abs().max() > 0 for x in expected.values())
    found = gradients(ours, run_padded(ours, batch, form), batch)
    assert_same_gradients(found, expected, normed=training and has_norm(form))


def packed_cases():
    for name, form in FORMS.items():
        for lengths in (EVEN, UNEVEN):
            for training in (True, False):
                if has_norm(form) and training and lengths == UNEVEN:
                    continue  # the package's norm counts padding, see test_a_norm_in_training
                mode = (
                    f"{'even' if lengths == EVEN else 'padded'}-{'train' if training else 'eval'}"
                )
                yield pytest.param(form, lengths, training, id=f"{name}-{mode}")


@pytest.mark.parametrize(("form", "lengths", "training"), [*packed_cases()])
def test_packed_outputs_and_gradients(form, lengths, training):
    theirs, ours = (model.train(training) for model in pair(form))
    batch = packed_cells(form, lengths)
    expected = run_padded(theirs, batch, form)
    found = forward_packed(ours, batch, mvc=True)
    del expected["loss_ecs"]  # of the cell embeddings alone
    assert_close(
        {k: x.detach() for k, x in found.items()},
        {k: x.detach() for k, x in expected.items()},
        OUTPUTS,
    )
    assert_same_gradients(
        gradients(ours, found, batch),
        gradients(theirs, expected, batch),
        normed=training and has_norm(form),
    )


@pytest.mark.parametrize("norm", ["dsbn", "batchnorm"])
def test_a_norm_in_training_counts_real_tokens_alone_when_packed(norm):
    form = CONTINUOUS | {"domain_spec_batchnorm": norm, "num_batch_labels": N_BATCHES}
    theirs, ours = (model.train() for model in pair(form))
    batch = packed_cells(form, UNEVEN)
    with torch.no_grad():
        whole = run_padded(theirs, batch, form)["cell_emb"]
        packed = forward_packed(ours, batch)["cell_emb"]
    assert (whole - packed).abs().max() > 1e-3
    tokens = theirs.encoder(batch.genes) + theirs.value_encoder(batch.values)
    kept = ours.bn if norm == "batchnorm" else ours.dsbn.bns[1]
    momentum = kept.momentum
    start = stock(form)
    start = start.bn if norm == "batchnorm" else start.dsbn.bns[1]
    expected = (1 - momentum) * start.running_mean + momentum * tokens.mean(0)
    torch.testing.assert_close(kept.running_mean, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [CONTINUOUS, CATEGORY], ids=["continuous", "category"])
def test_the_published_size(form):
    """12 blocks, d 512, 8 heads, 60,697 tokens, 20 types; outputs and gradients, both passes."""
    n = 60_697
    vocabulary = {f"g{i}": i for i in range(n - 3)} | {
        "<pad>": n - 3,
        "<cls>": n - 2,
        "<eoc>": n - 1,
    }
    theirs, ours = pair(form, sizes=(512, 8, 512, 12), vocabulary=vocabulary, n_cls=20)
    theirs.train(), ours.train()
    batch = packed_cells(form, (17, 40, 28), n_genes=n - 3, cls_id=n - 2, n_cls=20)
    output = run_padded(theirs, batch, form, pad_id=n - 3)
    expected = gradients(theirs, output, batch)
    for found in (
        run_padded(ours, batch, form, pad_id=n - 3),
        forward_packed(ours, batch, mvc=True),
    ):
        names = [name for name in output if name != "loss_ecs"]
        assert_close(
            {k: found[k].detach() for k in names}, {k: output[k].detach() for k in names}, OUTPUTS
        )
        assert_same_gradients(gradients(ours, found, batch), expected)
