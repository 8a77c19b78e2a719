"""Search, prune, verdict, implant and the judging of controls as steps, on one tiny model."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.errors import ScswError
from scsw.files import read_table, write_table
from scsw.scgpt.folder import write_folder
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers, load_model, new_model, read_args, read_vocabulary
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings
from scsw.superweight.controls.implant import HIDDEN, KINDS, WEIGHT, implant
from scsw.superweight.controls.judge_controls import judge_controls
from scsw.superweight.pruning.prune import Measurement, prune
from scsw.superweight.pruning.shards import gather
from scsw.superweight.search.search import search
from scsw.superweight.verdict.statistics import EDIT
from scsw.superweight.verdict.verdicts import judge
from tests.tiny import COMPUTE

SMALL = {"first_order_top": 30, "gradient_cells": 24}
SEARCH = section_settings("search", {"max_candidates": 6, "first_order": 2, **SMALL})
SITES = ["attn_heads", "attn_out", "mlp_hidden", "mlp_out", "pre_norm2", "out"]
SITES += [f"norm{number}_{name}" for number in (1, 2) for name in ("gamma", "beta")]
PRUNE = section_settings(
    "prune",
    {"n_controls": 119, "control_scope": "all_blocks", "shards": 2, "n_matched": 5, "n_noise": 5}
    | {"n_family_controls": 4},
)
STATISTICS = section_settings("statistics", {"bootstrap": 500})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def searched(tuned, tmp_path_factory):
    out = tmp_path_factory.mktemp("search")
    search(tuned.model, tuned.cohort, out, settings=SEARCH, compute=COMPUTE)
    return out


@pytest.fixture(scope="module")
def pruned(tuned, searched, tmp_path_factory):
    out = tmp_path_factory.mktemp("prune")
    for shard in range(2):
        prune(
            tuned.model,
            tuned.cohort,
            searched,
            out / f"{shard}.parquet",
            search=SEARCH,
            settings=PRUNE,
            compute=COMPUTE,
            shard=shard,
        )
    return out


def test_search_writes_its_tables(searched, tuned):
    candidates = read_table(searched / "candidates.parquet")
    assert candidates["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert (candidates["found_by"] == "first_order").sum() == 2
    spikes = candidates["spike_ratio"] >= SEARCH.spike_ratio
    assert not (candidates["found_by"].eq("spike") & ~spikes).any()
    for row in candidates.itertuples():
        weight = encoder_layers(tuned.network)[row.block].linear2.weight[row.row, row.column]
        assert row.weight == pytest.approx(float(weight))
        assert row.candidate_id == f"ffn_down.b{row.block}.r{row.row}.c{row.column}"
    spikes = read_table(searched / "spikes.parquet")
    whole = spikes[spikes["group_by"] == "all"]
    assert whole.groupby(["block", "site"]).size().to_dict() == {
        (b, s): 24 if s == "mlp_hidden" else 16 for b in range(3) for s in SITES
    }
    assert set(spikes["group_by"]) == {"all", "cell_type", "donor", "region", "token"}
    cls = spikes[(spikes["group_by"] == "token") & (spikes["group"] == "<cls>")]
    genes = spikes[(spikes["group_by"] == "token") & (spikes["group"] == "genes")]
    either = np.maximum(cls["max"].to_numpy(), genes["max"].to_numpy())
    activations = whole[~whole["site"].str.startswith("norm")]
    assert either == pytest.approx(activations["max"].to_numpy())
    assert activations["participation"].dropna().between(0, 1 + 1e-9).all()
    # Each cell has one largest channel.
    assert activations.groupby(["block", "site"])["stability"].sum().to_numpy() == pytest.approx(1)
    donors = (
        spikes[spikes["group_by"] == "donor"].groupby(["block", "site", "channel"])["max"].max()
    )
    assert donors.to_numpy() == pytest.approx(
        activations.set_index(["block", "site", "channel"])["max"].sort_index().to_numpy()
    )
    paths = read_table(searched / "paths.parquet").merge(
        candidates[["candidate_id", "block"]], on="candidate_id", suffixes=("", "_of_candidate")
    )
    assert (paths["block"] >= paths["block_of_candidate"]).all()
    record = json.loads((searched / "search.provenance.json").read_text())
    assert record["simulated"] is True and record["inputs"]["model"]["sha256"]


def test_search_reads_no_test_donor(searched):
    spikes = read_table(searched / "spikes.parquet")
    assert set(spikes.loc[spikes["group_by"] == "donor", "group"]) == {"discovery0", "discovery1"}


def test_search_gives_the_same_table_twice(searched, tuned, tmp_path):
    search(tuned.model, tuned.cohort, tmp_path, settings=SEARCH, compute=COMPUTE)
    for name in ("candidates", "spikes", "paths"):
        a, b = read_table(searched / f"{name}.parquet"), read_table(tmp_path / f"{name}.parquet")
        pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.parametrize("name", ["candidates", "spikes", "first_order", "paths", "other_inputs"])
def test_the_search_does_not_depend_on_the_batch_size(searched, tuned, tmp_path_factory, name):
    out = tmp_path_factory.getbasetemp() / "search-by-5"
    if not out.exists():
        other = section_settings("compute", {**vars(COMPUTE), "batch_size": 5})
        search(tuned.model, tuned.cohort, out, settings=SEARCH, compute=other)
    a, b = (read_table(folder / f"{name}.parquet") for folder in (searched, out))
    pd.testing.assert_frame_equal(a, b, check_exact=False, rtol=1e-6, atol=1e-9)


def test_what_spikes_in_the_start_is_told(tuned, tmp_path):
    implant(tuned.init, tuned.cohort, tmp_path / "start", kind=KINDS[0], compute=COMPUTE, seed=0)
    sealed = json.loads((tmp_path / "start" / "sealed.json").read_text())
    given = {"settings": SEARCH, "compute": COMPUTE, "start": tmp_path / "start"}
    search(tuned.model, tuned.cohort, tmp_path / "search", **given)
    spikes = read_table(tmp_path / "search" / "spikes.parquet")
    inherited = spikes[
        (spikes["start_ratio"] >= SEARCH.spike_ratio) & (spikes["site"] == "mlp_out")
    ]
    assert inherited[["block", "channel"]].to_numpy().tolist() == [[sealed["block"], sealed["row"]]]
    found = read_table(tmp_path / "search" / "candidates.parquet")
    start = load_model(tmp_path / "start")
    for row in found.itertuples():
        weight = encoder_layers(start)[row.block].linear2.weight[row.row, row.column]
        assert row.start_weight == pytest.approx(weight.item())


def test_prune_measures_what_the_model_does(tuned, searched, pruned):
    effects = gather([pruned / "0.parquet", pruned / "1.parquet"])
    found = effects.groupby("weight_set")["candidate_id"].nunique()
    families = read_table(searched / "families.parquet")
    assert found["candidate"] == 6 and found["random"] == 119
    assert found["family"] == families["candidate_id"].nunique() > 0
    kinds = effects[effects["weight_set"].isin(["family", "family_random"])]
    kinds = kinds.groupby(["weight_set", "family", "block"])["candidate_id"].nunique()
    assert (kinds["family_random"] == PRUNE.n_family_controls).all()
    assert set(kinds["family_random"].index) == set(kinds["family"].index)
    edited = effects.groupby([*EDIT])[["n_cells", "n_masked"]].sum()
    assert (edited["n_cells"] == len(tuned.tokenizer)).all()
    assert (edited.xs("random")["n_masked"] == 0).all()
    alone = edited.xs("candidate")
    assert (alone.xs("zero", level="mode")["n_masked"] > 0).all()
    assert (alone.xs("scale", level="mode")["n_masked"] == 0).all()
    # Against zero-and-rerun with the package's own forward pass.
    best = read_table(searched / "candidates.parquet").iloc[0]
    model = load_model(tuned.model)
    rows = np.arange(len(tuned.tokenizer))

    def nll():
        batch = tuned.tokenizer.batch(rows)
        with torch.no_grad():
            logits = forward_padded(model, batch)["cls_output"].double()
        return torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum").item()

    intact = nll()
    with torch.no_grad():
        encoder_layers(model)[best["block"]].linear2.weight[best["row"], best["column"]] = 0
    own = effects[(effects["candidate_id"] == best["candidate_id"]) & (effects["mode"] == "zero")]
    own = own[own["weight_set"] == "candidate"]
    assert own["sum_nll_intact"].sum() == pytest.approx(intact, rel=1e-5)
    assert own["sum_d_nll"].sum() == pytest.approx(nll() - intact, rel=1e-4)
    assert np.stack(own["predicted_counts"]).sum() == len(rows)


def test_a_cells_tokens_are_always_permuted_alike_and_each_cells_otherwise(tuned):
    n_types = len(json.loads((tuned.model / "labels.json").read_text()))
    measured = Measurement(tuned.network, tuned.tokenizer, tuned.cells, n_types, CPU)

    def permutations(rows):
        cells = tuned.tokenizer.packed(np.array(rows))
        whole = measured._shuffled(cells).numpy()
        found = {}
        for cell, first, n in zip(rows, cells.offsets[:-1].tolist(), cells.lengths, strict=True):
            found[cell] = whole[first : first + n] - first
            assert sorted(found[cell]) == list(range(n))
        return found

    one, other = permutations(list(range(12))), permutations([7, 3])
    assert all((one[cell] == other[cell]).all() for cell in (7, 3))
    full = [p.tobytes() for p in one.values() if len(p) == 24]
    assert len(full) > 2 and len(set(full)) == len(full)  # as long, but not permuted alike


def test_shards_do_not_change_a_digit(tuned, searched, pruned, tmp_path):
    one = section_settings("prune", {**vars(PRUNE), "shards": 1})
    prune(
        tuned.model,
        tuned.cohort,
        searched,
        tmp_path / "all.parquet",
        search=SEARCH,
        settings=one,
        compute=COMPUTE,
    )
    whole = gather([tmp_path / "all.parquet"])
    parts = gather([pruned / "1.parquet", pruned / "0.parquet"])
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)


def judged(tuned, searched, shards, out):
    judge(
        shards,
        searched / "candidates.parquet",
        tuned.cohort,
        out,
        model=tuned.model,
        spikes=searched / "spikes.parquet",
        weights=searched / "weights.parquet",
        search=SEARCH,
        prune=PRUNE,
        statistics=STATISTICS,
    )
    return out


def test_other_batches_change_nothing_by_more_than_a_millionth(tuned, searched, pruned, tmp_path):
    """Neither masks nor permutations nor verdicts depend on how cells are batched."""
    other = section_settings("compute", {**vars(COMPUTE), "batch_size": 32})
    for shard in range(2):
        prune(
            tuned.model,
            tuned.cohort,
            searched,
            tmp_path / f"{shard}.parquet",
            search=SEARCH,
            settings=PRUNE,
            compute=other,
            shard=shard,
        )
    own, others = ([folder / f"{n}.parquet" for n in range(2)] for folder in (pruned, tmp_path))
    a, b = gather(own), gather(others)
    assert a.columns.equals(b.columns)
    for name in a.columns.drop("predicted_counts"):
        if a[name].dtype.kind == "f":
            # Of sums over a donor's cells of one type, each of which is of the order of one.
            tolerance = 1e-6 * max(1.0, a[name].abs().max())
            np.testing.assert_allclose(b[name], a[name], rtol=0, atol=tolerance, err_msg=name)
        elif a[name].dtype.kind in "iub":
            assert a[name].equals(b[name]), name  # n_masked among them
    first, second = (
        read_table(judged(tuned, searched, shards, tmp_path / name) / "verdicts.parquet")
        for name, shards in (("a", own), ("b", others))
    )
    same = ["candidate_id", "p", "q", "structural", "causal", "verdict", "partner", "unresolved"]
    pd.testing.assert_frame_equal(first[same], second[same])
    assert first["effect_nll"].to_numpy() == pytest.approx(second["effect_nll"], abs=1e-6)


def test_verdicts_of_the_model(tuned, searched, pruned, tmp_path):
    judged(tuned, searched, [pruned / "0.parquet", pruned / "1.parquet"], tmp_path)
    pairs, recovery = (read_table(tmp_path / f"{name}.parquet") for name in ("pairs", "recovery"))
    metrics = read_table(tmp_path / "metrics.parquet")
    whole = metrics[(metrics["by"] == "all") & (metrics["weight_set"] == "candidate")]
    assert len(whole) == 6 * (2 * whole["metric"].nunique() - 1)  # neighbours where zeroed
    assert (whole["effect_low"] <= whole["effect_high"]).all() and whole["n_donors"].eq(12).all()
    assert {"macro_f1", "ece", "gep_pearson", "neighbours_kept"} <= set(metrics["metric"])
    assert {"all", "cell_type", "region", "braak"} <= set(metrics["by"])
    assert len(pairs) == 15 and pairs["effect_joint"].notna().all()  # of six candidates
    pooled = recovery[recovery["scope"] == "all"].set_index("score")
    assert pooled["n"].eq(119).all() and pooled["spearman"].between(-1, 1).all()
    table = read_table(tmp_path / "verdicts.parquet")
    assert table["n_test_donors"].eq(12).all() and table["n_controls"].eq(119).all()
    assert table["effect_low"].le(table["effect_nll"]).all()
    zeroed = whole[(whole["mode"] == "zero") & (whole["metric"] == "nll")]
    rise = zeroed.set_index("candidate_id")["effect"].loc[table["candidate_id"]]
    assert rise.to_numpy() == pytest.approx(table["effect_nll"].to_numpy(), rel=1e-9)
    assert table["p"].between(1 / 120, 1).all()
    others = read_table(tmp_path / "family_effects.parquet")
    families = read_table(searched / "families.parquet")
    assert set(others["candidate_id"]) == set(families["candidate_id"])
    assert others["n_controls"].eq(PRUNE.n_family_controls).all() and len(others) == len(families)
    assert others["p"].between(1 / 5, 1).all() and others["q"].ge(others["p"]).all()
    named = others.set_index(["candidate_id", "module"])["effect_nll"]
    zeroed = metrics[(metrics["weight_set"] == "family") & (metrics["metric"] == "nll")]
    zeroed = zeroed.set_index(["candidate_id", "of"])["effect"].loc[named.index]
    assert zeroed.to_numpy() == pytest.approx(named.to_numpy(), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_an_implant_is_the_largest_spike_of_its_model(tuned, tmp_path, kind):
    out = tmp_path / "implant"
    implant(tuned.init, tuned.cohort, out, kind=kind, compute=COMPUTE, seed=0)
    sealed = json.loads((out / "sealed.json").read_text())
    layer = encoder_layers(load_model(out))[sealed["block"]]
    weight = layer.linear2.weight[sealed["row"], sealed["column"]].item()
    assert weight == sealed["weight"]
    if kind == "implanted_constant":
        assert weight * layer.linear1.bias[sealed["column"]].item() == WEIGHT * HIDDEN
    assert sealed["block"] == 0  # the first half of three blocks
    (out / "sealed.json").unlink()  # found blind
    search(out, tuned.cohort, tmp_path, settings=SEARCH, compute=COMPUTE)
    best = read_table(tmp_path / "candidates.parquet").iloc[0]
    assert (best["block"], best["row"], best["column"]) == (
        sealed["block"],
        sealed["row"],
        sealed["column"],
    )
    assert best["spike_ratio"] > SEARCH.spike_ratio


def test_the_informative_implant_reads_its_genes(tuned, tmp_path):
    out = tmp_path / "implant"
    implant(tuned.init, tuned.cohort, out, kind=KINDS[1], compute=COMPUTE, seed=1)
    sealed = json.loads((out / "sealed.json").read_text())
    search(out, tuned.cohort, tmp_path, settings=SEARCH, compute=COMPUTE)
    best = read_table(tmp_path / "candidates.parquet").iloc[0]
    assert best["top_gene"] in sealed["genes"]


def test_implants_differ_by_seed_and_an_unknown_kind_is_refused(tuned, tmp_path):
    places = set()
    for seed in range(6):
        out = tmp_path / str(seed)
        implant(tuned.init, tuned.cohort, out, kind=KINDS[0], compute=COMPUTE, seed=seed)
        sealed = json.loads((out / "sealed.json").read_text())
        places.add((sealed["block"], sealed["row"], sealed["column"]))
    assert len(places) > 3
    with pytest.raises(ScswError, match="unknown kind"):
        implant(tuned.init, tuned.cohort, tmp_path / "x", kind="magic", compute=COMPUTE)


def arm_folder(root, arm, verdicts, sealed=None):
    folder = root / arm / "0"
    table = pd.DataFrame(verdicts).assign(cohort="x", arm=arm, seed=0, reason="because")
    table["rank"] = range(1, len(table) + 1)
    table["causal"] = table["verdict"].str.startswith("causal")
    if "min_effect" not in table:
        table = table.assign(min_effect=0.1, q=0.5)
    if "effect_high" not in table:
        table["effect_high"] = 0.2
    if "effect_gep_mse" not in table:
        table["effect_gep_mse"] = 0.0
    write_table(table, folder / "prune" / "verdicts.parquet")
    if sealed:
        (folder / "implant").mkdir()
        (folder / "implant" / "sealed.json").write_text(json.dumps(sealed))
    return folder


@pytest.mark.parametrize(
    ("arm", "verdict", "passed", "rank"),
    [
        ("untrained", "not causal", True, None),
        ("untrained", "causal, constant", False, None),
        ("untrained", "masked pair", False, None),
        ("shuffled", "not causal", True, None),
        ("shuffled", "not assessable", None, None),
        ("implanted_constant", "causal, constant", True, 1),
        ("implanted_constant", "causal, informative", False, 1),
        ("implanted_constant", "not causal", False, 1),
        ("implanted_constant", "not assessable", None, 1),
        ("pretrained", "causal, constant", None, None),
    ],
)
def test_control_arms_are_judged(tmp_path, arm, verdict, passed, rank):
    sealed = {"kind": arm, "block": 1, "row": 2, "column": 3} if "implanted" in arm else None
    rows = [{"candidate_id": "ffn_down.b1.r2.c3", "verdict": verdict}]
    folder = arm_folder(tmp_path, arm, rows, sealed)
    judge_controls({arm: folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert (None if pd.isna(row["passed"]) else bool(row["passed"])) == passed
    assert (None if pd.isna(row["found_rank"]) else int(row["found_rank"])) == rank


def test_an_arm_that_could_not_fail_does_not_pass(tmp_path):
    rows = [{"candidate_id": "a", "verdict": "not causal", "min_effect": np.nan, "q": 0.01}]
    folder = arm_folder(tmp_path, "untrained", rows)
    judge_controls({"untrained": folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert pd.isna(row["passed"])
    assert "none could be" in row["outcome"] and "1 of 1 have q at most 0.05" in row["outcome"]


@pytest.mark.parametrize("min_effect", [0.1, np.nan])
def test_what_shuffled_labels_do_to_reconstruction_is_shown_and_not_judged(tmp_path, min_effect):
    rows = [
        {"candidate_id": name, "verdict": "not causal", "min_effect": min_effect, "q": 0.5}
        | {"effect_gep_mse": change}
        for name, change in (("a", 0.004), ("b", -0.0312), ("c", np.nan))
    ]
    folders = {arm: arm_folder(tmp_path, arm, rows) for arm in ("shuffled", "untrained")}
    judge_controls(folders, tmp_path / "controls.parquet")
    table = read_table(tmp_path / "controls.parquet").set_index("arm")
    said = "shown, not judged: the error of its masked expression changes most, by -3.12 %, when b"
    assert said in table.loc["shuffled", "outcome"]
    assert "masked expression" not in table.loc["untrained", "outcome"]
    # However large, it decides nothing.
    assert table["passed"].isna().all() if np.isnan(min_effect) else table["passed"].all()


def test_a_small_family_of_first_order_finds_alone(tuned, tmp_path):
    small = section_settings("search", {"max_candidates": 3, "first_order": 5, **SMALL})
    search(tuned.model, tuned.cohort, tmp_path, settings=small, compute=COMPUTE)
    found = read_table(tmp_path / "candidates.parquet")
    assert found["found_by"].tolist() == ["first_order"] * 3
    assert found["contribution"].isna().all() and found["spike_ratio"].notna().all()


@pytest.mark.parametrize(
    ("shard", "message"), [(98, "holds no edits"), (99, "no shard 99 of 99"), (-1, "no shard -1")]
)
def test_a_shard_without_edits_is_refused(tuned, searched, tmp_path, shard, message):
    """Python takes -1 for the last one, and 1 of 1 for all but the first group."""
    many = section_settings("prune", {**vars(PRUNE), "shards": 99})
    with pytest.raises(ScswError, match=message):
        prune(
            tuned.model,
            tuned.cohort,
            searched,
            tmp_path / "x.parquet",
            search=SEARCH,
            settings=many,
            compute=COMPUTE,
            shard=shard,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_real_arm_is_no_control(tmp_path):
    with pytest.raises(ScswError, match="real is no control arm"):
        judge_controls({"real": tmp_path}, tmp_path / "controls.parquet")


@pytest.mark.parametrize(("arm", "passed"), [("untrained", None), ("implanted_constant", False)])
def test_an_arm_without_a_candidate_has_a_row(tmp_path, arm, passed):
    sealed = {"kind": arm, "block": 1, "row": 2, "column": 3}
    folder = arm_folder(tmp_path / "x", arm, [{"candidate_id": "a", "verdict": ""}], sealed)
    path = folder / "prune" / "verdicts.parquet"
    write_table(read_table(path).iloc[:0], path)
    judge_controls({arm: folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert (row["cohort"], row["seed"], row["n_causal"]) == ("x", 0, 0)
    assert (None if pd.isna(row["passed"]) else bool(row["passed"])) == passed


def test_an_implant_that_was_missed_is_said(tmp_path):
    sealed = {"kind": "implanted_constant", "block": 1, "row": 9, "column": 9}
    rows = [{"candidate_id": "ffn_down.b1.r2.c3", "verdict": "causal, constant"}]
    folder = arm_folder(tmp_path, "implanted_constant", rows, sealed)
    judge_controls({"implanted_constant": folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert row["found_rank"] == -1 and not row["passed"]
    assert "not among the candidates" in row["outcome"]


@pytest.mark.parametrize(("high", "passed"), [(0.09, None), (0.11, False)])
def test_an_implant_that_training_left_idle_is_no_failure(tmp_path, high, passed):
    sealed = {"kind": "implanted_informative", "block": 1, "row": 2, "column": 3}
    rows = [{"candidate_id": "ffn_down.b1.r2.c3", "verdict": "not causal", "effect_high": high}]
    folder = arm_folder(tmp_path, "implanted_informative", rows, sealed)
    judge_controls({"implanted_informative": folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert (None if pd.isna(row["passed"]) else bool(row["passed"])) == passed
    assert ("at most 0.09 nats, of the 0.1 that would count" in row["outcome"]) == (passed is None)


def test_no_control_arms_give_an_empty_table(tmp_path):
    judge_controls({}, tmp_path / "controls.parquet")
    assert read_table(tmp_path / "controls.parquet").empty


def test_the_cohort_tokenizer_uses_the_models_sizes(tuned):
    tokenizer = cohort_tokenizer(tuned.cells, tuned.model)
    assert tokenizer.max_seq_len == 24 and tokenizer.n_bins == 51


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"use_batch_labels": True, "num_batch_labels": 2}, "reads the experimental batch"),
        ({"domain_spec_batchnorm": "batchnorm"}, "reads the experimental batch"),
        ({"cell_emb_style": "avg-pool"}, "embeds cells by `avg-pool`"),
        (None, "no labels.json"),
    ],
)
def test_a_model_of_others_that_the_steps_cannot_run_is_refused(tuned, tmp_path, change, text):
    args = read_args(tuned.model) | (change or {})
    model = new_model(args, read_vocabulary(tuned.model), 3)
    write_folder(tmp_path / "m", model, args, tuned.model / "vocab.json", ["a", "b", "c"])
    if change is None:
        (tmp_path / "m" / "labels.json").unlink()
    with pytest.raises(ScswError, match=text):
        search(tmp_path / "m", tuned.cohort, tmp_path / "s", settings=SEARCH, compute=COMPUTE)
    assert not (tmp_path / "s" / "candidates.parquet").exists()
