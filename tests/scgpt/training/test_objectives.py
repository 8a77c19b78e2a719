"""The objectives, against what the scgpt package computes on the same cells, padded."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from scsw.scgpt.forward import forward_packed
from scsw.scgpt.model import exchange_layers
from scsw.scgpt.training.cell_similarity import elastic_cell_similarity
from scsw.scgpt.training.micro_batches import cells_of, parts, share_bounds
from scsw.scgpt.training.objectives import Objectives, balanced_weights, objectives
from tests.scgpt.forms import CLS_ID, CONTINUOUS, N_BATCHES, N_CLS, PAD_ID, stock
from tests.scgpt.test_parity import packed_cells

LENGTHS = (9, 24, 2, 17, 12)
WEIGHTS = {"gep": 0.5, "mvc": 2.0, "cls": 1.0, "ecs": 3.0, "dab": 0.7}
CLASS_WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.1, 1.4])
FORM = CONTINUOUS | {
    "do_dab": True,
    "num_batch_labels": N_BATCHES,
    "explicit_zero_prob": True,
    "ecs_threshold": 0.6,
}


def cells():
    batch = packed_cells(CONTINUOUS, LENGTHS)
    batch.labels = torch.tensor([0, 3, 3, 1, 2])
    batch.batch_labels = torch.tensor([0, 1, 2, 2, 0])
    return batch


def padded(batch):
    places = torch.arange(batch.longest) < torch.tensor(batch.lengths)[:, None]
    hidden = torch.zeros(batch.n_tokens, dtype=torch.bool)
    hidden[batch.hidden] = True

    def spread(x, empty):
        return torch.full(places.shape, empty, dtype=x.dtype).masked_scatter(places, x)

    return (
        spread(batch.genes, PAD_ID),
        spread(batch.values, -2.0),
        ~places,
        spread(batch.target, -2.0),
        spread(hidden, False),
    )


def of_the_package(model, batch):
    """The losses as scGPT's trainer computes them."""
    from scgpt.loss import criterion_neg_log_bernoulli, masked_mse_loss

    genes, values, padding, target, hidden = padded(batch)
    output = model(genes, values, padding, CLS=True, MVC=True, ECS=True)
    return {
        "gep": masked_mse_loss(output["mlm_output"], target, hidden),
        "mvc": masked_mse_loss(output["mvc_output"], target, hidden),
        "gep_zero": criterion_neg_log_bernoulli(output["mlm_zero_probs"], target, hidden),
        "mvc_zero": criterion_neg_log_bernoulli(output["mvc_zero_probs"], target, hidden),
        "cls": nn.CrossEntropyLoss(CLASS_WEIGHTS)(output["cls_output"], batch.labels),
        "ecs": output["loss_ecs"],
        "dab": nn.CrossEntropyLoss()(output["dab_output"], batch.batch_labels),
    }


def of_ours(model, batch):
    what = Objectives(WEIGHTS, CLASS_WEIGHTS, model.ecs_threshold)
    output = forward_packed(model, batch, mvc=True, decode=batch.hidden)
    counts = what.counts(batch)
    means = {name: value / counts[name] for name, value in what.sums(output, batch).items()}
    return what, means | {"ecs": what.similarity(output["cell_emb"])}


def test_losses_and_gradients_are_those_of_the_package():
    given = stock(FORM).train()
    model = exchange_layers(copy.deepcopy(given))
    batch = cells()
    expected = of_the_package(given, batch)
    what, found = of_ours(model, batch)
    found.pop("accuracy")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name
    weights = WEIGHTS | {"gep_zero": WEIGHTS["gep"], "mvc_zero": WEIGHTS["mvc"]}
    sum(weights[name] * value for name, value in expected.items()).backward()
    what.total(found).backward()
    theirs = dict(given.named_parameters())
    for name, parameter in model.named_parameters():
        scale = theirs[name].grad.abs().max().item()
        assert torch.allclose(parameter.grad, theirs[name].grad, rtol=0, atol=1e-4 * scale), name


