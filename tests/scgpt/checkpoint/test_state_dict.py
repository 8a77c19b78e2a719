"""Weights in the wrappings in which training scripts leave them."""

import argparse

import pytest
import torch
from torch import nn

from scsw.errors import ScswError
from scsw.scgpt.checkpoint.state_dict import read_state_dict

EMBEDDING = "encoder.embedding.weight"
STATE = {
    EMBEDDING: torch.randn(5, 4),
    "value_encoder.embedding.weight": torch.randn(3, 4),
    "transformer_encoder.layers.0.self_attn.Wqkv.weight": torch.randn(12, 4),
    "bn.num_batches_tracked": torch.tensor(3),
}


def prefixed(prefix):
    return {prefix + key: value for key, value in STATE.items()}


WRAPPED = {
    "plain": STATE,
    "DataParallel": prefixed("module."),
    "torch.compile": prefixed("_orig_mod."),
    "both": prefixed("module._orig_mod."),
    "a compiled encoder": {
        k.replace("r.layers", "r._orig_mod.layers"): v for k, v in STATE.items()
    },
    "with optimizer": {
        "model_state_dict": STATE,
        "optimizer_state_dict": {"state": {}},
        "epoch": 3,
    },
    "Lightning": {
        "state_dict": prefixed("model."),
        "epoch": 3,
        "pytorch-lightning_version": "1.9.5",
        "callbacks": {},
        "lr_schedulers": [],
    },
    "parameters": {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in STATE.items()},
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_the_weights_get_their_own_names(tmp_path, content):
    torch.save(content, tmp_path / "best_model.pt")
    found = read_state_dict(tmp_path / "best_model.pt")
    assert found.keys() == STATE.keys()
    assert all(found[key].equal(value) for key, value in STATE.items())


REFUSED = {
    "several": ({"model": STATE, "ema": STATE}, "several state dicts: model, ema"),
    "another entry": ({"epoch": 3, "arch": "scGPT"}, "not a state dict; its entries are epoch"),
    "no names": ({0: torch.zeros(1)}, "not a state dict; its entries are 0"),
    "two of one weight": (prefixed("module.") | STATE, "under several names"),
    "settings": (
        {"model": STATE, "args": argparse.Namespace(lr=1e-4)},
        r"not opened: argparse\.Namespace.*save it again",
    ),
    "the whole module": (nn.Linear(2, 2), r"not opened: torch\.nn\.modules\.linear\.Linear"),
    "without values": (STATE | {EMBEDDING: torch.zeros(5, 4, device="meta")}, "without values"),
    "sparse": (STATE | {EMBEDDING: torch.eye(4).to_sparse()}, r"sparse form, such as encoder\.emb"),
    "not finite": (
        STATE | {EMBEDDING: torch.tensor([[1.0, torch.nan]])},
        r"no finite numbers: encoder\.embedding\.weight",
    ),
}


@pytest.mark.parametrize(("content", "text"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_one_clear_error(tmp_path, content, text):
    torch.save(content, tmp_path / "best_model.pt")
    with pytest.raises(ScswError, match=text) as error:
        read_state_dict(tmp_path / "best_model.pt")
    assert "\x1b" not in str(error.value) and "weights_only" not in str(error.value)


def test_a_pointer_of_git_lfs_is_told(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / "best_model.pt").write_text(pointer)
    with pytest.raises(ScswError, match=r"a pointer of Git LFS.*`git lfs pull`"):
        read_state_dict(tmp_path / "best_model.pt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model_e6.pt", "if its weights are in model_e6.pt"),
        ("model.safetensors", r"safetensors\.torch\.load_file\('model\.safetensors'\)"),
    ],
)
def test_weights_under_another_name_are_pointed_at(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ScswError, match=rf"best_model\.pt does not exist.*{text}"):
        read_state_dict(tmp_path / "best_model.pt")
