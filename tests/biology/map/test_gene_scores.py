"""Genes that a candidate reads from and writes to, with planted truth."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from scsw.biology.map.gene_scores import family_q, gene_scores
from scsw.biology.tables import benjamini_hochberg
from scsw.cohort.read import read_cohort
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from scsw.superweight.capture import capture, encoder_points
from scsw.superweight.verdict.statistics import studentised_interval
from tests.tiny import model_settings, write_cohort

SIZES = {"embsize": 64, "d_hid": 64}
FEW = {"min_cells": 5, "matched_genes": 12, "n_controls": 60, "n_write_out_controls": 20}
MAP = section_settings("map", FEW)
STATISTICS = section_settings("statistics", {"bootstrap": 300})
COMPUTE = section_settings("compute", {"device": "cpu", "batch_size": 24})
CPU = torch.device("cpu")
MODULE = ["GENE07", "GENE23", "GENE34", "GENE61", "GENE72", "GENE92"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genes")
    cohort = write_cohort(folder, n_genes=100)
    init(cohort, folder / "init", model=model_settings(**SIZES), seed=0)
    cells = read_cohort(cohort, ["test"])
    model = load_model(folder / "init").eval()
    with torch.no_grad():  # the module's embeddings have a direction in common
        ids = torch.tensor(cells.var.loc[MODULE, "token_id"].to_numpy())
        shared = torch.randn(SIZES["embsize"], generator=torch.Generator().manual_seed(0))
        embedding = model.encoder.embedding.weight
        embedding[ids] += 0.5 * shared * embedding.std() / shared.std() * 2
    return SimpleNamespace(
        model=model,
        cells=cells,
        tokenizer=cohort_tokenizer(cells, folder / "init"),
    )


@pytest.fixture(scope="module")
def scored(parts):
    """The untouched model with candidates that share a unit or a row."""
    weight = encoder_layers(parts.model)[1].linear2.weight
    places = [(1, 2, 4), (1, 5, 4), (1, 2, 9)]
    family = candidates(*[(*place, float(weight[place[1:]])) for place in places])
    return family, scores(parts, parts.model, family)


def candidates(*places):
    rows = [
        {"candidate_id": f"ffn_down.b{b}.r{r}.c{c}", "block": b, "row": r, "column": c, "weight": w}
        for b, r, c, w in places
    ]
    return pd.DataFrame(rows).assign(mean_hidden=0.0, rank=range(1, len(rows) + 1))


def scores(parts, model, family, by_donor=True, compute=COMPUTE, **changes):
    settings = section_settings("map", {**FEW, **changes})
    given = parts.tokenizer, parts.cells, family, settings, STATISTICS, compute, CPU
    return gene_scores(model, *given, by_donor=by_donor)


def over_all(tables, view, candidate=None):
    table = tables.gene_scores
    own = table[table["view"].eq(view) & table["cell_type"].eq("all")]
    return (own if candidate is None else own[own["candidate_id"] == candidate]).set_index("gene")


def gate(x, own):
    """Return a direction and a bias that tell some tokens from the others."""
    direction = torch.linalg.lstsq(x - x.mean(0), own.float()[:, None] - 0.5).solution[:, 0]
    direction /= direction.norm()
    return direction, -(x[~own] @ direction).quantile(0.95)


@torch.no_grad()
def module_tokens(parts, model, site):
    """Return the activations of a site at real tokens, and which are of the module."""
    kept = {}
    name = site.split(".")[1]
    points = {"x": encoder_points(encoder_layers(model), [name])[site]}
    batch = parts.tokenizer.batch(np.arange(len(parts.tokenizer)))
    with capture(points, kept.__setitem__):
        forward_padded(model, batch)
    ids = torch.tensor(parts.cells.var.loc[MODULE, "token_id"].to_numpy())
    return kept["x"][batch.real], torch.isin(batch.genes, ids)[batch.real]


@torch.no_grad()
def wired(parts, block=0, column=5, row=3, weight=4.0):
    """Return the model with one hidden unit that fires at the module's tokens most of all."""
    model = copy.deepcopy(parts.model)
    direction, bias = gate(*module_tokens(parts, model, f"{block}.mlp_in"))
    layer = encoder_layers(model)[block]
    layer.linear1.weight[column] += 4 * direction
    layer.linear1.bias[column] += 4 * bias + 2
    layer.linear2.weight[row, column] = weight
    return model


