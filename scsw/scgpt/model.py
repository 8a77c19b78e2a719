"""The model: ``scgpt.model.TransformerModel`` with our encoder layers."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import scsw.scgpt  # noqa: F401  (makes `import scgpt` possible)
from scsw.errors import ScswError
from scsw.files import read_json, require
from scsw.scgpt.checkpoint.state_dict import read_state_dict
from scsw.scgpt.checkpoint.weights import load_weights
from scsw.scgpt.encoder_layer import EncoderLayer
from scsw.scgpt.model_args import (
    SIZE_KEYS,
    complete_args,
    read_args,
    read_model_args,
    scratch_args,
)
from scsw.scgpt.tokens.tokenizer import CLS_TOKEN, PAD_TOKEN

__all__ = [
    "SIZE_KEYS",
    "encoder_layers",
    "exchange_layers",
    "load_model",
    "new_model",
    "read_args",
    "read_vocabulary",
    "scratch_args",
]

# Weights that are drawn anew on purpose when an option of `load_model` asks for the part.
_PARTS = {
    "n_cls": ("cls_decoder.out_layer.",),
    "n_layers_cls": ("cls_decoder.",),
    "use_batch_labels": (
        "batch_encoder.",
        "decoder.fc.0.",
        "decoder.zero_logit.0.",
        "mvc_decoder.",
    ),
    "num_batch_labels": ("batch_encoder.", "dsbn.", "grad_reverse_discriminator."),
    "domain_spec_batchnorm": ("dsbn.", "bn."),
    "do_dab": ("grad_reverse_discriminator.",),
    "explicit_zero_prob": ("decoder.zero_logit.", "mvc_decoder.W_zero_logit."),
}
_CLASSIFIER = "cls_decoder.out_layer.weight"


def read_vocabulary(folder: str | Path) -> dict[str, int]:
    """Read ``vocab.json`` and check that it holds the special tokens.

    Raises
    ------
    ScswError
        If a special token is missing or the ids are not 0 … n-1.
    """
    path = Path(folder) / "vocab.json"
    vocabulary = read_json(path)
    if not isinstance(vocabulary, dict):
        raise ScswError(f"{path} is not an object", expected="token ids by token, as scGPT saves")
    missing = [token for token in (PAD_TOKEN, CLS_TOKEN) if token not in vocabulary]
    if missing:
        raise ScswError(
            f"{path} lacks {' and '.join(missing)}",
            expected="a scGPT vocabulary",
            fix="where the weights have rows for them, add them as scGPT's tutorials do in memory: "
            f"{PAD_TOKEN}, {CLS_TOKEN} and <eoc>, those that are lacking, in this order, with the "
            f"ids from {len(vocabulary)} on",
        )
    ids = list(vocabulary.values())
    if not all(type(i) is int for i in ids) or sorted(ids) != list(range(len(ids))):
        raise ScswError(f"the ids in {path} are not 0 to {len(vocabulary) - 1}, each once")
    return vocabulary


def new_model(args: Mapping[str, Any], vocabulary: Mapping[str, int], n_cls: int) -> nn.Module:
    """Build a `TransformerModel` with fresh weights (drawn from torch's current state).

    Parameters
    ----------
    args
        As in ``args.json``; what it does not say is as the package has it by default.
    vocabulary
        Token ids by token.
    n_cls
        Number of cell types.
    """
    return exchange_layers(stock_model(args, vocabulary, n_cls))


def stock_model(args: Mapping[str, Any], vocabulary: Mapping[str, int], n_cls: int) -> nn.Module:
    """Build the package's own model, as `new_model`; its encoder layers are not exchanged."""
    from scgpt.model import TransformerModel  # takes seconds

    args = complete_args(args)
    # The package prints and warns about options that scsw sets on purpose.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TransformerModel(
            ntoken=len(vocabulary),
            d_model=args["embsize"],
            nhead=args["nheads"],
            d_hid=args["d_hid"],
            nlayers=args["nlayers"],
            nlayers_cls=args["n_layers_cls"],
            n_cls=n_cls,
            vocab=vocabulary,
            dropout=args["dropout"],
            pad_token=PAD_TOKEN,
            pad_value=args["pad_value"],
            do_mvc=True,
            do_dab=args["do_dab"],
            use_batch_labels=args["use_batch_labels"],
            num_batch_labels=args["num_batch_labels"],
            domain_spec_batchnorm=args["domain_spec_batchnorm"],
            input_emb_style=args["input_emb_style"],
            n_input_bins=args.get("n_input_bins"),
            cell_emb_style=args["cell_emb_style"],
            mvc_decoder_style=args["mvc_decoder_style"],
            ecs_threshold=args["ecs_threshold"],
            explicit_zero_prob=args["explicit_zero_prob"],
            use_fast_transformer=False,
        )


