"""Write a scGPT folder that any scGPT tool can load."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scsw.errors import ScswError
from scsw.files import read_json, sha256, write_json
from scsw.scgpt.model_args import built_args, complete_args


def write_folder(
    out: Path, model: nn.Module, args: dict[str, Any], vocabulary: Path, labels: list[str]
) -> None:
    """Write ``args.json``, ``vocab.json`` (same bytes), ``best_model.pt`` and ``labels.json``.

    What `args` says of the model's parts is replaced by what the model is.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(complete_args({**complete_args(args), **built_args(model)}), out / "args.json")
    write_json(labels, out / "labels.json")
    shutil.copyfile(vocabulary, out / "vocab.json")
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save(state, out / "best_model.pt")


def save(value: Any, path: Path) -> None:
    """Save tensors as torch does.

    Raises
    ------
    OSError
        If the disk is full: torch says only that a position is not the expected one.
    """
    try:
        torch.save(value, path)
    except RuntimeError as error:
        path.unlink(missing_ok=True)
        if "unexpected pos" not in str(error) and "PytorchStreamWriter" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def require_replaceable(out: Path) -> None:
    """Raise unless a model may be written to `out`, whose contents are removed for it.

    Raises
    ------
    ScswError
        If it is a file, or a folder that holds anything but a model with labels: a published
        checkpoint, or a user's own files.
    """
    if not os.path.lexists(out):
        return
    is_free = out.name and out.is_dir() and not out.is_symlink()
    if not is_free or (any(out.iterdir()) and not (out / "labels.json").exists()):
        raise ScswError(
            f"{out} exists, and is no model that scsw wrote",
            expected="a new folder, or a model to replace",
            fix="choose another --out",
        )


def read_labels(folder: str | Path) -> list[str]:
    """Read ``labels.json``: the cell types in the order of the classifier.

    Raises
    ------
    ScswError
        If the folder has none, as those of other tools, or it is no list.
    """
    path = Path(folder) / "labels.json"
    if not path.exists():
        raise ScswError(
            f"{folder} has no labels.json",
            expected="the cell types in the classifier's order",
            fix="make a starting model of this checkpoint with `scsw init` (model.checkpoint in "
            "the config); or, if it was trained on the cohort's cell types, write their names "
            "there as a JSON list",
        )
    labels = read_json(path)
    if not isinstance(labels, list):
        raise ScswError(f"{path} is not a list", expected="the labels in the classifier's order")
    return [str(label) for label in labels]


def check_vocabulary(folder: str | Path, facts: dict[str, Any]) -> None:
    """Raise unless the folder's vocabulary is the one the cohort was matched to.

    Parameters
    ----------
    folder
        scGPT folder.
    facts
        The cohort's ``uns["scsw"]``.
    """
    found, expected = sha256(Path(folder) / "vocab.json"), facts["vocabulary_sha256"]
    if found != expected:
        raise ScswError(
            f"{folder}/vocab.json has sha256 {found[:12]}…, but cohort {facts['cohort']} was "
            f"matched to the vocabulary {expected[:12]}…",
            expected="one vocabulary for model and cohort, or token ids would mean other genes",
            fix="preprocess the cohort again with this model's checkpoint",
        )
