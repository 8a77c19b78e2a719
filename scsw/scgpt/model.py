"""The model: ``scgpt.model.TransformerModel`` with our encoder layers."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from torch import nn

import scsw.scgpt  # noqa: F401  (makes `import scgpt` possible)
from scsw.errors import ScswError
from scsw.files import read_json, require
from scsw.scgpt.checkpoint import load_weights
from scsw.scgpt.encoder_layer import EncoderLayer
from scsw.scgpt.tokens import CLS_TOKEN, MASK_VALUE, PAD_TOKEN, PAD_VALUE

# What scGPT's own tools call each size in args.json.
SIZE_KEYS = ("embsize", "nheads", "d_hid", "nlayers", "n_layers_cls", "dropout", "n_bins")


def scratch_args(settings: Any) -> dict[str, Any]:
    """Return the ``args.json`` of a new model from the config's ``model`` section."""
    args = {key: getattr(settings, key) for key in (*SIZE_KEYS, "max_seq_len")}
    return args | {
        "include_zero_gene": settings.include_zero_gene,
        "pad_token": PAD_TOKEN,
        "pad_value": int(PAD_VALUE),
        "mask_value": int(MASK_VALUE),
        "input_emb_style": "continuous",
        "MVC": True,
        "fast_transformer": False,
    }


def read_args(folder: str | Path) -> dict[str, Any]:
    """Read and check ``args.json`` of a scGPT folder.

    Raises
    ------
    ScswError
        If a size is missing, or the model is of a kind that scsw does not read.
    """
    args = read_json(Path(folder) / "args.json")
    missing = [key for key in SIZE_KEYS if key not in args and key != "n_layers_cls"]
    if missing:
        raise ScswError(
            f"{folder}/args.json lacks {', '.join(missing)}",
            expected="the args.json that scGPT saves beside its checkpoints",
        )
    args.setdefault("n_layers_cls", 3)
    style = args.get("input_emb_style", "continuous")
    if style != "continuous":
        raise ScswError(
            f"{folder}/args.json says input_emb_style `{style}`",
            expected="`continuous`, the style of the public scGPT checkpoints",
        )
    if args.get("pre_norm"):
        raise ScswError(f"{folder} is a pre-norm model", expected="scGPT's post-norm encoder")
    args.setdefault("max_seq_len", 1200)
    args.setdefault("include_zero_gene", False)
    return args


def read_vocabulary(folder: str | Path) -> dict[str, int]:
    """Read ``vocab.json`` and check that it holds the special tokens.

    Raises
    ------
    ScswError
        If a special token is missing or the ids are not 0 … n-1.
    """
    path = Path(folder) / "vocab.json"
    vocabulary = read_json(path)
    missing = [token for token in (PAD_TOKEN, CLS_TOKEN) if token not in vocabulary]
    if missing:
        raise ScswError(f"{path} lacks {' and '.join(missing)}", expected="a scGPT vocabulary")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ScswError(f"the ids in {path} are not 0 to {len(vocabulary) - 1}, each once")
    return vocabulary


def new_model(args: dict[str, Any], vocabulary: dict[str, int], n_cls: int) -> nn.Module:
    """Build a `TransformerModel` with fresh weights (drawn from torch's current state)."""
    from scgpt.model import TransformerModel  # takes seconds

    # The package prints and warns about options that scsw sets on purpose.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TransformerModel(
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
            pad_value=int(PAD_VALUE),
            do_mvc=True,
            input_emb_style="continuous",
            cell_emb_style="cls",
            use_fast_transformer=False,
        )
    return exchange_layers(model)


def exchange_layers(model: nn.Module) -> nn.Module:
    """Exchange a stock model's encoder layers for ours, in place, and return the model."""
    encoder = model.transformer_encoder
    # Without this the encoder may hand its layers nested tensors when cells are padded.
    encoder.enable_nested_tensor = encoder.use_nested_tensor = False
    encoder.layers = nn.ModuleList([EncoderLayer.from_stock(layer) for layer in encoder.layers])
    return model


def load_model(folder: str | Path, *, n_cls: int | None = None) -> nn.Module:
    """Load a scGPT folder (``args.json``, ``vocab.json``, ``best_model.pt``).

    Parameters
    ----------
    folder
        Folder written by scsw or by scGPT.
    n_cls
        Number of cell types; by default the length of the folder's ``labels.json``.

    Returns
    -------
    torch.nn.Module
        ``scgpt.model.TransformerModel`` in eval mode with our encoder layers.

    Raises
    ------
    ScswError
        If the folder is incomplete or a weight does not fit.
    """
    folder = require(folder)
    n_cls = n_cls if n_cls is not None else len(read_json(folder / "labels.json"))
    model = new_model(read_args(folder), read_vocabulary(folder), n_cls)
    actions = load_weights(model, folder / "best_model.pt")
    fresh = actions.loc[actions["action"] == "re-initialised", "key"].tolist()
    if fresh:
        raise ScswError(
            f"{folder} has no fitting weights for {', '.join(fresh)}",
            expected="a folder whose labels.json and best_model.pt belong together",
            fix="make a starting model of this checkpoint with `scsw init` first",
        )
    return model.eval()


def encoder_layers(model: nn.Module) -> list[EncoderLayer]:
    """Return the encoder layers, first block first."""
    return list(model.transformer_encoder.layers)
