import hashlib
import json
import os

import pytest
import torch

from scsw.errors import ScswError
from scsw.scgpt.checkpoint.cohort_fit import training_types
from scsw.scgpt.checkpoint.inspect import inspect, lines, print_contents
from scsw.scgpt.checkpoint.state_dict import read_state_dict
from scsw.scgpt.checkpoint.weights import load_weights, naming
from scsw.scgpt.init import training_labels
from scsw.scgpt.model import new_model, read_args, read_vocabulary
from tests.tiny import TYPES, write_cohort

VOCABULARY = {"<pad>": 0, "<cls>": 1, "<eoc>": 2, "GENE00": 3, "GENE01": 4}
ARGS = {"embsize": 8, "nheads": 2, "d_hid": 8, "nlayers": 3, "dropout": 0.1, "n_bins": 51}


def flash(state):
    """Rename attention weights as the public checkpoints have them."""
    return {k.replace("self_attn.in_proj_", "self_attn.Wqkv."): v for k, v in state.items()}


def write_folder(folder, change=lambda state: state, *, n_cls=4, vocabulary=VOCABULARY):
    """Write a folder in the form of the public ones; `change` takes and gives a state dict."""
    folder.mkdir()
    (folder / "args.json").write_text(json.dumps(ARGS))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    torch.manual_seed(0)
    state = new_model(read_args(folder), vocabulary, n_cls).state_dict()
    torch.save(change(dict(state)), folder / "best_model.pt")
    return folder


def without(state, start):
    return {key: value for key, value in state.items() if not key.startswith(start)}


def public(state):
    """Return what the size of the published whole-human file tells: no classifier, a flag."""
    return flash(without(state, "cls_decoder.")) | {"flag_encoder.weight": torch.zeros(2, 8)}


def with_labels(state):
    return flash(state) | {"flag_encoder.weight": torch.zeros(2, 8)}


def test_a_public_folder(tmp_path):
    folder = write_folder(tmp_path / "m", public)
    found = inspect(folder)
    given = torch.load(folder / "best_model.pt", weights_only=True)
    assert found.parameters == sum(tensor.numel() for tensor in given.values())
    assert (found.naming, found.n_classes, found.labels) == ("flash", None, None)
    assert (
        found.vocabulary_sha256 == hashlib.sha256((folder / "vocab.json").read_bytes()).hexdigest()
    )
    keys = found.keys.set_index("key")
    assert keys.loc["flag_encoder.weight", "action"] == "dropped"
    assert set(keys.loc[keys.index.str.startswith("cls_decoder."), "action"]) == {"re-initialised"}
    assert set(keys.loc[keys.index.str.startswith("mvc_decoder."), "action"]) == {"loaded"}
    text = "\n".join(lines(found))
    assert "embsize 8, nheads 2" in text
    assert "5 tokens, special: <pad> 0, <cls> 1, <eoc> 2" in text
    assert f"{found.parameters:,} parameters" in text and "flash naming" in text
    assert "6 of them renamed" in text  # weight and bias in three layers
    assert "transformer_encoder.layers.0-2.self_attn.in_proj_weight" in text
    assert "no classifier, no labels.json" in text