def test_a_module_wired_to_a_unit_is_read_back_against_genes_and_units(parts):
    tables = scores(parts, wired(parts), candidates((0, 3, 5, 4.0)))
    read = over_all(tables, "read_in")
    assert set(read["z"].nlargest(4).index) <= set(MODULE)
    assert (read.loc[MODULE, "q"] < 0.05).sum() >= 4
    assert (read.loc[MODULE, "unit_q"] < 0.05).sum() >= 4
    assert (read.drop(index=MODULE)[["q", "unit_q"]] < 0.05).sum().max() <= 1
    assert (read["n_units"] == 19).all()


def test_a_weight_below_zero_is_the_same_test_turned_round(parts):
    model = wired(parts)
    up = over_all(scores(parts, model, candidates((0, 3, 5, 4.0))), "read_in")
    down = over_all(scores(parts, model, candidates((0, 3, 5, -2.0))), "read_in")
    assert down["z"].to_numpy() == pytest.approx(-up["z"].to_numpy())
    assert down["unit_z"].to_numpy() == pytest.approx(-up["unit_z"].to_numpy())
    assert down["unit_p"].to_numpy() == pytest.approx(up["unit_p"].to_numpy())


def test_a_unit_that_follows_detection_is_no_reader_of_genes(parts):
    """Every unit shifted by how often a gene is detected: neither null lets a gene pass."""
    model = copy.deepcopy(parts.model)
    rate = np.asarray((parts.cells.X > 0).mean(0)).ravel()
    with torch.no_grad():
        layer, x = encoder_layers(model)[0], module_tokens(parts, model, "0.mlp_in")[0]
        batch = parts.tokenizer.batch(np.arange(len(parts.tokenizer)))
        place = dict(zip(parts.cells.var["token_id"], rate, strict=True))
        wanted = [place.get(int(token), 0.0) for token in batch.genes[batch.real]]
        centred = x - x.mean(0)
        fit = torch.linalg.lstsq(centred, torch.tensor(wanted)[:, None].float()).solution[:, 0]
        layer.linear1.weight[:40] = fit * torch.linspace(1, 3, 40)[:, None] * 5
        layer.linear1.bias[:40] = 2 - x.mean(0) @ layer.linear1.weight[:40].T
    read = over_all(scores(parts, model, candidates((0, 3, 5, 4.0))), "read_in")
    assert np.corrcoef(read["score"], read["detection_rate"])[0, 1] > 0.5
    assert (read["q"] < 0.05).sum() <= 2
    assert (read["unit_q"] < 0.05).sum() == 0


def test_what_any_row_would_write_is_not_written_by_the_row(parts):
    model = wired(parts, block=2)
    write = over_all(scores(parts, model, candidates((2, 3, 5, 4.0))), "write_out")
    assert set(write["z"].abs().nlargest(4).index) & set(MODULE)
    assert (write.loc[MODULE, "q"] < 0.05).sum() >= 2  # against genes alone it stands out
    assert (write["unit_q"] < 0.05).sum() == 0