def exchange_layers(model: nn.Module) -> nn.Module:
    """Exchange a stock model's encoder layers for ours, in place, and return the model."""
    encoder = model.transformer_encoder
    # Without this the encoder may hand its layers nested tensors when cells are padded.
    encoder.enable_nested_tensor = encoder.use_nested_tensor = False
    encoder.layers = nn.ModuleList([EncoderLayer.from_stock(layer) for layer in encoder.layers])
    return model


def load_model(folder: str | Path, *, n_cls: int | None = None, **options: Any) -> nn.Module:
    """Load a scGPT folder (``args.json``, ``vocab.json``, ``best_model.pt``).

    Parts of the model are taken from the options, then from ``args.json``, then from the weights.

    Parameters
    ----------
    folder
        Folder written by scsw or by scGPT, its weights in the flash or the plain naming.
    n_cls
        Number of cell types; by default that of the folder's ``labels.json``, or of its
        classifier, or 1 where it has none.
    **options
        What the package calls ``input_emb_style`` (`continuous` or `category`), ``n_input_bins``,
        ``use_batch_labels``, ``num_batch_labels``, ``domain_spec_batchnorm`` (False, `dsbn`,
        `batchnorm` or `do_affine`), ``do_dab``, ``explicit_zero_prob``, ``mvc_decoder_style``,
        ``cell_emb_style``, ``ecs_threshold``, ``dropout``; and ``n_layers_cls``, ``n_bins``,
        ``pad_value``, ``mask_value``.

    Returns
    -------
    torch.nn.Module
        ``scgpt.model.TransformerModel`` in eval mode with our encoder layers. Its attribute
        ``checkpoint_keys`` is the table of `load_weights`: what became of every key.

    Raises
    ------
    ScswError
        If the folder is incomplete, an option is unknown or contradicts another, or a weight does
        not fit. A part may be drawn anew (from torch's current state, with a warning that lists
        its keys) where an option asks for it, or where a folder of others lacks a decoder.
    """
    folder = require(folder)
    state = read_state_dict(folder / "best_model.pt")
    args = read_model_args(folder, state, options)
    labels = folder / "labels.json"
    asked = {*options, *(["n_cls"] if n_cls is not None else [])}
    if n_cls is None:
        n_cls = len(read_json(labels)) if labels.exists() else _own_classes(state)
    model = new_model(args, read_vocabulary(folder), n_cls)
    actions = load_weights(model, state, folder / "best_model.pt")
    fresh = actions.loc[actions["action"] == "re-initialised", "key"].tolist()
    allowed = tuple(prefix for name in asked for prefix in _PARTS.get(name, ()))
    if not labels.exists():  # a folder of others, which need not have decoders
        allowed += (
            ("cls_decoder.", "mvc_decoder.") if _CLASSIFIER not in state else ("mvc_decoder.",)
        )
    unasked = [key for key in fresh if not key.startswith(allowed)]
    if unasked:
        raise ScswError(
            f"{folder} has no fitting weights for {', '.join(unasked)}",
            expected="a folder whose labels.json and best_model.pt belong together",
            fix="make a starting model of this checkpoint with `scsw init` first",
        )
    if fresh:
        warnings.warn(f"{folder}: drawn anew: {', '.join(fresh)}", stacklevel=2)
    model.checkpoint_keys = actions
    return model.eval()


def encoder_layers(model: nn.Module) -> list[EncoderLayer]:
    """Return the encoder layers, first block first."""
    return list(model.transformer_encoder.layers)


def _own_classes(state: Mapping[str, Tensor]) -> int:
    return state[_CLASSIFIER].shape[0] if _CLASSIFIER in state else 1
