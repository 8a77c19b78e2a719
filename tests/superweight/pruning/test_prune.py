"""The step `prune` on one tiny model: what it measures, and what it must not depend on."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers, load_model
from scsw.settings import section_settings
from scsw.superweight.pruning.measurement import Measurement
from scsw.superweight.pruning.shards import gather
from scsw.superweight.verdict.statistics import EDIT
from tests.superweight.steps import PRUNE, judged, prune_shard
from tests.tiny import COMPUTE

CPU = torch.device("cpu")


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
    prune_shard(tuned, searched, tmp_path / "all.parquet", settings=one)
    whole = gather([tmp_path / "all.parquet"])
    parts = gather([pruned / "1.parquet", pruned / "0.parquet"])
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)


def test_other_batches_change_nothing_by_more_than_a_millionth(tuned, searched, pruned, tmp_path):
    """Neither masks nor permutations nor verdicts depend on how cells are batched."""
    other = section_settings("compute", {**vars(COMPUTE), "batch_size": 32})
    for shard in range(2):
        prune_shard(tuned, searched, tmp_path / f"{shard}.parquet", compute=other, shard=shard)
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


@pytest.mark.parametrize(
    ("shard", "message"), [(98, "holds no edits"), (99, "no shard 99 of 99"), (-1, "no shard -1")]
)
def test_a_shard_without_edits_is_refused(tuned, searched, tmp_path, shard, message):
    """Python takes -1 for the last one, and 1 of 1 for all but the first group."""
    many = section_settings("prune", {**vars(PRUNE), "shards": 99})
    with pytest.raises(ScswError, match=message):
        prune_shard(tuned, searched, tmp_path / "x.parquet", settings=many, shard=shard)
    assert list(tmp_path.iterdir()) == []
