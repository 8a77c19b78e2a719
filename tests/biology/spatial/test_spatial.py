import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.biology.spatial import spatial as step_module
from scsw.biology.spatial.programmes import gene_directions, programme_directions
from scsw.biology.spatial.readout import read_out
from scsw.biology.spatial.spatial import SPATIAL, spatial
from scsw.biology.spatial.tissue import BY_DEPTH, BY_HEIGHT, cut, read_tissue
from scsw.cohort.read import read_cohort
from scsw.errors import ScswError
from scsw.files import read_table
from scsw.scgpt.evaluation.inference import embeddings, type_probabilities
from scsw.scgpt.forward import forward_packed
from scsw.scgpt.model import read_vocabulary
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from scsw.superweight.ablate import ablate
from tests.biology.spatial import made_up
from tests.cohort.readers.running import run
from tests.tiny import COMPUTE

CPU = torch.device("cpu")


def step(brain, out, panel="telling", tissue=None, **given):
    spatial(
        brain.model,
        brain.cohort,
        brain.folder / "candidates.parquet",
        tissue or brain.tissue[panel],
        out / "spatial.parquet",
        name="merfish",
        settings=section_settings("spatial", given),
        stages=section_settings("stages", {"min_cells": 5, "covariates": ["age_death"]}),
        compute=COMPUTE,
        max_candidates=2,
    )
    table = read_table(out / "spatial.parquet")
    assert list(table.columns) == list(SPATIAL)
    return table


@pytest.fixture(scope="module")
def table(brain, tmp_path_factory):
    return step(brain, tmp_path_factory.mktemp("spatial"))


@pytest.fixture(scope="module")
def tissue(brain):
    cells, _ = read_tissue(brain.tissue["telling"], without=(), max_cells_per_donor=20)
    return cut(cells, made_up.TELLING, read_vocabulary(brain.model))


def test_a_telling_panel_goes_on_to_the_tissue(table):
    nuclei = table[table["step"].eq("nuclei")].set_index("measure")
    assert nuclei.loc["share_kept", "status"] == "go on" and nuclei.loc["floor", "value"] == 1 / 3
    assert nuclei.loc["accuracy_panel", "value"] > 0.6
    accuracy = table[table["measure"].eq("accuracy")].iloc[0]
    assert accuracy["value"] > 0.6 and accuracy["n_donors"] == 12
    assert set(table["step"]) == {"nuclei", "tissue", "position", "stage"}
    assert set(table["n_genes"][table["step"].ne("stage")]) == {20}


def test_a_panel_that_tells_nothing_stops_there(brain, tmp_path):
    table = step(brain, tmp_path, "dumb")
    assert set(table["step"]) == {"nuclei"}
    last = table.iloc[-1]
    assert (last["measure"], last["status"]) == ("share_kept", "stop")
    assert "on the panel's 20 genes the lead over the commonest type is" in last["reason"]


def test_a_panel_that_shares_no_genes_stops_there(brain, tmp_path):
    panel = made_up.OTHERS[-20:]  # human genes that the cohort lacks
    file = made_up.write_tissue(tmp_path / "m.h5ad", panel=panel)
    run(file, tmp_path / "out")
    table = step(brain, tmp_path, tissue=tmp_path / "out" / "spatial.h5ad")
    reason = "0 genes of the panel are known to model and cohort; 10 are needed"
    assert len(table) == 1 and table.loc[0, "reason"] == reason


def test_programmes_of_too_few_panel_genes_are_not_testable(table):
    told = table[table["status"].eq("not testable")].set_index("gene_set")
    assert "0 of its genes are on the panel" in told.loc["AD_OXPHOS", "reason"]
    tested = set(table.loc[table["step"].eq("position"), "gene_set"])
    assert tested == {"AD_MICROGLIA_DAM", "AD_ASTROCYTE_REACTIVE"}
    position = table[table["step"].eq("position")]
    assert set(position["axis"]) == {BY_DEPTH}
    assert set(position.loc[position["measure"].eq("slope"), "status"]) == {"tested"}
    # A hidden unit that is silent in all these cells changes exactly nothing.
    untested = position[position["status"].eq("not tested")]
    assert set(untested["reason"]) <= {"it is 0 in all 12 donors"} and len(untested) < 3


def test_genes_that_do_not_go_with_depth_or_stage_are_no_finding(table):
    intact = table[table["measure"].eq("slope") & table["p"].notna()]
    assert len(intact) >= 4 and (intact["q"] < 0.05).mean() < 0.2


