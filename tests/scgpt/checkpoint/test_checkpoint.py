import json
import os
import pickle

import pytest
import torch

from scsw.errors import ScswError
from scsw.scgpt.checkpoint.state_dict import read_state_dict
from scsw.scgpt.checkpoint.weights import load_weights
from scsw.scgpt.folder import write_folder
from scsw.scgpt.model import load_model, new_model

VOCABULARY = {"<pad>": 0, "<cls>": 1, "<eoc>": 2, "A": 3}
ARGS = {"embsize": 8, "nheads": 2, "d_hid": 8, "nlayers": 2, "n_layers_cls": 2, "dropout": 0.1}


def model(n_cls: int = 3, seed: int = 0):
    torch.manual_seed(seed)
    return new_model(ARGS, VOCABULARY, n_cls)


def flash_named(state: dict) -> dict:
    return {k.replace("self_attn.in_proj_", "self_attn.Wqkv."): v for k, v in state.items()} | {
        "flag_encoder.weight": torch.zeros(2, 8)
    }


def load(ours, folder):
    path = folder / "best_model.pt"
    return load_weights(ours, read_state_dict(path), path)


def test_a_flash_checkpoint_loads_whole(tmp_path):
    given = model(seed=1).state_dict()
    torch.save(flash_named(given), tmp_path / "best_model.pt")
    ours = model()
    actions = load(ours, tmp_path).set_index("key")
    for name, value in given.items():
        assert ours.state_dict()[name].equal(value), name
    assert actions.loc["flag_encoder.weight", "action"] == "dropped"
    renamed = actions.loc["transformer_encoder.layers.0.self_attn.in_proj_weight"]
    assert renamed["action"] == "loaded" and "Wqkv" in renamed["reason"]


def test_a_classifier_of_other_labels_is_re_initialised(tmp_path):
    torch.save(model(n_cls=7, seed=1).state_dict(), tmp_path / "best_model.pt")
    ours = model()
    before = ours.cls_decoder.out_layer.weight.clone()
    actions = load(ours, tmp_path).set_index("key")["action"]
    assert ours.cls_decoder.out_layer.weight.equal(before)
    assert actions["cls_decoder.out_layer.weight"] == "re-initialised"
    assert actions["cls_decoder._decoder.0.weight"] == "loaded"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("transformer_encoder.layers.1.self_attn.in_proj_weight"), "is missing"),
        (
            lambda s: s.update({"encoder.embedding.weight": torch.zeros(9, 8)}),
            "has 9 rows, but vocab.json 4 tokens",
        ),
        (
            lambda s: s.update({"decoder.fc.0.weight": torch.zeros(8, 8, dtype=torch.int8)}),
            "decoder.fc.0.weight is of torch.int8",
        ),
        (
            lambda s: s.update({"mystery.weight": torch.zeros(1)}),
            "mystery.weight (1,) has no place",
        ),
    ],
)
def test_anything_else_is_an_error_that_names_the_key(tmp_path, change, text):
    state = dict(model().state_dict())
    change(state)
    torch.save(state, tmp_path / "best_model.pt")
    with pytest.raises(ScswError, match="does not fit") as error:
        load(model(), tmp_path)
    assert text in str(error.value)


class _Malicious:
    def __reduce__(self):
        return os.mkdir, ("should_never_exist",)


def test_a_malicious_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": _Malicious()}, tmp_path / "best_model.pt")
    with pytest.raises(ScswError, match="other than tensors"):
        read_state_dict(tmp_path / "best_model.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Malicious()))
    with pytest.raises(ScswError):
        read_state_dict(tmp_path / "plain.pt")
    assert not (tmp_path / "should_never_exist").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_broken_file_is_one_clear_error(tmp_path, content):
    (tmp_path / "best_model.pt").write_bytes(content)
    with pytest.raises(ScswError, match=r"best_model\.pt"):
        read_state_dict(tmp_path / "best_model.pt")


def test_something_that_is_no_state_dict_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "best_model.pt")
    with pytest.raises(ScswError, match="not a state dict"):
        read_state_dict(tmp_path / "best_model.pt")


def test_a_folder_whose_labels_do_not_fit_is_not_loaded(tmp_path):
    write_folder(
        tmp_path / "m", model(n_cls=3), folder_args(), vocabulary_file(tmp_path), list("ab")
    )
    with pytest.raises(ScswError, match=r"cls_decoder\.out_layer"):
        load_model(tmp_path / "m")


def folder_args() -> dict:
    return ARGS | {"n_bins": 51, "max_seq_len": 20, "include_zero_gene": False}


def vocabulary_file(folder):
    path = folder / "vocab.json"
    path.write_text(json.dumps(VOCABULARY))
    return path