def test_what_one_row_alone_writes_is_found(parts):
    """The decoder reads one channel at the module's tokens only."""
    model = copy.deepcopy(parts.model)
    column, row = 5, 3
    with torch.no_grad():
        last = encoder_layers(model)[2]
        last.linear1.weight[column], last.linear1.bias[column] = 0.0, 1.0  # fires everywhere
        last.linear2.weight[row, column] = 0.05
        first = model.decoder.fc[0]
        direction, bias = gate(*module_tokens(parts, model, "2.out"))
        first.weight[:2], first.bias[:2] = 20 * direction, 20 * bias
        first.weight[0, row] += 3  # all else of the first neuron is taken off by the second
        model.decoder.fc[2].weight[:, 0] *= 20
        model.decoder.fc[2].weight[:, 1] = -model.decoder.fc[2].weight[:, 0]
    family = candidates((2, row, column, 0.05))
    write = over_all(scores(parts, model, family, n_write_out_controls=60), "write_out")
    assert set(write["unit_z"].abs().nlargest(4).index) <= set(MODULE)
    assert (write.loc[MODULE, "unit_q"] < 0.05).sum() >= 4
    assert (write.drop(index=MODULE)["unit_q"] < 0.05).sum() <= 1


def test_scores_equal_a_direct_computation(parts, scored):
    family, tables = scored
    weight = family["weight"][0]
    table = tables.gene_scores
    assert set(table["view"]) == {
        "read_in",
        "write_out",
        "write_out_mvc",
        "direction",
        "decoder_path",
    }
    gene = table.iloc[0]["gene"]
    token = int(parts.cells.var.loc[gene, "token_id"])
    rows = np.arange(len(parts.tokenizer))
    kept = {}
    points = {"h": encoder_points(encoder_layers(parts.model), ["mlp_hidden"])["1.mlp_hidden"]}
    batch = parts.tokenizer.batch(rows)
    with torch.no_grad(), capture(points, kept.__setitem__):
        forward_padded(parts.model, batch)
    expected = weight * kept["h"][batch.genes == token][:, 4].double().mean()
    own = table[(table["gene"] == gene) & (table["cell_type"] == "all")]
    own = own[own["candidate_id"] == "ffn_down.b1.r2.c4"].set_index("view")
    assert own.loc["read_in", "score"] == pytest.approx(float(expected), rel=1e-5)
    masked = parts.tokenizer.batch(rows, mask_ratio=0.4)
    zeroed = copy.deepcopy(parts.model)
    with torch.no_grad():
        encoder_layers(zeroed)[1].linear2.weight[2, 4] = 0
        after, before = (forward_padded(m, masked, mvc=True) for m in (zeroed, parts.model))
    at = masked.genes == token
    for view, name in {"write_out": "mlm_output", "write_out_mvc": "mvc_output"}.items():
        change = (after[name] - before[name])[at].double()
        assert own.loc[view, "score"] == pytest.approx(float(change.mean()), abs=1e-5)
        donors = parts.cells.obs["donor_id"].to_numpy()[at.nonzero()[:, 0]]
        means = pd.Series(change.numpy()).groupby(donors).mean().to_numpy()
        low, high = studentised_interval(means, n_resamples=300, seed=0)
        found = own.loc[view, ["donor_mean", "score_low", "score_high"]].to_numpy(float)
        assert found == pytest.approx([means.mean(), low, high], abs=2e-5)
        assert own.loc[view, "n_donors"] == len(means)
    embedding = parts.model.encoder(torch.tensor([[token]]))[0, 0, 2]
    assert own.loc["direction", "score"] == pytest.approx(float(embedding), rel=1e-5)


def test_the_decoder_path_is_the_derivative_of_decoded_expression(parts, scored):
    with torch.no_grad():
        x, _ = module_tokens(parts, parts.model, "2.out")  # only to have tokens of the right kind
    x = x[:5].double().requires_grad_()
    from scsw.superweight.pruning.ablation import Readout

    found = Readout(parts.model).expression_derivative(x)
    decoder = copy.deepcopy(parts.model.decoder).double()
    step = torch.zeros_like(x)
    step[:, 2] = 1e-6
    expected = (decoder(x + step)["pred"] - decoder(x - step)["pred"]) / 2e-6
    assert found[:, 2].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    path = over_all(scored[1], "decoder_path", "ffn_down.b1.r2.c4")
    assert (path["decoder"] == "GEP").all() and path["score"].std() > 0


