"""Genes and donors of a candidate, with planted truth."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from scsw.biology.donor_scores import donor_scores
from scsw.biology.gene_scores import gene_scores
from scsw.biology.map_genes import map_genes
from scsw.biology.matched_genes import neighbours, score_against_neighbours
from scsw.biology.token_sums import TokenSums
from scsw.cohort.read import read_cohort
from scsw.files import read_table, write_table
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from scsw.superweight.capture import capture, encoder_points
from tests.tiny import COMPUTE, model_settings, write_cohort

MAP = section_settings("map", {"min_cells": 5, "matched_genes": 20})
STATISTICS = section_settings("statistics", {"bootstrap": 300})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    cells = read_cohort(cohort, ["test"])
    return SimpleNamespace(
        cohort=cohort,
        folder=folder / "init",
        model=load_model(folder / "init"),
        cells=cells,
        tokenizer=cohort_tokenizer(cells, folder / "init"),
    )


def candidates(*places):
    rows = [
        {"candidate_id": f"ffn_down.b{b}.r{r}.c{c}", "block": b, "row": r, "column": c, "weight": w}
        for b, r, c, w in places
    ]
    return pd.DataFrame(rows).assign(mean_hidden=0.0, rank=range(1, len(rows) + 1))


def test_a_detection_artefact_is_not_a_gene_of_the_candidate():
    rng = np.random.default_rng(0)
    rate, mean_bin = rng.uniform(0.02, 0.9, 800), rng.uniform(5, 45, 800)
    score = np.log(rate / (1 - rate)) + 0.03 * mean_bin + rng.normal(0, 0.2, 800)
    ordinary = np.flatnonzero((rate > 0.3) & (rate < 0.6))
    planted = rng.choice(ordinary, 10, replace=False)
    score[planted] += 3
    table = score_against_neighbours(score, neighbours(rate, mean_bin, 50))
    called = set(np.flatnonzero(table["q"] < 0.05))
    assert len(called & set(planted)) >= 8
    assert len(called - set(planted)) <= 3
    # By the score alone the often detected genes would come first.
    by_score = set(np.argsort(-score)[:10]) & set(planted)
    by_z = set(table["z"].nlargest(10).index) & set(planted)
    assert len(by_score) < len(by_z)


def test_the_matched_test_is_the_prediction_t_test_and_keeps_its_level():
    rng = np.random.default_rng(1)
    rate, mean_bin = rng.uniform(0.05, 0.9, 500), rng.uniform(5, 45, 500)
    matched = neighbours(rate, mean_bin, 30)
    assert matched.shape == (500, 30)
    assert all(own not in row for own, row in enumerate(matched))
    score = rng.normal(size=500)
    table = score_against_neighbours(score, matched)
    others = score[matched[7]]
    t = (score[7] - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 30))
    assert table["z"][7] == pytest.approx(t)
    assert table["p"][7] == pytest.approx(2 * stats.t.sf(abs(t), 29))
    assert table["q"].to_numpy() == pytest.approx(stats.false_discovery_control(table["p"]))
    assert 0.02 < (table["p"] < 0.05).mean() < 0.09


def test_too_few_genes_are_not_matched():
    assert neighbours(np.linspace(0.1, 0.9, 10), np.ones(10), 5) is None
    assert score_against_neighbours(np.ones(10), None)["p"].isna().all()


def test_sums_over_tokens_leave_out_padding_and_cls():
    sums = TokenSums(np.array([3, 4, 5]), 2, 1)
    genes = np.array([[1, 3, 4, 0], [1, 4, 4, 5]])
    real = np.array([[True, True, True, False], [True] * 4])
    sums.add(genes, real, np.array([0, 1]), np.array([[[9, 1, 2, 9], [9, 3, 4, 5.0]]]))
    totals, counts = sums.by_type()
    assert totals[0].tolist() == [[1, 2, 0], [0, 7, 5]]
    assert counts.tolist() == [[1, 1, 0], [0, 2, 1]]


def wired(parts, genes, column=5, row=3):
    """Return the model with one hidden unit of block 0 that fires at some genes' tokens."""
    model = copy.deepcopy(parts.model)
    layer = encoder_layers(model)[0]
    kept = {}
    points = {"x": encoder_points(encoder_layers(model), ["mlp_in"])["0.mlp_in"]}
    batch = parts.tokenizer.batch(np.arange(len(parts.tokenizer)))
    with torch.no_grad(), capture(points, kept.__setitem__):
        forward_padded(model, batch)
        ids = torch.tensor(parts.cells.var.loc[genes, "token_id"].to_numpy())
        own = torch.isin(batch.genes, ids) & batch.real
        x = kept["x"]
        direction = x[own].mean(0) - x[batch.real & ~own].mean(0)
        direction /= direction.norm()
        layer.linear1.weight[column] = direction
        layer.linear1.bias[column] = -(x[batch.real & ~own] @ direction).quantile(0.9)
        layer.linear2.weight[row, column] = 4.0
    return model


