"""Donor-level tables of a model: as measured, thinned, by axis."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.biology.stages.axes import axis_genes
from scsw.biology.stages.axis_scores import candidate_scores, expression_scores
from scsw.biology.stages.cell_activity import cell_activity
from scsw.biology.stages.donor_facts import donor_facts
from scsw.biology.stages.donor_scores import donor_scores
from scsw.biology.stages.donor_tables import donor_tables
from scsw.biology.stages.zeroing_effects import zeroing_effects
from scsw.cohort.read import read_cohort
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.capture import capture, encoder_points
from scsw.superweight.pruning.edits import Edit, groups_of_edits
from scsw.superweight.pruning.measurement import Measurement
from tests.tiny import COMPUTE, model_settings, write_cohort

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("donors")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    cells = read_cohort(cohort, ["test"])
    model = load_model(folder / "init")
    family = pd.DataFrame(
        {
            "candidate_id": ["ffn_down.b0.r3.c5", "ffn_down.b1.r2.c4"],
            "block": [0, 1],
            "row": [3, 2],
            "column": [5, 4],
        }
    )
    layers = encoder_layers(model)
    family["weight"] = [
        float(layers[c.block].linear2.weight[c.row, c.column]) for c in family.itertuples()
    ]
    return SimpleNamespace(
        cohort=cohort,
        folder=folder / "init",
        model=model,
        cells=cells,
        tokenizer=cohort_tokenizer(cells, folder / "init"),
        family=family,
    )


def test_activity_by_axis_is_that_of_the_axis_genes_tokens(parts):
    ids = parts.cells.var["token_id"].to_numpy()[[7, 10]]
    found = cell_activity(parts.model, parts.tokenizer, parts.family, COMPUTE, CPU, {"tau": ids})
    batch = parts.tokenizer.batch(np.arange(len(parts.tokenizer)))
    kept = {}
    points = {"h": encoder_points(encoder_layers(parts.model), ["mlp_hidden"])["1.mlp_hidden"]}
    with torch.no_grad(), capture(points, kept.__setitem__):
        forward_padded(parts.model, batch)
    own = (batch.genes == ids[0]) | (batch.genes == ids[1])
    product = kept["h"][..., 4].double() * parts.family["weight"][1]
    assert found.axis_tokens["tau"].tolist() == own.sum(1).tolist()
    expected = torch.where(own, product, 0).sum(1).numpy()
    assert found.axis_sum["tau"][:, 1] == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_several_regions_have_rows_of_their_own(parts):
    cells = parts.cells.copy()
    cells.obs["region"] = np.where(np.arange(cells.n_obs) % 2, "MTG", "")
    activity = cell_activity(parts.model, parts.tokenizer, parts.family, COMPUTE, CPU)
    table = donor_scores(cells, parts.family, activity, "as measured")
    assert set(table["region"]) == {"all", "MTG", "unknown"}
    whole = table[table["cell_type"].eq("all")]
    keys = ["candidate_id", "donor_id", "cell_class"]
    by_region = whole[whole["region"].ne("all")].groupby(keys)["n_cells"].sum()
    together = whole[whole["region"].eq("all")].set_index(keys)["n_cells"]
    pd.testing.assert_series_equal(by_region, together.sort_index())


def test_no_candidate_gives_an_empty_table(parts):
    activity = cell_activity(parts.model, parts.tokenizer, parts.family.iloc[:0], COMPUTE, CPU)
    none = donor_scores(parts.cells, parts.family.iloc[:0], activity, "as measured")
    some = cell_activity(parts.model, parts.tokenizer, parts.family, COMPUTE, CPU)
    full = donor_scores(parts.cells, parts.family, some, "as measured")
    assert none.empty and set(none.columns) == set(full.columns)


def test_facts_of_a_donor(parts):
    obs = parts.cells.obs.copy()
    names = sorted(obs["donor_id"].unique())
    genotype = dict(zip(names, ["24", "33", "44", "", "23"], strict=False))
    obs["apoe_genotype"] = obs["donor_id"].map(genotype).fillna("33")
    facts = donor_facts(obs)
    assert facts.loc[names[:5], "apoe_e4"].tolist() == [1, 0, 2, -1, 0]
    assert facts.loc[names[:5], "apoe_e2"].tolist() == [1, 0, 0, -1, 1]


def test_effects_equal_those_of_prune(parts):
    table = zeroing_effects(parts.model, parts.tokenizer, parts.cells, parts.family, COMPUTE, CPU)
    edits = [
        Edit(c.candidate_id, "candidate", "zero", "ffn_down", c.block, c.row, c.column)
        for c in parts.family.itertuples()
    ]
    settings = SimpleNamespace(mask_ratio=0.4)
    measured = Measurement(parts.model, parts.tokenizer, parts.cells, 3, CPU).of(
        groups_of_edits(edits), settings, COMPUTE
    )
    keys = ["candidate_id", "donor_id", "cell_type", "region"]
    both = table.merge(measured, on=keys, validate="one_to_one")
    assert len(both) == len(table) == len(measured)
    assert both["n_cells_x"].tolist() == both["n_cells_y"].tolist()
    assert both["sum_d_nll_x"].to_numpy() == pytest.approx(both["sum_d_nll_y"], rel=1e-4, abs=1e-9)


def test_expression_of_an_axis_is_the_mean_of_log_counts(parts):
    genes = {"microglia": np.array([0, 4])}
    table = expression_scores(parts.cells, genes, "as measured")
    mine = parts.cells[parts.cells.obs["cell_class"] == "immune"]
    counts = mine.X.toarray()
    logs = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))[:, [0, 4]].mean(1)
    expected = pd.Series(logs).groupby(mine.obs["donor_id"].to_numpy(str)).mean()
    assert table.set_index("donor_id")["score"].to_numpy() == pytest.approx(expected.to_numpy())
    assert set(table["source"]) == {"expression"} and set(table["n_genes"]) == {2}


def test_an_axis_without_genes_or_cells_has_no_row(parts):
    none = {"synapse": np.array([0]), "astrocytes": np.array([], np.int64)}
    activity = cell_activity(
        parts.model, parts.tokenizer, parts.family, COMPUTE, CPU, {"synapse": np.array([3])}
    )
    assert expression_scores(parts.cells, none, "as measured").empty  # no excitatory cell
    assert candidate_scores(parts.cells, none, parts.family, activity, "as measured").empty


def test_axes_are_found_among_the_cohorts_genes(parts):
    var = parts.cells.var.rename(index={"GENE03": "MAPT", "GENE09": "GFAP"})
    genes = axis_genes(var)
    assert genes["tau"].tolist() == [3] and genes["astrocytes"].tolist() == [9]
    assert genes["synapse"].size == 0


def test_both_depths_are_scored(parts):
    tables = donor_tables(
        parts.model,
        parts.folder,
        parts.cohort,
        read_cohort(parts.cohort, ["discovery", "test"]),
        parts.family,
        COMPUTE,
        CPU,
        min_cells=2,
        max_cells_per_donor=None,
    )
    scores = tables["donor_scores"]
    assert set(scores["depth"]) == {"as measured", "thinned"}
    whole = scores[scores["cell_type"].eq("all") & scores["cell_class"].eq("glia")]
    spread = whole.groupby("depth")["median_counts"].agg(np.ptp)
    assert spread["thinned"] < spread["as measured"]
    thin = tables["thinned_effects"]
    assert set(thin["donor_id"]) <= {f"test{i}" for i in range(12)}
    assert thin["sum_d_nll"].notna().all()


def test_the_cap_is_on_the_cells_that_are_scored(parts):
    given = parts.model, parts.folder, parts.cohort, parts.cells, parts.family, COMPUTE, CPU
    tables = donor_tables(*given, min_cells=2, max_cells_per_donor=3)
    scores = tables["donor_scores"].query("cell_type == 'all' and depth == 'as measured'")
    per_donor = scores.groupby(["candidate_id", "donor_id"])["n_cells"].sum()
    assert set(per_donor) == {3} and scores["donor_id"].nunique() == 14
    assert tables["thinned_effects"].groupby("candidate_id")["n_cells"].sum().eq(72).all()