def test_what_candidates_share_is_tested_once(scored):
    family, tables = scored
    read = {c: over_all(tables, "read_in", c) for c in family["candidate_id"]}
    one, two, other = read.values()  # the first two share their unit
    assert one["q"].to_numpy() == pytest.approx(two["q"].to_numpy())
    assert one["unit_q"].to_numpy() == pytest.approx(two["unit_q"].to_numpy())
    expected = benjamini_hochberg(pd.concat([one["p"], other["p"]], ignore_index=True))
    assert one["q"].to_numpy() == pytest.approx(expected[: len(one)].to_numpy())
    write = over_all(tables, "write_out")
    assert write["q"].to_numpy() == pytest.approx(
        benjamini_hochberg(write["p"].reset_index(drop=True)).to_numpy()
    )
    direction = over_all(tables, "direction")
    p = direction[direction["candidate_id"] != "ffn_down.b1.r2.c9"]["p"]  # shares row 2
    assert len(family_q(tables.gene_scores, family, "p")) == len(tables.gene_scores)
    expected = benjamini_hochberg(p.reset_index(drop=True)).to_numpy()
    assert direction["q"][: len(expected)].to_numpy() == pytest.approx(expected)


def test_controls_are_scored_through_the_same_code(parts, scored):
    """A unit that is a control of one family has the z that it gets as a candidate."""
    _, tables = scored
    controls, units = tables.control_scores.set_index("gene"), tables.control_units
    assert set(units["control"]) == set(controls.columns)
    assert (controls.dtypes == np.float32).all()
    read = over_all(tables, "read_in", "ffn_down.b1.r2.c4")
    assert list(controls.index) == list(read.index)
    name = units[units["view"] == "read_in"]["control"].iloc[0]
    block, column = (int(part[1:]) for part in name.split(".")[1:])
    again = scores(parts, parts.model, candidates((block, 1, column, 2.0)))
    z = over_all(again, "read_in")["z"]
    assert controls[name].to_numpy() == pytest.approx(z.to_numpy(), rel=1e-4, abs=1e-5)
    null = units[units["in_unit_p"] & units["candidate_id"].eq("ffn_down.b1.r2.c4")]
    null = controls[null.loc[null["view"] == "read_in", "control"]].astype(float)
    sign = np.sign(scored[0]["weight"][0])
    assert read["unit_mean"].to_numpy() == pytest.approx(sign * null.mean(1).to_numpy(), abs=1e-5)


def test_genes_of_controls_are_counted_as_the_candidates_are(scored):
    _, tables = scored
    units = tables.control_units
    p = over_all(tables, "read_in", "ffn_down.b1.r2.c4")["p"].reset_index(drop=True)
    own = units[units["candidate_id"].eq("ffn_down.b1.r2.c4") & units["view"].eq("read_in")]
    assert (own["own_passed"] == (benjamini_hochberg(p) <= 0.05).sum()).all()
    z = tables.control_scores[own["control"]].astype(float)
    p = z.apply(lambda column: pd.Series(2 * stats.t.sf(column.abs(), 11)))
    expected = p.apply(lambda column: (benjamini_hochberg(column) <= 0.05).sum())
    assert own["n_passed"].tolist() == expected.tolist() and expected.max() > 0


def test_a_control_edit_is_the_candidates_change_in_another_row(parts, scored):
    family, tables = scored
    controls, units = tables.control_scores.set_index("gene"), tables.control_units
    own = units[units["view"].eq("write_out") & units["in_unit_p"]].iloc[0]
    block, row, column = (int(part[1:]) for part in own["control"].split(".")[1:])
    edited = copy.deepcopy(parts.model)
    rows = np.arange(len(parts.tokenizer))
    masked = parts.tokenizer.batch(rows, mask_ratio=0.4)
    with torch.no_grad():  # as a positive weight of the candidate's size, zeroed
        encoder_layers(edited)[block].linear2.weight[row, column] -= abs(family["weight"][0])
        change = (
            forward_padded(edited, masked)["mlm_output"]
            - forward_padded(parts.model, masked)["mlm_output"]
        )
    ids = parts.cells.var.loc[controls.index, "token_id"]
    means = [float(change[masked.genes == token].double().mean()) for token in ids]
    z = controls[own["control"]].astype(float)
    order = z.abs().nlargest(10).index
    scores_of = pd.Series(means, controls.index)
    from scsw.biology.matched_genes import matched_z, neighbours

    read = over_all(tables, "write_out", own["candidate_id"])
    matched = neighbours(read["detection_rate"].to_numpy(), read["mean_bin"].to_numpy(), 12)
    expected = pd.Series(matched_z(scores_of[read.index].to_numpy(), matched), read.index)
    assert z[order].to_numpy() == pytest.approx(expected[order].to_numpy(), rel=0.05)


