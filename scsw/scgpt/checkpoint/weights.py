"""Weights of a scGPT checkpoint: every key is loaded, re-initialised or dropped on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from scsw.errors import ScswError
from scsw.scgpt.checkpoint.token_rows import EMBEDDING

# The flash backend names the same attention tensors differently.
_RENAMED = {".self_attn.Wqkv.": ".self_attn.in_proj_"}
# Parts that belong to the experimental batches of whoever trained the model: each is loaded whole
# or not at all, since the first of three batches is not the first of five others.
_BATCH_PARTS = ("batch_encoder.", "dsbn.", "grad_reverse_discriminator.")
# Parts that a checkpoint may have and a model may lack.
_DROPPED = {
    "flag_encoder.": "marks generated genes in pre-training",
    "grad_reverse_discriminator.": "adversary on batch labels",
    "batch_encoder.": "embeds the checkpoint's own experimental batches",
    "dsbn.": "norms the checkpoint's own experimental batches",
    "bn.": "the model is built without batch norm",
    "decoder.zero_logit.": "the model is built without the probability of zeros",
    "mvc_decoder.W_zero_logit.": "the model is built without the probability of zeros",
}
# Parts that a checkpoint may lack, or hold for something else.
_REPLACEABLE = {
    "cls_decoder.": "the checkpoint has no classifier, or one of other or unnamed labels",
    "mvc_decoder.": "the checkpoint has no MVC decoder, or one that reads batch labels or does not",
    "batch_encoder.": "the checkpoint knows no experimental batches, or others",
    "dsbn.": "the checkpoint norms no experimental batches, or others",
    "bn.": "the checkpoint has no batch norm",
    "grad_reverse_discriminator.": "the checkpoint has no adversary, or one of other batches",
    "decoder.zero_logit.": "the checkpoint does not predict zeros, or not as this model",
}
# Weights that only another model of the package has.
_OTHER_MODELS = {
    "pert_encoder.": "the perturbation model (TransformerGenerator)",
    "mod_encoder.": "the multi-omic model (MultiOmicTransformerModel)",
}
_LISTED = 8  # problems that a message lists
# The decoder's first layer, twice as wide where it reads the batch embedding too.
_READS_BATCHES = ("decoder.fc.0.weight",)


def load_weights(model: nn.Module, given: Mapping[str, Tensor], path: str | Path) -> pd.DataFrame:
    """Load a checkpoint into a model, key by key.

    Parameters
    ----------
    model
        The model; its own values stay where a key is re-initialised.
    given
        The state dict that `read_state_dict` read from `path`.
    path
        For messages.

    Returns
    -------
    pandas.DataFrame
        ``key, action, reason``; action is ``loaded``, ``re-initialised`` or ``dropped``.

    Raises
    ------
    ScswError
        If a key is neither loaded nor named in this module's rules.
    """
    own = model.state_dict()
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
    others = tuple(part for part in _BATCH_PARTS if not _same_part(part, given, own))
    for name, value in own.items():
        source = left.pop(name, "")
        tensor = given[source] if source else None
        fits = tensor is not None and tensor.shape == value.shape
        if fits and tensor.is_floating_point() != value.is_floating_point():
            rows.append((name, source, "problem", f"{name} is of {tensor.dtype}, no real numbers"))
            continue
        if fits and not name.startswith(others):
            reason = "" if source == name else f"renamed from {source}"
            rows.append((name, source, "loaded", reason))
        elif reason := _rule(name, _REPLACEABLE):
            rows.append((name, source, "re-initialised", reason))
        elif tensor is None:
            rows.append((name, "", "problem", f"{name} {tuple(value.shape)} is missing"))
        elif name == EMBEDDING and len(tensor) != len(value):
            sizes = f"has {len(tensor):,} rows, but vocab.json {len(value):,} tokens"
            rows.append((name, source, "problem", f"{name} {sizes}"))
        elif name in _READS_BATCHES and _one_reads_batches(tensor, value):
            reason = "one of checkpoint and model reads batch labels in this layer, one does not"
            rows.append((name, source, "re-initialised", reason))
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
    problems = found.loc[found["action"] == "problem", "reason"].tolist()
    other = next((x for key in found["source"] if (x := _rule(key, _OTHER_MODELS))), None)
    if problems and other:
        raise ScswError(
            f"{path} holds {other} of scGPT",
            expected="scgpt.model.TransformerModel, as for annotation and integration",
            fix="start from the checkpoint that it was fine-tuned from",
        )
    if problems:
        more = f"; and {len(problems) - _LISTED:,} more" if len(problems) > _LISTED else ""
        raise ScswError(
            f"{path} does not fit the model: " + "; ".join(problems[:_LISTED]) + more,
            expected="the weights of the model that args.json and vocab.json describe",
            fix="check that the three files belong together",
        )


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


def _same_part(part: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    theirs, ours = (
        {key: tuple(x.shape) for key, x in state.items() if key.startswith(part)}
        for state in (given, own)
    )
    return theirs == ours


def _one_reads_batches(a: Tensor, b: Tensor) -> bool:
    narrow, wide = sorted((tuple(a.shape), tuple(b.shape)), key=lambda shape: shape[-1])
    return narrow[:-1] == wide[:-1] and 2 * narrow[-1] == wide[-1]
