"""The step `search` on one tiny model: its tables, and what it must not depend on."""

import json

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.scgpt.folder import write_folder
from scsw.scgpt.model import encoder_layers, load_model, new_model, read_args, read_vocabulary
from scsw.settings import section_settings
from scsw.superweight.controls.implant import KINDS, implant
from scsw.superweight.search.freeze import predicted_rise
from scsw.superweight.search.screen import PLACE
from scsw.superweight.search.search import search
from tests.superweight.steps import SEARCH, SMALL
from tests.tiny import COMPUTE

SITES = ["attn_heads", "attn_out", "mlp_hidden", "mlp_out", "pre_norm2", "out"]
SITES += [f"norm{number}_{name}" for number in (1, 2) for name in ("gamma", "beta")]


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


def test_a_small_family_of_first_order_finds_alone(tuned, tmp_path):
    small = section_settings("search", {"max_candidates": 3, "first_order": 5, **SMALL})
    search(tuned.model, tuned.cohort, tmp_path, settings=small, compute=COMPUTE)
    found = read_table(tmp_path / "candidates.parquet")
    assert found["found_by"].tolist() == ["first_order"] * 3
    table = read_table(tmp_path / "first_order.parquet").query("loss == 'nll'")
    rises = predicted_rise(table.set_index(PLACE)).sort_values(ascending=False)
    assert [*found[PLACE].itertuples(index=False, name=None)] == rises.index[:3].tolist()
    assert found["contribution"].isna().all() and found["spike_ratio"].notna().all()


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