def test_z_of_a_small_change_does_not_hang_on_its_size(parts, scored):
    linear = scored[1].control_units.query("view == 'write_out'")["linearity"]
    assert (linear > 0.99).all()
    bent = wired(parts, weight=400.0)  # so large that attention turns
    tables = scores(parts, bent, candidates((0, 3, 5, 400.0)))
    assert tables.control_units["linearity"].min() < 0.99


def test_batches_change_no_score(parts, scored):
    family, tables = scored
    small = section_settings("compute", {"device": "cpu", "batch_size": 7})
    again = scores(parts, parts.model, family, compute=small)
    for view in ("read_in", "write_out", "write_out_mvc", "decoder_path"):
        one, two = over_all(tables, view)["score"], over_all(again, view)["score"]
        assert np.abs(one - two).max() < 1e-6 * one.abs().max()
    same = scores(parts, parts.model, family)
    for name in ("gene_scores", "control_units", "control_scores"):
        pd.testing.assert_frame_equal(getattr(tables, name), getattr(same, name), check_exact=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_the_scores_of_the_cpu(parts, scored):
    """On a GPU control edits run in bf16."""
    family, tables = scored
    model = copy.deepcopy(parts.model).cuda()
    settings = section_settings("map", FEW)
    given = parts.tokenizer, parts.cells, family, settings, STATISTICS, COMPUTE
    found = gene_scores(model, *given, torch.device("cuda"), by_donor=True)
    for view in ("read_in", "write_out", "write_out_mvc", "decoder_path"):
        one, two = over_all(tables, view)["score"], over_all(found, view)["score"]
        assert np.abs(one - two).max() < 1e-3 * one.abs().max()
    assert found.control_units["control"].tolist() == tables.control_units["control"].tolist()
    one, two = (t.control_scores.drop(columns="gene") for t in (tables, found))
    assert min(one.corrwith(two)) > 0.99


def test_too_few_donors_give_no_interval(parts, scored):
    family, _ = scored
    columns = ["donor_mean", "score_low", "score_high"]
    table = scores(parts, parts.model, family, by_donor=False).gene_scores
    assert table[columns].isna().all(axis=None) and (table["n_donors"] == 0).all()
    two = parts.cells.obs["donor_id"].isin(["test0", "test1"]).to_numpy()
    cells = parts.cells[two].copy()
    few = SimpleNamespace(cells=cells, tokenizer=copy.copy(parts.tokenizer))
    few.tokenizer.rows = type(parts.tokenizer.rows)(cells.X)
    few.tokenizer.cell_keys = parts.tokenizer.cell_keys[two]
    few.tokenizer.labels = parts.tokenizer.labels[two]
    few.tokenizer.batch_labels = parts.tokenizer.batch_labels[two]
    table = scores(few, parts.model, family).gene_scores
    assert len(table) and table[columns].isna().all(axis=None)


def test_no_candidate_and_no_gene_give_empty_tables(parts, scored):
    family, _ = scored
    for tables in (
        scores(parts, parts.model, family.head(0)),
        scores(parts, parts.model, family, min_cells=1000),
    ):
        assert tables.gene_scores.empty and tables.control_units.empty
        assert tables.control_scores.empty and tables.control_scores.columns[0] == "gene"