def test_donors_that_the_model_was_fitted_on_take_no_part(brain, tmp_path):
    cells, _ = read_tissue(
        brain.tissue["telling"], without={"H20.33.001", "H20.33.002"}, max_cells_per_donor=None
    )
    assert cells.obs["donor_id"].nunique() == 10


def test_no_donor_outside_training_and_no_candidate_are_told(brain, tmp_path, monkeypatch):
    donors = {f"H20.33.{number:03d}" for number in range(12)}
    monkeypatch.setattr(step_module, "_training", lambda cohort: (donors, "Sst"))
    empty = SimpleNamespace(**{**vars(brain), "folder": tmp_path})
    brain.candidates.iloc[:0].to_parquet(tmp_path / "candidates.parquet")
    table = step(empty, tmp_path)
    accuracy = table[table["measure"].eq("accuracy")].iloc[0]
    assert accuracy["status"] == "not tested" and accuracy["reason"].startswith("0 tissue donors")
    assert not table["candidate_id"].any() and not table["status"].eq("tested").any()


def test_height_stands_in_for_depth(brain, tmp_path):
    file = made_up.write_tissue(tmp_path / "m.h5ad", depth=False)
    run(file, tmp_path / "out")
    cells, axis = read_tissue(tmp_path / "out" / "spatial.h5ad", without=(), max_cells_per_donor=20)
    assert axis == BY_HEIGHT
    assert cells.obs["position"].between(0, 1).all()


def test_a_cohort_is_no_tissue(brain, tmp_path):
    with pytest.raises(ScswError, match="no spatial file"):
        step(brain, tmp_path, tissue=brain.cohort)


def test_directions_are_the_decoder_of_the_cell_embedding(brain):
    cells = read_cohort(brain.cohort, ["test"])
    tokenizer = cohort_tokenizer(cells, brain.model)
    batch = tokenizer.packed(np.arange(4))
    with torch.no_grad():
        found = forward_packed(brain.network, batch, mvc=True)
    directions = gene_directions(brain.network, batch.genes.tolist())
    cell_of = np.repeat(np.arange(4), batch.lengths)
    expected = (found["cell_emb"].double().numpy()[cell_of] * directions).sum(1)
    np.testing.assert_allclose(found["mvc_output"], expected, atol=1e-4)


def test_a_score_is_the_set_against_the_panel():
    directions = np.eye(6)
    library = {"A": ["a", "b", "c"], "B": ["a", "x"], "ALL": list("abcdef")}
    n_genes, testable, scores = programme_directions(directions, list("abcdef"), library)
    assert n_genes == {"A": 3, "B": 1, "ALL": 6} and testable == ["A"]
    np.testing.assert_allclose(scores, [[1 / 6] * 3 + [-1 / 6] * 3])


def test_the_pruned_readout_is_that_of_the_pruned_model(brain, tissue):
    tokenizer = cohort_tokenizer(tissue, brain.model)
    tokens = tissue.var["token_id"].tolist()
    directions = gene_directions(brain.network, tokens)[:3]
    found = read_out(brain.network, tokenizer, brain.candidates, directions, COMPUTE, CPU)
    rows = np.arange(len(tokenizer))
    intact = embeddings(brain.network, tokenizer, rows, COMPUTE, CPU).astype(float) @ directions.T
    np.testing.assert_allclose(found.scores, intact, atol=1e-4)
    types = type_probabilities(brain.network, tokenizer, rows, COMPUTE, CPU).argmax(1)
    assert (found.types == types).mean() > 0.99
    for place, row in enumerate(brain.candidates.to_dict("records")):
        edit = {"module": f"transformer_encoder.layers.{row['block']}.linear2"}
        edit |= {"parameter": "weight", "row": row["row"], "column": row["column"]}
        with ablate(brain.network, pd.DataFrame([edit])) as pruned:
            after = embeddings(pruned, tokenizer, rows, COMPUTE, CPU).astype(float) @ directions.T
        np.testing.assert_allclose(found.changes[place], after - intact, atol=2e-4)


def test_a_model_without_mvc_scores_no_programme(brain, tmp_path):
    folder = shutil.copytree(brain.model, tmp_path / "model")
    settings = json.loads((folder / "train_args.json").read_text())
    (folder / "train_args.json").write_text(json.dumps(settings | {"weight_mvc": 0}))
    other = SimpleNamespace(**{**vars(brain), "model": folder})
    table = step(other, tmp_path)
    told = table[table["status"].eq("not testable")]
    assert len(told) == 16 and "without the objective" in told["reason"].iloc[0]
    assert "position" not in set(table["step"])
