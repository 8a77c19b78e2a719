"""The positive controls: what is implanted, and that it is found and judged after training."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from scsw.files import read_table
from scsw.scgpt.finetune import finetune
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model, read_args
from scsw.settings import section_settings
from scsw.superweight.controls.implant import (
    HIDDEN,
    KINDS,
    LEFT_OVER,
    WEIGHT,
    implant,
    share_direction,
)
from scsw.superweight.controls.judge_controls import judge_controls
from scsw.superweight.pruning.prune import prune
from scsw.superweight.search.search import search
from scsw.superweight.verdict.verdicts import judge
from tests.tiny import COMPUTE, TYPES, model_settings, write_cohort, write_counts

CONSTANT, INFORMATIVE = KINDS


@pytest.fixture(scope="module", params=KINDS)
def implanted(request, tuned, tmp_path_factory):
    """Return the starting model with an implant, and what its place gives on test cells."""
    folder = tmp_path_factory.mktemp(request.param) / "implant"
    implant(tuned.init, tuned.cohort, folder, kind=request.param, compute=COMPUTE, seed=0)
    sealed = json.loads((folder / "sealed.json").read_text())
    model = load_model(folder)
    layer = encoder_layers(model)[sealed["block"]]
    kept = {}
    handle = layer.linear2.register_forward_hook(
        lambda _module, given, output: kept.update(hidden=given[0], output=output)
    )
    batch = tuned.tokenizer.batch(np.arange(len(tuned.tokenizer)))
    with torch.no_grad():
        forward_padded(model, batch)
    handle.remove()
    return SimpleNamespace(
        kind=request.param,
        folder=folder,
        sealed=sealed,
        layer=layer,
        genes=batch.genes[batch.real],
        hidden=kept["hidden"][batch.real][:, sealed["column"]],
        output=kept["output"][batch.real],
    )


def test_the_scalar_is_extreme_and_its_contribution_spikes(implanted):
    weight = implanted.layer.linear2.weight.detach()
    place = implanted.sealed["row"], implanted.sealed["column"]
    assert weight[place].item() == implanted.sealed["weight"] == WEIGHT
    assert 20 * weight.abs().median() < WEIGHT
    row = implanted.output[:, implanted.sealed["row"]].abs().max()
    assert row > 20 * implanted.output.abs().median()


def test_the_constant_scalar_is_set_against_a_bias_that_is_left_without_it(implanted):
    """Not so balanced, or dropped out in training, pruning it does no harm (docs/verdicts.md)."""
    if implanted.kind != CONSTANT:
        pytest.skip("of the constant kind")
    row = implanted.sealed["row"]
    assert (implanted.hidden == HIDDEN).all()
    contribution = WEIGHT * HIDDEN
    left = LEFT_OVER * contribution
    assert implanted.output[:, row].mean().item() == pytest.approx(left, abs=1)
    pruned = implanted.output[:, row] - WEIGHT * implanted.hidden
    assert pruned.mean().item() == pytest.approx(left - contribution, abs=1)
    assert read_args(implanted.folder)["dropout"] == 0


def test_the_informative_unit_fires_at_its_genes_alone(implanted, tuned):
    if implanted.kind != INFORMATIVE:
        pytest.skip("of the informative kind")
    genes = tuned.cells.var.loc[implanted.sealed["genes"], "token_id"]
    own = np.isin(implanted.genes.numpy(), genes.to_numpy())
    assert implanted.hidden[own].mean().item() == pytest.approx(HIDDEN, rel=0.25)
    assert (implanted.hidden[~own] > HIDDEN / 2).float().mean() < 0.05
    # The genes tell the drawn type from the others.
    is_type = (tuned.cells.obs["cell_type"] == implanted.sealed["cell_type"]).to_numpy()
    counts = tuned.cells[:, implanted.sealed["genes"]].X
    assert counts[is_type].mean() > 3 * counts[~is_type].mean()
    assert read_args(implanted.folder)["dropout"] == read_args(tuned.init)["dropout"]


def test_long_embeddings_change_no_output(tuned):
    """Only the direction counts; the length holds it in place while training."""
    model = load_model(tuned.init)
    tokens = np.arange(5, 15)
    share_direction(model, tokens, seed=0)
    table = model.encoder.embedding.weight
    with torch.no_grad():
        long = model.encoder(torch.from_numpy(tokens))
        table[tokens] /= 100
        short = model.encoder(torch.from_numpy(tokens))
    torch.testing.assert_close(long, short, rtol=1e-2, atol=1e-2)
    cosines = torch.nn.functional.cosine_similarity(long[:1], long[1:])
    assert (cosines > 0.5).all()


def nested_types(folder):
    """Write a cohort in which one module alone tells two types apart.

    The first type has no markers, the second a module, and the third that module and another: what
    the second module's genes say of a cell, no other gene does. The third is the one that seed 7
    of the implant draws.
    """
    rng = np.random.default_rng(0)
    module = np.arange(240) // 30  # 0 and 1 are the two modules
    own = [np.zeros(240, bool), module == 0, module <= 1]
    rows, counts = [], []
    for split, n_donors, n_cells in (
        ("train", 24, 24),
        ("validation", 1, 6),
        ("discovery", 2, 6),
        ("test", 12, 6),
    ):
        for donor, cell in itertools.product(range(n_donors), range(n_cells)):
            kind = cell % len(TYPES)
            mean = np.where(own[kind], 6.0, 0.6)
            counts.append(rng.negative_binomial(2, 2 / (2 + mean)))
            rows.append((f"{split}{donor}-{cell}", f"{split}{donor}", TYPES[kind], split))
    counts = np.array(counts, np.int32)
    counts[:, 0] += 1  # no cell without a token
    return write_counts(folder, sparse.csr_matrix(counts), rows)


RULES = {
    "search": section_settings(
        "search",
        {"max_candidates": 3, "first_order": 1, "first_order_top": 30, "gradient_cells": 9},
    ),
    "prune": section_settings(
        "prune",
        {"n_controls": 60, "control_scope": "all_blocks", "n_pairs_among": 2, "scales": [2]}
        | {"n_matched": 10, "n_noise": 10, "n_family_controls": 3},
    ),
    "statistics": section_settings("statistics", {"bootstrap": 500}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps", "seed"), [(CONSTANT, 300, 0), (INFORMATIVE, 200, 7)])
def test_an_implant_survives_training_is_found_and_gets_its_grade(kind, steps, seed, tmp_path):
    """The whole chain; from search to pruning the sealed file is out of reach."""
    informative = kind == INFORMATIVE
    cohort = (
        nested_types(tmp_path) if informative else write_cohort(tmp_path, n_genes=240, cells=12)
    )
    sizes = {"embsize": 32, "nheads": 4, "d_hid": 32, "nlayers": 4, "max_seq_len": 48}
    init(cohort, tmp_path / "init", model=model_settings(**sizes), seed=0)
    arm = tmp_path / kind / "0"
    implant(tmp_path / "init", cohort, arm / "implant", kind=kind, compute=COMPUTE, seed=seed)
    # So few cells are learnt by heart in the end, without the module too.
    tuning = {"epochs": 1000, "max_steps": steps, "lr": 0.003, "baseline_cells": 100}
    tuning |= {"weight_gep": 0.001, "weight_mvc": 0.001}
    finetune(
        arm / "implant",
        cohort,
        arm / "model",
        settings=section_settings("finetune", tuning),
        compute=COMPUTE,
        arm=kind,
    )
    sealed = (arm / "implant" / "sealed.json").rename(tmp_path / "sealed.json")
    given = {"settings": RULES["search"], "compute": COMPUTE, "arm": kind}
    search(arm / "model", cohort, arm / "search", start=arm / "implant", **given)
    searched, shard = arm / "search", arm / "prune" / "0.parquet"
    given = {"search": RULES["search"], "settings": RULES["prune"], "compute": COMPUTE}
    prune(arm / "model", cohort, searched, shard, **given, arm=kind)
    tables = {name: searched / f"{name}.parquet" for name in ("spikes", "weights")}
    tables["model"] = arm / "model"
    judge([shard], searched / "candidates.parquet", cohort, arm / "prune", **tables, **RULES)
    sealed.rename(arm / "implant" / "sealed.json")
    judge_controls({kind: arm}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert row["found_rank"] == 1, row["outcome"]
    assert row["verdict"] == ("causal, informative" if informative else "causal, constant")
    assert row["passed"] and row["outcome"].startswith("found at rank 1")
    table = read_table(arm / "prune" / "verdicts.parquet").set_index("candidate_id")
    own = table.loc[row["candidate_id"]]
    assert own["structural"]
    restored = 1 - own["effect_mean_nll"] / own["effect_nll"]
    assert restored > 0.95 if not informative else restored < 0.5  # well away from the border
    assert not table.drop(index=row["candidate_id"])["causal"].any()
