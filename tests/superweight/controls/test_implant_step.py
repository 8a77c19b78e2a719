"""The step `implant`: where it puts its weight, and that the search finds it blind."""

import json

import pytest

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.scgpt.model import encoder_layers, load_model
from scsw.superweight.controls.implant import HIDDEN, KINDS, WEIGHT, implant
from scsw.superweight.search.search import search
from tests.superweight.steps import SEARCH
from tests.tiny import COMPUTE


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
