"""Weights of a scGPT checkpoint: every key is loaded, re-initialised or dropped on purpose."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
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
    "cls_decoder.": "the checkpoint has no classifier, or one of another label set",
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
    given, own = read_state_dict(path), model.state_dict()
    found = match_keys(given, own)
    raise_problems(found, path)
    loaded = found[found["action"] == "loaded"]
    chosen = {row.key: given[row.source] for row in loaded.itertuples()}
    model.load_state_dict({**own, **chosen})
    return found[["key", "action", "reason"]]


def match_keys(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> pd.DataFrame:
    """Decide what becomes of every key, of a checkpoint and of a model; nothing is loaded.

    Parameters
    ----------
    given
        State dict of the checkpoint, in either naming. Only names and shapes are looked at.
    own
        State dict of the model; its tensors may lie on the device ``meta``.

    Returns
    -------
    pandas.DataFrame
        ``key, source, action, reason``: `source` is the checkpoint's key ("" if it has none);
        action is ``loaded``, ``re-initialised``, ``dropped``, or ``problem``, which no rule of
        this module allows.
    """
    left: dict[str, str] = {}
    rows = []
    for key in given:
        other = left.setdefault(rename(key), key)
        if other != key:
            rows.append((key, key, "problem", f"{key} and {other} are names of one tensor"))
    for name, value in own.items():
        source = left.pop(name, "")
        tensor = given[source] if source else None
        if tensor is not None and tensor.shape == value.shape:
            reason = "" if source == name else f"renamed from {source}"
            rows.append((name, source, "loaded", reason))
        elif reason := _rule(name, _REPLACEABLE):
            rows.append((name, source, "re-initialised", reason))
        elif tensor is None:
            rows.append((name, "", "problem", f"{name} {tuple(value.shape)} is missing"))
        else:
            shapes = f"is {tuple(tensor.shape)}, the model's {tuple(value.shape)}"
            rows.append((name, source, "problem", f"{name} {shapes}"))
    for name, source in left.items():
        if reason := _rule(name, _DROPPED):
            rows.append((source, source, "dropped", reason))
        else:
            no_place = f"{source} {tuple(given[source].shape)} has no place in the model"
            rows.append((source, source, "problem", no_place))
    return pd.DataFrame(rows, columns=["key", "source", "action", "reason"])


def raise_problems(found: pd.DataFrame, path: str | Path) -> None:
    """Raise a `ScswError` that names every problem in a table of `match_keys`."""
    problems = found.loc[found["action"] == "problem", "reason"]
    if len(problems):
        raise ScswError(
            f"{path} does not fit the model: " + "; ".join(problems),
            expected="the weights of the model that args.json and vocab.json describe",
            fix="check that the three files belong together",
        )


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


def naming(keys: Iterable[str]) -> str:
    """Return which names a state dict's attention weights have: ``flash``, ``plain`` or both."""
    keys = list(keys)
    flash = any(old in key for key in keys for old in _RENAMED)
    plain = any(new in key for key in keys for new in _RENAMED.values())
    return {(1, 0): "flash", (0, 1): "plain", (1, 1): "flash and plain"}.get((flash, plain), "none")


def rename(key: str) -> str:
    """Return a key in the plain naming (``in_proj_weight``)."""
    for old, new in _RENAMED.items():
        key = key.replace(old, new)
    return key


def _rule(name: str, rules: dict[str, str]) -> str | None:
    return next((reason for prefix, reason in rules.items() if name.startswith(prefix)), None)