def test_a_gene_wired_to_a_unit_is_read_back(parts):
    genes = ["GENE07"]
    model = wired(parts, genes)
    family = candidates((0, 3, 5, 4.0))
    table = gene_scores(model, parts.tokenizer, parts.cells, family, MAP, COMPUTE, CPU)
    read = table[(table["view"] == "read_in") & (table["cell_type"] == "all")]
    assert read.nlargest(1, "z")["gene"].tolist() == genes
    assert read.set_index("gene").loc[genes, "q"].max() < 0.05


def test_read_in_and_write_out_equal_a_direct_computation(parts):
    weight = float(encoder_layers(parts.model)[1].linear2.weight[2, 4])
    family = candidates((1, 2, 4, weight))
    table = gene_scores(parts.model, parts.tokenizer, parts.cells, family, MAP, COMPUTE, CPU)
    assert set(table["view"]) == {"read_in", "write_out", "direction"}
    gene = table.iloc[0]["gene"]
    token = int(parts.cells.var.loc[gene, "token_id"])
    rows = np.arange(len(parts.tokenizer))
    kept = {}
    points = {"h": encoder_points(encoder_layers(parts.model), ["mlp_hidden"])["1.mlp_hidden"]}
    batch = parts.tokenizer.batch(rows)
    with torch.no_grad(), capture(points, kept.__setitem__):
        forward_padded(parts.model, batch)
    expected = weight * kept["h"][batch.genes == token][:, 4].double().mean()
    own = table[(table["gene"] == gene) & (table["cell_type"] == "all")].set_index("view")
    assert own.loc["read_in", "score"] == pytest.approx(float(expected), rel=1e-5)
    masked = parts.tokenizer.batch(rows, mask_ratio=0.4)
    zeroed = copy.deepcopy(parts.model)
    with torch.no_grad():
        encoder_layers(zeroed)[1].linear2.weight[2, 4] = 0
        change = (
            forward_padded(zeroed, masked)["mlm_output"]
            - forward_padded(parts.model, masked)["mlm_output"]
        )
    expected = change[masked.genes == token].double().mean()
    assert own.loc["write_out", "score"] == pytest.approx(float(expected), abs=1e-5)
    embedding = parts.model.encoder(torch.tensor([[token]]))[0, 0, 2]
    assert own.loc["direction", "score"] == pytest.approx(float(embedding), rel=1e-5)


def test_donors_are_averaged_over_their_cells(parts):
    family = candidates((1, 2, 4, 0.5))
    table = donor_scores(parts.model, parts.tokenizer, parts.cells, family, COMPUTE, CPU)
    assert set(table["donor_id"]) == {f"test{i}" for i in range(12)}
    whole = table[table["cell_type"] == "all"]
    assert whole["n_cells"].sum() == len(parts.tokenizer)
    assert (table["adnc"] == 2).all() and (table["split"] == "test").all()


def test_the_step_writes_its_tables(parts, tmp_path):
    write_table(candidates((0, 3, 5, 0.1), (1, 2, 4, 0.2)), tmp_path / "candidates.parquet")
    map_genes(
        parts.folder,
        parts.cohort,
        tmp_path / "candidates.parquet",
        tmp_path / "map",
        settings=MAP,
        statistics=STATISTICS,
        compute=COMPUTE,
    )
    for name in ("gene_scores", "donor_scores"):
        table = read_table(tmp_path / "map" / f"{name}.parquet")
        assert list(table.columns[:3]) == ["cohort", "arm", "seed"] and len(table)
    donors = read_table(tmp_path / "map" / "donor_scores.parquet")
    assert set(donors["split"]) == {"discovery", "test"}
