"""Attention heads and MLPs: genes, effects and activities, with planted truth."""

import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from statsmodels.stats.multitest import multipletests
from torch.utils._python_dispatch import TorchDispatchMode

from scsw.biology.components import component_scores as at_tokens
from scsw.biology.components.component_effects import (
    Means,
    Replacing,
    component_means,
    effects_table,
    rotations,
)
from scsw.biology.components.component_genes import leaders, leading_genes
from scsw.biology.components.components import component_tables, components
from scsw.cohort.read import read_cohort
from scsw.files import read_table, write_table
from scsw.scgpt.forward import embed, forward_padded
from scsw.scgpt.init import init
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from scsw.superweight.pruning.intact import intact_pass
from scsw.superweight.verdict.statistics import sign_flip_p
from tests.tiny import COMPUTE, TYPES, model_settings, write_cohort, write_counts

MAP = section_settings("map", {"min_cells": 5, "matched_genes": 30, "component_rotations": 1})
STATISTICS = section_settings("statistics", {"bootstrap": 300})
CPU = torch.device("cpu")
N_GENES, WIDTH, SIZE = 150, 160, 40
SPIKE = at_tokens.Spike("ffn_down.b0.r3.c5", "spike", 0, 3, "mlp_out")
FAMILY = pd.DataFrame(
    {"candidate_id": [SPIKE.candidate_id], "found_by": "spike", "block": 0, "row": 3}
    | {"site": "mlp_out", "rank": 1, "family": "ffn_down", "column": 5}
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A model of two blocks with heads to be wired, and genes of widely differing detection."""
    folder = tmp_path_factory.mktemp("components")
    rng = np.random.default_rng(0)
    rate = rng.permutation(np.linspace(0.15, 0.9, N_GENES))
    donors = [("train", 1), ("discovery", 2), ("test", 10)]
    rows = [
        (f"{split}{donor}-{cell}", f"{split}{donor}", TYPES[cell % 3], split)
        for split, n in donors
        for donor in range(n)
        for cell in range(6)
    ]
    counts = (rng.random((len(rows), N_GENES)) < rate) * rng.integers(1, 9, (len(rows), N_GENES))
    counts[:, 0] += 1
    cohort = write_counts(folder, sparse.csr_matrix(counts.astype(np.int32)), rows)
    sizes = {"embsize": WIDTH, "nheads": 4, "d_hid": 32, "nlayers": 2, "max_seq_len": 160}
    init(cohort, folder / "init", model=model_settings(**sizes), seed=0)
    cells = read_cohort(cohort, ["discovery", "test"])
    test = cells[cells.obs["split"].astype(str) == "test"].copy()
    return SimpleNamespace(
        cohort=cohort,
        folder=folder / "init",
        model=load_model(folder / "init"),
        cells=cells,
        test=test,
        tokenizer=cohort_tokenizer(test, folder / "init"),
        rate=rate,
    )


def wired(parts, wanted, head=1):
    """Return the model with one head of block 0 whose `<cls>` attends by `wanted`, one per gene."""
    model = copy.deepcopy(parts.model)
    attention, size = encoder_layers(model)[0].self_attn, SIZE
    packed = parts.tokenizer.packed(np.arange(len(parts.tokenizer)))
    of_token = np.zeros(N_GENES + 3)
    of_token[parts.test.var["token_id"]] = wanted
    with torch.no_grad():
        x, _ = embed(model, packed.genes, packed.values, packed.levels)
        y = torch.from_numpy(of_token)[packed.genes].float()
        direction = torch.linalg.lstsq(x, y[:, None], driver="gelsd").solution[:, 0]
        q, k = (slice(start + head * size, start + (head + 1) * size) for start in (0, WIDTH))
        attention.in_proj_weight[q], attention.in_proj_bias[q] = 0, 0
        attention.in_proj_weight[k], attention.in_proj_bias[k] = 0, 0
        attention.in_proj_bias[head * size] = size**0.5
        attention.in_proj_weight[WIDTH + head * size] = direction
    return model


def tables_of(parts, model, spikes=(None, SPIKE), **compute):
    return component_tables(
        model,
        parts.folder,
        parts.cells,
        list(spikes),
        MAP,
        STATISTICS,
        SimpleNamespace(**{**vars(COMPUTE), **compute}),
        CPU,
        top_genes=5,
        stage_min_cells=1,
        donors_are_units=True,
    )


@pytest.fixture(scope="module")
def tables(parts):
    return tables_of(parts, parts.model)


def test_a_head_wired_to_a_module_is_found_with_it_and_no_other_head_is(parts):
    # Far apart in detection rate: genes of a module that are alike would be each other's null.
    own = np.argsort(parts.rate)[[25, 75, 125]]
    module = set(parts.test.var_names[own])
    model = wired(parts, np.where(np.isin(np.arange(N_GENES), own), 3.0, 0.0))
    genes = tables_of(parts, model)["components"]
    for view in ("attention", "contribution"):
        found = genes[genes["view"].eq(view) & genes["q"].lt(0.05) & genes["z"].gt(0)]
        of_head = found[found["block"].eq(0) & found["component"].eq("head1")]
        assert set(of_head["gene"]) == module, view
        assert len(found) == len(of_head), view
    names = at_tokens.component_names(model)
    lead = leading_genes(genes, names, parts.test.var_names.to_numpy(str), 3)
    assert set(parts.test.var_names[lead[names.index((0, "head1"))]]) == module


def test_a_head_that_attends_by_detection_rate_alone_is_not_found(parts):
    model = wired(parts, np.log(parts.rate / (1 - parts.rate)))
    genes = tables_of(parts, model)["components"]
    own = genes[(genes["block"] == 0) & (genes["component"] == "head1")]
    attention = own[own["view"] == "attention"].set_index("gene")
    rate = pd.Series(parts.rate, parts.test.var_names)[attention.index]
    assert attention["score"].corr(rate, method="spearman") > 0.9
    assert not (attention["q"] < 0.05).any()


def test_attention_equals_pytorchs(parts):
    packed = parts.tokenizer.packed(np.arange(5))
    intact = intact_pass(parts.model, packed)
    x, _ = embed(parts.model, packed.genes, packed.values, packed.levels)
    tokens = torch.tensor([3, 0, 7, 2, 1])
    layer = encoder_layers(parts.model)[0]
    cls = at_tokens.cls_attention(intact.blocks[0], intact).split(packed.lengths, 1)
    to = at_tokens.attention_to(tokens + intact.first, intact.blocks[0], intact)
    for cell, (own, column) in enumerate(zip(cls, to.split(packed.lengths, 1), strict=True)):
        mine = x.split(packed.lengths)[cell][None]
        with torch.no_grad():
            _, expected = layer.self_attn(mine, mine, mine, average_attn_weights=False)
        torch.testing.assert_close(own, expected[0, :, 0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(column, expected[0, :, :, tokens[cell]], rtol=1e-4, atol=1e-6)


def test_what_the_tokens_hand_on_adds_up_to_the_heads_output(parts):
    packed = parts.tokenizer.packed(np.arange(4))
    intact = intact_pass(parts.model, packed)
    layer, block = encoder_layers(parts.model)[0], intact.blocks[0]
    weights = at_tokens.cls_attention(block, intact)
    found = at_tokens.contributions(layer, block, weights)
    x, _ = embed(parts.model, packed.genes, packed.values, packed.levels)
    w, b = layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias
    with torch.no_grad():
        values = F.linear(x, w[2 * WIDTH :], b[2 * WIDTH :]).unflatten(1, (4, SIZE))
        out = layer.self_attn.out_proj.weight.unflatten(1, (4, SIZE))
        vectors = torch.einsum("ht,thk,dhk->htd", weights, values, out)
        mlp = layer.linear2(block.hidden).norm(dim=-1)
    torch.testing.assert_close(found[:4], vectors.norm(dim=-1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[4], mlp)
    summed = torch.stack([own.sum(1) for own in vectors.split(packed.lengths, 1)], 1)
    expected = torch.einsum("chk,dhk->hcd", block.heads[intact.first].unflatten(1, (4, SIZE)), out)
    torch.testing.assert_close(summed, expected, rtol=1e-3, atol=1e-5)


def test_the_spike_token_is_where_the_channel_is_largest(parts):
    packed = parts.tokenizer.packed(np.arange(6))
    intact = intact_pass(parts.model, packed)
    layer, block = encoder_layers(parts.model)[0], intact.blocks[0]
    with torch.no_grad():
        output = layer.linear2(block.hidden)
    sums = {"mlp_out": output, "pre_norm2": output + block.norm1.output()}
    for site, values in sums.items():
        spike = at_tokens.Spike("x", "spike", 0, 3, site)
        found = at_tokens.spike_tokens(parts.model, intact, spike) - intact.first
        own = [cell[:, 3].abs().argmax() for cell in values.split(packed.lengths)]
        assert found.tolist() == [int(token) for token in own], site


def test_a_block_sees_the_best_spike_of_an_earlier_block():
    places = [("a", "below_rule", 0), ("b", "first_order", 0), ("c", "spike", 1), ("d", "spike", 0)]
    family = pd.DataFrame(places, columns=["candidate_id", "found_by", "block"])
    family = family.assign(row=1, site="mlp_out", rank=[1, 2, 3, 4])
    found = [spike and spike.candidate_id for spike in at_tokens.spikes_seen(family, 3)]
    assert found == [None, "d", "c"]
    assert at_tokens.spikes_seen(family.iloc[1:2], 3) == [None] * 3


def test_replacing_by_the_mean_equals_a_pass_with_hooks(parts):
    means = component_means(parts.model, parts.tokenizer, COMPUTE, CPU)
    rows = np.arange(5)
    batch, packed = parts.tokenizer.batch(rows), parts.tokenizer.packed(rows)
    intact = intact_pass(parts.model, packed)
    own = slice(SIZE, 2 * SIZE)

    def of_head(_module, inputs):
        heads = inputs[0].clone()
        heads[:, 0, own], heads[:, 1:, own] = means.heads[0, 0, own], means.heads[0, 1, own]
        return (heads,)

    def of_mlp(_module, _inputs, output):
        output = output.clone()
        output[:, 0], output[:, 1:] = means.mlp[0]
        return output

    layer = encoder_layers(parts.model)[0]
    places = {
        1: lambda: layer.self_attn.out_proj.register_forward_pre_hook(of_head),
        4: lambda: layer.linear2.register_forward_hook(of_mlp),
    }
    rises = Replacing(parts.model, means, []).rises(intact, packed.labels)[:5]
    assert rises.shape == (5, 1, 5)
    with torch.no_grad():
        before = forward_padded(parts.model, batch)["cls_output"].double()
        for component, register in places.items():
            handle = register()
            after = forward_padded(parts.model, batch)["cls_output"].double()
            handle.remove()
            nll = [F.cross_entropy(x, batch.labels, reduction="none") for x in (before, after)]
            assert rises[component, 0] == pytest.approx((nll[1] - nll[0]).numpy(), abs=2e-5)


def test_the_means_are_those_of_the_tokens(parts):
    means = component_means(parts.model, parts.tokenizer, COMPUTE, CPU)
    packed = parts.tokenizer.packed(np.arange(len(parts.tokenizer)))
    intact = intact_pass(parts.model, packed)
    heads, first = intact.blocks[1].heads, intact.first
    others = torch.ones(len(heads), dtype=torch.bool).index_fill_(0, first, False)
    torch.testing.assert_close(means.heads[1, 0], heads[first].mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(means.heads[1, 1], heads[others].mean(0), rtol=1e-4, atol=1e-6)


def test_a_dead_head_has_no_effect_hands_nothing_on_and_leads_with_no_gene(parts):
    model = copy.deepcopy(parts.model)
    with torch.no_grad():
        encoder_layers(model)[1].self_attn.out_proj.weight[:, 2 * SIZE : 3 * SIZE] = 0
    found = tables_of(parts, model)
    effects = found["component_effects"].set_index(["block", "component"]).loc[(1, "head2")]
    for name in ("effect_nll", "effect_low", "effect_high", "control_nll", "output_share"):
        assert effects[name] == 0, name
    assert effects["p"] == 1 and effects["excess_p"] == 1
    genes = found["components"]
    own = genes[(genes["block"] == 1) & (genes["component"] == "head2")]
    handed_on = own[own["view"] == "contribution"]
    assert (handed_on["score"] == 0).all() and (handed_on["z"] == 0).all()
    assert (own.loc[own["view"] == "attention", "score"] > 0).all()  # it attends all the same
    donors = found["component_donors"]
    mine = donors[(donors["block"] == 1) & (donors["component"] == "head2")]
    assert (mine["contribution"] == 0).all() and mine["leading_genes"].isna().all()


def test_a_component_that_is_its_own_mean_has_no_effect(parts):
    packed = parts.tokenizer.packed(np.arange(3))
    model = copy.deepcopy(parts.model)
    layer = encoder_layers(model)[0]
    with torch.no_grad():
        layer.linear2.weight.zero_()
    means = component_means(model, parts.tokenizer, COMPUTE, CPU)
    turns = rotations(WIDTH, 1, 0, CPU)
    intact = intact_pass(model, packed)
    rises = Replacing(model, means, turns).rises(intact, packed.labels)[:5]
    assert (rises[4] == 0).all() and (rises[:4, 0] != 0).any()
    torch.testing.assert_close(means.mlp[0, 0], layer.linear2.bias.detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_gpu_gives_the_rises_of_the_cpu(tmp_path, scale):
    """Small changes go through the kernels in bf16, large ones through float32."""
    cohort = write_cohort(tmp_path, n_genes=150)
    sizes = {"embsize": 64, "nheads": 2, "d_hid": 64, "max_seq_len": 96}
    init(cohort, tmp_path / "init", model=model_settings(**sizes), seed=0)
    model = load_model(tmp_path / "init").eval()
    with torch.no_grad():
        model.cls_decoder.out_layer.weight.mul_(scale)
    cells = read_cohort(cohort, ["test"])
    tokenizer = cohort_tokenizer(cells, tmp_path / "init")
    rows = np.arange(12)
    found = []
    for device in (CPU, torch.device("cuda")):
        means = component_means(model.to(device), tokenizer, COMPUTE, device)
        turns = rotations(64, 1, 0, device)
        packed = tokenizer.packed(rows).to(device)
        replacing = Replacing(model, means, turns)
        assert (replacing._half_layers is None) == (device == CPU)
        found.append(replacing.rises(intact_pass(model, packed), packed.labels))
    on_cpu, on_gpu = found
    apart = np.abs(on_gpu - on_cpu).max((1, 2))
    assert (apart < 0.03 * np.abs(on_cpu).max((1, 2))).all()
    assert np.corrcoef(on_cpu.ravel(), on_gpu.ravel())[0, 1] > 0.9995


def test_a_rotated_change_has_the_same_size_and_another_direction():
    first, second = rotations(16, 2, 3, CPU)
    change = torch.randn(7, 16)
    torch.testing.assert_close((change @ first).norm(dim=1), change.norm(dim=1))
    assert not torch.allclose(change @ first, change) and not torch.allclose(first, second)
    assert first.equal(rotations(16, 1, 3, CPU)[0])


def test_a_type_that_the_model_does_not_know_is_left_out(parts):
    packed = parts.tokenizer.packed(np.arange(3))
    intact = intact_pass(parts.model, packed)
    labels = torch.tensor([0, -1, 1])
    zeros = torch.zeros(2, 2, WIDTH)
    rises = Replacing(parts.model, Means(zeros, zeros), []).rises(intact, labels)
    assert np.isnan(rises[..., 1]).all() and np.isfinite(rises[..., [0, 2]]).all()


def test_effects_are_over_donors_and_corrected_over_components():
    rng = np.random.default_rng(0)
    donors = np.repeat([f"d{i}" for i in range(10)], [3, 5, 2, 4, 6, 3, 5, 2, 4, 6])
    rises = rng.normal(0, 0.1, (6, 3, donors.size))
    rises[2, 0] += 0.5
    rises[4] += 0.5  # as much as perturbations of its size
    rises[..., 1] = np.nan
    names = [(0, "head0"), (0, "head1"), (0, "mlp"), (1, "head0"), (1, "head1"), (1, "mlp")]
    table = effects_table(names, rises, donors, STATISTICS, by_donor=True)
    means = pd.Series(rises[2, 0]).groupby(donors).mean()
    row = table.iloc[2]
    assert row["effect_nll"] == pytest.approx(means.mean())
    assert row["p"] == pytest.approx(sign_flip_p(means, seed=STATISTICS.seed))
    assert row["n_donors"] == 10 and row["rank"] <= 2 and row["rank_in_kind"] == 1
    for p, q in (("p", "q"), ("excess_p", "excess_q")):
        assert table[q].to_numpy() == pytest.approx(multipletests(table[p], method="fdr_bh")[1])
    assert (table["q"] < 0.05).tolist() == [False, False, True, False, True, False]
    assert (table["excess_q"] < 0.05).tolist() == [False, False, True, False, False, False]
    few = effects_table(names, rises, donors, STATISTICS, by_donor=False)
    assert few[["p", "q", "effect_low", "excess_p"]].isna().all(axis=None)
    assert few["effect_nll"].equals(table["effect_nll"]) and (few["null"] == "").all()


def test_the_families_of_genes_are_all_components_of_a_view(tables):
    genes = tables["components"]
    assert set(genes["view"]) == {"attention", "contribution", "attention_to_spike"}
    for _, own in genes.groupby("view"):
        assert own["q"].to_numpy() == pytest.approx(multipletests(own["p"], method="fdr_bh")[1])
    of_mlp = genes[genes["component"] == "mlp"]
    assert set(of_mlp["view"]) == {"contribution"}
    to_spike = genes[genes["view"] == "attention_to_spike"]
    assert set(to_spike["block"]) == {1}  # block 0 has no spike in its input
    effects = tables["component_effects"]
    told = effects[effects["component"] != "mlp"].groupby("block")["spike_found_by"].first()
    assert told.tolist() == ["no spike", "spike"]
    assert effects["attention_to_spike"].notna().tolist() == [False] * 5 + [True] * 4 + [False]


def test_a_genes_attention_to_itself_is_left_out(parts, tables):
    model, packed = parts.model, parts.tokenizer.packed(np.arange(len(parts.tokenizer)))
    intact = intact_pass(model, packed)
    tops = at_tokens.spike_tokens(model, intact, SPIKE)
    weights = at_tokens.attention_to(tops, intact.blocks[1], intact)
    weights = weights * at_tokens.tokens_per_cell(intact)
    gene = packed.genes[tops].mode().values
    other = (packed.genes == gene).index_fill_(0, tops, False)
    expected = weights[:, other].double().mean(1)
    symbol = parts.test.var_names[parts.test.var["token_id"] == int(gene)][0]
    genes = tables["components"]
    own = genes[genes["view"].eq("attention_to_spike") & genes["gene"].eq(symbol)]
    if len(own):  # the gene may be the spike token of nearly every cell
        assert own["score"].to_numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    assert other.sum() < (packed.genes == gene).sum()


def test_no_result_depends_on_the_batches(parts, tables):
    others = tables_of(parts, parts.model, batch_size=5)
    for name, table in tables.items():
        numbers = table.select_dtypes("number").columns
        pd.testing.assert_frame_equal(
            table[numbers], others[name][numbers], rtol=1e-4, atol=1e-6, obj=name
        )
        assert table.drop(columns=numbers).equals(others[name].drop(columns=numbers))
    again = tables_of(parts, parts.model)
    assert all(table.equals(again[name]) for name, table in tables.items())


def test_attention_between_all_tokens_is_never_held_for_more_than_one_cell():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            for x in found if isinstance(found, tuple | list) else [found]:
                if isinstance(x, torch.Tensor):
                    self.numel = max(self.numel, x.numel())
            return found

    n_cells, n_tokens, heads, size = 40, 64, 4, 2
    qkv = torch.randn(n_cells * n_tokens, 3, heads, size)
    intact = SimpleNamespace(lengths=[n_tokens] * n_cells)
    first = torch.arange(n_cells) * n_tokens
    with Largest() as largest:
        found = at_tokens.attention_to(first, SimpleNamespace(qkv=qkv), intact)
    assert found.shape == (heads, n_cells * n_tokens)
    of_one_cell, of_all = heads * n_tokens**2, n_cells * heads * n_tokens**2
    assert of_one_cell <= largest.numel <= max(of_one_cell, qkv.numel()) < of_all / 5


def test_activities_are_means_over_the_cells_of_a_donor(parts, tables):
    donors = tables["component_donors"]
    thin = donors[donors["depth"] == "thinned"]
    assert thin["effect_nll"].isna().all() and thin["contribution"].notna().all()
    donors = donors[donors["depth"] == "as measured"]
    assert (donors["region"] == "all").all()
    assert set(donors["donor_id"]) == {f"test{i}" for i in range(10)} | {"discovery0", "discovery1"}
    own = donors[(donors["block"] == 0) & (donors["component"] == "mlp")]
    assert own["n_cells"].sum() == len(parts.cells)
    assert own["effect_cells"].sum() == len(parts.test)
    assert own.loc[own["donor_id"].str.startswith("disc"), "effect_nll"].isna().all()
    one = parts.cells.obs["donor_id"].eq("test3") & parts.cells.obs["cell_class"].eq("glia")
    cells = cohort_tokenizer(parts.cells, parts.folder)
    packed = cells.packed(np.flatnonzero(one.to_numpy()))
    block = intact_pass(parts.model, packed)
    layer, mine = encoder_layers(parts.model)[0], block.blocks[0]
    with torch.no_grad():
        output = layer.linear2(mine.hidden)[block.first]
        total = output + mine.norm1.output()[block.first]
    expected = (output.norm(dim=1) / total.norm(dim=1)).mean()
    found = own[own["donor_id"].eq("test3") & own["cell_class"].eq("glia")]["contribution"]
    assert found.item() == pytest.approx(float(expected), rel=1e-4)


def test_the_step_writes_its_tables_and_leaves_the_model(parts, tmp_path):
    write_table(FAMILY, tmp_path / "candidates.parquet")
    before = {name: value.clone() for name, value in parts.model.state_dict().items()}
    components(
        parts.folder,
        parts.cohort,
        tmp_path / "candidates.parquet",
        tmp_path / "out",
        settings=MAP,
        statistics=STATISTICS,
        compute=COMPUTE,
        max_cells_per_donor=3,
    )
    for name in ("components", "component_effects", "component_donors"):
        table = read_table(tmp_path / "out" / f"{name}.parquet")
        assert list(table.columns[:5]) == ["cohort", "arm", "seed", "block", "component"]
    assert all(value.equal(before[name]) for name, value in parts.model.state_dict().items())


def test_components_without_a_scored_gene_have_no_leaders():
    names = [(0, "head0"), (0, "mlp")]
    columns = {"block": int, "component": object, "view": object, "gene": object}
    numbers = dict.fromkeys(["z", "q"], float)
    empty = pd.DataFrame({k: pd.Series(dtype=v) for k, v in (columns | numbers).items()})
    found = leaders(empty, names, 0.05)
    assert found.index.tolist() == names
    assert found["leading_genes"].tolist() == ["", ""]
    assert found["n_significant_genes"].tolist() == [0, 0]
    row = {"block": 0, "component": "head0", "view": "contribution"}
    rows = [row | {"gene": g, "z": z, "q": q} for g, z, q in (("A", 1, 0.2), ("B", 3, 0.01))]
    found = leaders(pd.DataFrame(rows), names, 0.05)
    assert found["leading_genes"].tolist() == ["B;A", ""]
    assert found["n_significant_genes"].tolist() == [1, 0]