CHANGES = {
    "plain": dict,
    "public": public,
    "with labels": with_labels,
    "no MVC decoder": lambda state: without(state, "mvc_decoder."),
    "attention missing": lambda state: without(state, "transformer_encoder.layers.1.self_attn.in"),
    "another size": lambda state: state | {"encoder.embedding.weight": torch.zeros(9, 8)},
    "an unknown key": lambda state: state | {"mystery.weight": torch.zeros(1)},
    "both namings": lambda state: state | flash(state),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_inspecting_and_loading_agree(tmp_path, capsys, change):
    folder = write_folder(tmp_path / "m", change)
    path = folder / "best_model.pt"
    state, found = read_state_dict(path), inspect(folder)
    model = new_model(read_args(folder), read_vocabulary(folder), found.model_classes[0])
    if "problem" not in set(found.keys["action"]):
        loaded = load_weights(model, state, path)
        assert loaded.equals(found.keys[["key", "action", "reason"]])
        print_contents(folder)
        return
    with pytest.raises(ScswError) as at_loading:
        load_weights(model, state, path)
    with pytest.raises(ScswError) as at_inspecting:
        print_contents(folder)
    assert str(at_loading.value) == str(at_inspecting.value)
    assert "problem " in capsys.readouterr().out


def test_a_tensor_under_two_names_is_never_lost_in_silence(tmp_path):
    folder = write_folder(tmp_path / "m", CHANGES["both namings"])
    with pytest.raises(ScswError, match="are names of one tensor"):
        print_contents(folder)


def test_the_naming_is_told():
    weight = "transformer_encoder.layers.0.self_attn.{}weight"
    assert naming([weight.format("Wqkv.")]) == "flash"
    assert naming([weight.format("in_proj_")]) == "plain"
    assert naming([weight.format("Wqkv."), weight.format("in_proj_")]) == "flash and plain"
    assert naming(["encoder.embedding.weight"]) == "none"


def test_a_cohort_of_the_same_vocabulary(tmp_path):
    cohort = write_cohort(tmp_path / "c")
    vocabulary = json.loads(cohort.with_name("vocab.json").read_text())
    folder = write_folder(tmp_path / "m", with_labels, n_cls=7, vocabulary=vocabulary)
    assert inspect(folder).model_classes == (7, "the checkpoint's classifier")
    found = inspect(folder, cohort)
    assert found.cohort.same_vocabulary and found.cohort.coverage is None
    keys = found.keys.set_index("key")["action"]
    assert keys["cls_decoder.out_layer.weight"] == "re-initialised"
    assert keys["cls_decoder._decoder.0.weight"] == "loaded"
    text = "\n".join(lines(found))
    assert "vocabulary  identical" in text
    assert f"model of {len(TYPES)} labels (cell types of the cohort's training donors)" in text


def test_a_cohort_of_another_vocabulary(tmp_path):
    import anndata

    cohort = write_cohort(tmp_path / "c")
    found = inspect(write_folder(tmp_path / "m"), cohort)
    assert not found.cohort.same_vocabulary
    counts = anndata.read_h5ad(cohort).to_df().sum()
    share = counts[["GENE00", "GENE01"]].sum() / counts.sum()
    total = found.cohort.coverage.set_index("matched_by").loc["symbol"]
    assert total["genes"] == 2 and total["count_share"] == pytest.approx(share)
    text = "\n".join(lines(found))
    assert f"knows {2 / len(counts):.1%} of the cohort's genes with {share:.1%}" in text
    assert "preprocess.vocabulary `checkpoint`" in text


def test_labels_are_compared_with_the_cohort(tmp_path):
    cohort = write_cohort(tmp_path / "c")
    folder = write_folder(tmp_path / "m", n_cls=3)
    (folder / "labels.json").write_text(json.dumps(TYPES))
    assert inspect(folder, cohort).cohort.same_labels is True
    assert inspect(folder).model_classes == (3, "labels.json")
    (folder / "labels.json").write_text(json.dumps(TYPES[::-1]))
    found = inspect(folder, cohort)
    assert found.cohort.same_labels is False
    assert "others than in labels.json" in "\n".join(lines(found))


def test_the_training_types_are_those_of_init(tmp_path):
    cohort = write_cohort(tmp_path / "c")
    assert training_types(cohort) == training_labels(cohort) == TYPES


class _Malicious:
    def __reduce__(self):
        return os.mkdir, ("should_never_exist",)


def test_a_malicious_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "m")
    torch.save({"weight": _Malicious()}, folder / "best_model.pt")
    with pytest.raises(ScswError, match="other than tensors"):
        print_contents(folder)
    assert not (tmp_path / "should_never_exist").exists()


@pytest.mark.parametrize("name", ["args.json", "vocab.json", "best_model.pt"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_folder(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(ScswError, match=name.replace(".", r"\.")):
        inspect(folder)
    with pytest.raises(ScswError, match="is a file"):
        inspect(next(folder.iterdir()))