@pytest.mark.parametrize("reverse", [True, False])
def test_the_adversary_learns_while_the_encoder_unlearns(reverse):
    model = exchange_layers(stock(FORM))
    model.grad_reverse_discriminator.reverse_grad = reverse
    _, found = of_ours(model, cells())
    found["dab"].backward()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and name.startswith("grad_reverse"):
                parameter -= 1e-3 * parameter.grad
        _, after_adversary = of_ours(model, cells())
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and not name.startswith("grad_reverse"):
                parameter -= 1e-3 * parameter.grad
        _, after_encoder = of_ours(model, cells())
    assert after_adversary["dab"] < found["dab"]
    assert (after_encoder["dab"] > after_adversary["dab"]) == reverse


def test_cells_alike_have_no_similarity_loss_to_lose():
    alike = torch.ones(1, 8)
    assert elastic_cell_similarity(alike, 0.3).item() == pytest.approx(1 - 0.09)
    pair = torch.eye(2, 8)
    assert elastic_cell_similarity(pair, 0.0).item() == pytest.approx(1.0)


def test_parts_of_a_batch_hold_its_cells_once():
    batch = cells()
    for n in range(1, 8):
        found = parts(batch, n)
        assert [length for part in found for length in part.lengths] == batch.lengths
        assert len(found) == min(n, len(LENGTHS)) and all(part.lengths for part in found)
        joined = [part.genes[part.hidden] for part in found]
        assert torch.cat(joined).equal(batch.genes[batch.hidden])
        assert all(part.genes[part.offsets[:-1].long()].eq(CLS_ID).all() for part in found)
        assert all(part.offsets[-1] == part.n_tokens == len(part.values) for part in found)


def test_processes_share_tokens_and_not_cells():
    assert share_bounds([90, 10, 50, 30, 60], 2) == [(0, 2), (2, 5)]
    assert [b - a for a, b in share_bounds([7], 3)].count(1) == 1
    bounds = share_bounds(list(range(1, 100)), 4)
    assert [a for a, _ in bounds[1:]] == [b for _, b in bounds[:-1]]
    assert (bounds[0][0], bounds[-1][1]) == (0, 99)
    assert all(abs(sum(range(a + 1, b + 1)) - 4950 / 4) <= 50 for a, b in bounds)


def test_a_batch_without_cells_has_no_parts():
    batch = cells()
    assert parts(cells_of(batch, 2, 2), 1) == []


def test_unknown_types_and_batches_count_nowhere():
    model = exchange_layers(stock(FORM))
    batch = cells()
    known = cells_of(batch, 1, 4)
    batch.labels[[0, 4]] = batch.batch_labels[[0, 4]] = -1
    for name in ("cls", "dab"):
        _, found = of_ours(model, batch)
        _, expected = of_ours(model, known)
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 2, 2, 4])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 4]), y=labels)
    assert balanced_weights(labels, 6)[[0, 2, 4]] == pytest.approx(expected)
    assert balanced_weights(labels, 6)[[1, 3, 5]].tolist() == [0, 0, 0]


def test_threshold_and_class_weights_of_the_config():
    model = stock(FORM)
    settings = {f"weight_{name}": 1.0 for name in WEIGHTS} | {"class_weights": "balanced"}
    labels = np.arange(N_CLS)
    for given, expected in ((None, 0.6), (0.8, 0.8)):
        what = objectives(SimpleNamespace(**settings, ecs_threshold=given), labels, model)
        assert what.ecs_threshold == expected
        assert what.class_weights.tolist() == [1.0] * N_CLS
    settings["class_weights"] = "none"
    alike = objectives(SimpleNamespace(**settings, ecs_threshold=None), labels, model)
    batch, output = cells(), {"cls_output": torch.randn(5, N_CLS), "mlm_output": torch.zeros(1)}
    batch.hidden = batch.hidden[:1]
    for name in ("counts", "sums"):
        given = (batch,) if name == "counts" else (output, batch)
        found, expected = (getattr(one, name)(*given)["cls"] for one in (alike, what))
        assert float(found) == pytest.approx(float(expected))


def test_what_is_not_measured_is_nan_in_the_history():
    what = Objectives(WEIGHTS | {"ecs": 0.0, "dab": 0.0}, CLASS_WEIGHTS, 0.3)
    row = what.row({"gep": 1.0, "ecs": 2.0, "mvc": 3.0, "cls": 4.0, "accuracy": 0.5})
    assert np.isnan([row["ecs"], row["dab"]]).all() and row["gep"] == 1.0
