"""Weights of a scGPT checkpoint: every key is loaded, re-initialised or dropped on purpose."""

from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from scsw.errors import ScswError
from scsw.files import require

# The flash backend names the same attention tensors differently.
_RENAMED = {".self_attn.Wqkv.": ".self_attn.in_proj_"}
# Parts of the pre-training model that a fine-tuning model does not have.
_DROPPED = {
    "flag_encoder.": "marks generated genes in pre-training",
    "grad_reverse_discriminator.": "adversary on batch labels",
}
# Parts that a checkpoint may lack, or hold for another label set.
_REPLACEABLE = {
    "cls_decoder.": "classifier of another label set",
    "mvc_decoder.": "the checkpoint has no MVC decoder",
}


def load_weights(model: nn.Module, path: str | Path) -> pd.DataFrame:
    """Load a checkpoint into a model, key by key.

    Parameters
    ----------
    model
        The model; its own values stay where a key is re-initialised.
    path
        ``best_model.pt``: a pickled state dict, read with ``weights_only=True``.

    Returns
    -------
    pandas.DataFrame
        ``key, action, reason``; action is ``loaded``, ``re-initialised`` or ``dropped``.

    Raises
    ------
    ScswError
        If a key is neither loaded nor named in this module's rules.
    """
    given = {rename(key): (key, tensor) for key, tensor in read_state_dict(path).items()}
    own = model.state_dict()
    actions, problems, chosen = [], [], {}
    for name, value in own.items():
        key, tensor = given.pop(name, (name, None))
        if tensor is not None and tensor.shape == value.shape:
            chosen[name] = tensor
            reason = "" if key == name else f"renamed from {key}"
            actions.append((name, "loaded", reason))
        elif reason := _rule(name, _REPLACEABLE):
            actions.append((name, "re-initialised", reason))
        elif tensor is None:
            problems.append(f"{name} {tuple(value.shape)} is missing")
        else:
            problems.append(f"{name} is {tuple(tensor.shape)}, the model's {tuple(value.shape)}")
    for name, (key, tensor) in given.items():
        if reason := _rule(name, _DROPPED):
            actions.append((key, "dropped", reason))
        else:
            problems.append(f"{key} {tuple(tensor.shape)} has no place in the model")
    if problems:
        raise ScswError(
            f"{path} does not fit the model: " + "; ".join(problems),
            expected="the weights of the model that args.json and vocab.json describe",
            fix="check that the three files belong together",
        )
    model.load_state_dict({**own, **chosen})
    return pd.DataFrame(actions, columns=["key", "action", "reason"])


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without running any code that the pickle may hold.

    Raises
    ------
    ScswError
        If the file is missing, is not a torch file, or holds anything but tensors.
    """
    path = require(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ScswError(
            f"{path} holds objects other than tensors and was not opened: {str(error)[:200]}",
            expected="a state dict of tensors",
            fix="save it again with torch.save(model.state_dict(), path)",
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ScswError(f"{path} is not a torch checkpoint: {str(error)[:200]}") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ScswError(f"{path} is not a state dict", expected="a dictionary of tensors by name")
    return dict(state)


def rename(key: str) -> str:
    """Return a key in the plain naming (``in_proj_weight``)."""
    for old, new in _RENAMED.items():
        key = key.replace(old, new)
    return key


def _rule(name: str, rules: dict[str, str]) -> str | None:
    return next((reason for prefix, reason in rules.items() if name.startswith(prefix)), None)
