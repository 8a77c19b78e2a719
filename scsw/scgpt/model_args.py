"""``args.json``: which model a scGPT folder describes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scsw.errors import ScswError
from scsw.files import read_json
from scsw.scgpt.tokens.tokenizer import MASK_VALUE, PAD_TOKEN, PAD_VALUE

# What scGPT's own tools call each size in args.json.
SIZE_KEYS = ("embsize", "nheads", "d_hid", "nlayers", "n_layers_cls", "dropout", "n_bins")

# What a silent args.json means; those of the package's TransformerModel.
_DEFAULTS = {
    "n_layers_cls": 3,
    "n_bins": 51,
    "max_seq_len": 1200,
    "include_zero_gene": False,
    "pad_token": PAD_TOKEN,
    "input_emb_style": "continuous",
    "cell_emb_style": "cls",
    "mvc_decoder_style": "inner product",
    "use_batch_labels": False,
    "num_batch_labels": None,
    "domain_spec_batchnorm": False,
    "do_dab": False,
    "explicit_zero_prob": False,
    "ecs_threshold": 0.3,
}
# Other names of the same thing in scGPT's scripts and tutorials.
_OTHER_NAMES = {
    "nheads": ("nhead",),
    "n_layers_cls": ("nlayers_cls",),
    "domain_spec_batchnorm": ("DSBN",),
    "do_dab": ("DAB", "DAR"),
    "ecs_threshold": ("ecs_thres",),
}
_CHOICES = {
    "input_emb_style": ("continuous", "category"),
    "cell_emb_style": ("cls", "avg-pool", "w-pool"),
    "mvc_decoder_style": ("inner product", "inner product, detach"),
    "domain_spec_batchnorm": (False, "dsbn", "batchnorm", "do_affine"),
    "use_batch_labels": (False, True),
    "do_dab": (False, True),
    "explicit_zero_prob": (False, True),
    "pad_token": (PAD_TOKEN,),
    "input_style": ("binned",),
    "pre_norm": (False,),
}
# Which axis of which weight tells a size.
_SIZE_OF = (
    ("embsize", "encoder.embedding.weight", 1),
    ("d_hid", "transformer_encoder.layers.0.linear1.weight", 0),
)
_NUMBERS = ("embsize", "nheads", "d_hid", "nlayers", "n_layers_cls", "n_bins", "max_seq_len")
# Why a choice that scGPT knows is refused.
_REASONS = {
    "scaling": "it multiplies gene embeddings by the value, so that the mask value is no mask; "
    "scGPT's own pre-training refuses it for binned values",
    "concat query": "the package's forward pass fails with it",
    "sum query": "the package's forward pass fails with it",
    "pre_norm": "without the flash backend the package itself would build a post-norm model",
    "input_style": "scsw makes bins of the counts, as the public checkpoints were trained",
}
# What may be set where a model is loaded.
OPTIONS = (
    *(key for key in _DEFAULTS if key not in ("pad_token", "max_seq_len", "include_zero_gene")),
    *("dropout", "pad_value", "mask_value", "n_input_bins"),
)


def read_args(folder: str | Path) -> dict[str, Any]:
    """Read and check ``args.json`` of a scGPT folder.

    Returns
    -------
    dict
        The file, with the keys that decide what is built in one spelling, and filled in where
        it is silent.

    Raises
    ------
    ScswError
        If a size is missing, the keys contradict each other, or the model is of a kind that scsw
        does not read.
    """
    path = Path(folder) / "args.json"
    return complete_args(_read(path), path)


def read_model_args(
    folder: str | Path, state: Mapping[str, Tensor], options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Tell which model the weights of a scGPT folder need.

    scGPT's scripts do not save all that they build: where ``args.json`` says nothing of a part,
    the weights tell.

    Parameters
    ----------
    folder
        scGPT folder.
    state
        Its weights.
    options
        What the caller says; goes before ``args.json``. Names are those in `OPTIONS`.

    Raises
    ------
    ScswError
        As `read_args`, or if there is no such option.
    """
    path, options = Path(folder) / "args.json", dict(options or {})
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            raise ScswError(
                f"a model has no option `{name}`" + (f"; `{near[0]}`?" if near else ""),
                expected="one of " + ", ".join(OPTIONS),
            )
    args = _one_spelling(_read(path), path)
    if options.get("input_emb_style", args.get("input_emb_style")) != args.get("input_emb_style"):
        for name in ("pad_value", "mask_value", "n_input_bins"):  # those of the other style
            args.pop(name, None)
    _check_against_weights(args, state, path)
    said = {**shown_by_weights(state), **args, **_classifier_depth(state), **options}
    return complete_args(said, path)


def complete_args(args: Mapping[str, Any], path: str | Path = "args.json") -> dict[str, Any]:
    """Fill in what ``args.json`` does not say, and check it."""
    args = {**_DEFAULTS, **_one_spelling(args, path)}
    category = args["input_emb_style"] == "category"
    # The special values of the category style are rows of a table, after those of the bins.
    args.setdefault("pad_value", args["n_bins"] if category else int(PAD_VALUE))
    args.setdefault("mask_value", args["n_bins"] + 1 if category else int(MASK_VALUE))
    if category:
        args.setdefault("n_input_bins", args["n_bins"] + 2)
    _check_choices(args, path)
    _check_numbers(args, path)
    _check_sizes(args, path)
    return args


def scratch_args(settings: Any) -> dict[str, Any]:
    """Return the ``args.json`` of a new model from the config's ``model`` section."""
    args = {name: getattr(settings, name) for name in (*SIZE_KEYS, "input_emb_style")}
    args |= token_args(settings)
    return complete_args({**args, "MVC": True, "fast_transformer": False}, "the config's `model`")


def token_args(settings: Any) -> dict[str, Any]:
    """Return what the config's ``model`` section says of tokens; they change no weight."""
    given = {name: getattr(settings, name) for name in ("max_seq_len", "include_zero_gene")}
    return {name: value for name, value in given.items() if value is not None}


def trainable_args(args: dict[str, Any], checkpoint: str | Path) -> dict[str, Any]:
    """Return a checkpoint's arguments without the parts that know its own experimental batches.

    Raises
    ------
    ScswError
        If the encoder itself depends on such a part, or cells are not embedded by `<cls>`.
    """
    if norm := args["domain_spec_batchnorm"]:
        raise ScswError(
            f"{checkpoint} normalises cells by their experimental batch ({norm})",
            expected="a checkpoint whose encoder can read the cells of other batches",
            fix="start from the checkpoint that this one was fine-tuned from",
        )
    if args["cell_emb_style"] != "cls":
        raise ScswError(
            f"{checkpoint} embeds cells by `{args['cell_emb_style']}`",
            expected="`cls`, which every step reads",
        )
    return {**args, "use_batch_labels": False, "do_dab": False, "num_batch_labels": None}


def shown_by_weights(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options that weights give away by their names and shapes."""
    found: dict[str, Any] = {}
    table = state.get("value_encoder.embedding.weight")
    if table is not None:
        found |= {"input_emb_style": "category", "n_input_bins": table.shape[0]}
    if any(key.startswith("dsbn.") for key in state):
        found["domain_spec_batchnorm"] = "dsbn"
    elif any(key.startswith("bn.") for key in state):
        found["domain_spec_batchnorm"] = "batchnorm"
    if "batch_encoder.embedding.weight" in state:
        found["use_batch_labels"] = True
    if "grad_reverse_discriminator.out_layer.weight" in state:
        found["do_dab"] = True
    if any(key.startswith("decoder.zero_logit.") for key in state):
        found["explicit_zero_prob"] = True
    if (number := number_of_batches(state)) is not None:
        found["num_batch_labels"] = number
    return found


def _classifier_depth(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return how deep the classifier is, which training scripts do not always write down."""
    if "cls_decoder.out_layer.weight" not in state:
        return {}
    hidden = [x for key, x in state.items() if key.startswith("cls_decoder._decoder.")]
    return {"n_layers_cls": 1 + sum(x.ndim == 2 for x in hidden)}


def _check_against_weights(
    args: Mapping[str, Any], state: Mapping[str, Tensor], path: Path
) -> None:
    """Raise where ``args.json`` is of a model of other sizes, since ``nheads`` leaves no trace."""
    _check_numbers(args, path)
    blocks = [re.match(r"transformer_encoder\.layers\.(\d+)\.", key) for key in state]
    found = {"nlayers": 1 + max((int(block[1]) for block in blocks if block), default=-1)}
    for name, key, axis in _SIZE_OF:
        found[name] = state[key].shape[axis] if key in state else None
    wrong = {name: size for name, size in found.items() if size and args[name] != size}
    if wrong:
        raise ScswError(
            f"{path} says {_listed({name: args[name] for name in wrong})}, but the weights are of "
            f"{_listed(wrong)}",
            expected="the args.json of this model",
            fix="scGPT's tutorials take sizes from the args.json of the checkpoint that they start "
            "from, and not from their own settings: copy that file, nheads included",
        )


def _listed(sizes: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {size}" for name, size in sizes.items())


def number_of_batches(state: Mapping[str, Tensor]) -> int | None:
    """Return for how many experimental batches weights are; None where they know none."""
    for name in ("batch_encoder.embedding.weight", "grad_reverse_discriminator.out_layer.weight"):
        if name in state:
            return state[name].shape[0]
    domains = {key.split(".")[2] for key in state if key.startswith("dsbn.bns.")}
    return len(domains) or None


def built_args(model: nn.Module) -> dict[str, Any]:
    """Return what ``args.json`` has to say of a model, read off the model itself."""
    layer, values = model.transformer_encoder.layers[0], model.value_encoder
    args = {
        "embsize": model.d_model,
        "nheads": layer.self_attn.num_heads,
        "d_hid": layer.linear1.out_features,
        "nlayers": len(model.transformer_encoder.layers),
        "n_layers_cls": sum(isinstance(x, nn.Linear) for x in model.cls_decoder._decoder) + 1,
        "dropout": layer.dropout.p,
        "input_emb_style": model.input_emb_style,
        "cell_emb_style": model.cell_emb_style,
        "mvc_decoder_style": model.mvc_decoder.arch_style,
        "use_batch_labels": model.use_batch_labels,
        "num_batch_labels": number_of_batches(model.state_dict()),
        "domain_spec_batchnorm": model.domain_spec_batchnorm,
        "do_dab": model.do_dab,
        "explicit_zero_prob": model.explicit_zero_prob,
        "ecs_threshold": model.ecs_threshold,
        "pre_norm": False,
        "MVC": True,
        "fast_transformer": False,  # the names of the weights are the plain ones
    }
    if args["input_emb_style"] == "category":
        table = values.embedding
        args |= {"n_input_bins": table.num_embeddings, "pad_value": table.padding_idx}
    return args


def _read(path: Path) -> dict[str, Any]:
    args = read_json(path)
    if not isinstance(args, dict):
        raise ScswError(f"{path} is not an object", expected="names and values, as scGPT saves")
    given = {key for key, value in args.items() if value is not None}
    given |= {name for name, others in _OTHER_NAMES.items() if {*others} & given}
    missing = [key for key in SIZE_KEYS if key not in given and key != "n_layers_cls"]
    if missing:
        raise ScswError(
            f"{path} lacks {', '.join(missing)}",
            expected="the args.json that scGPT saves beside its checkpoints",
            fix="for a model of scGPT's tutorials, copy that of the checkpoint that it began with",
        )
    return args


def _one_spelling(args: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the arguments with every part under one name, and nothing said twice."""
    args = dict(args)
    for name, others in _OTHER_NAMES.items():
        said = {key: args.pop(key) for key in (name, *others) if key in args}
        if name == "domain_spec_batchnorm":
            said = {key: "dsbn" if value is True else value for key, value in said.items()}
        if len(set(said.values())) > 1:
            raise ScswError(
                f"{path} contradicts itself: "
                + ", ".join(f"{key} is {value}" for key, value in said.items()),
                expected=f"one value of {name}",
            )
        if said:
            args[name] = next(iter(said.values()))
    known = {*OPTIONS, *_DEFAULTS}
    return {key: x for key, x in args.items() if x is not None or key not in known}


def _check_choices(args: dict[str, Any], path: str | Path) -> None:
    for name, allowed in _CHOICES.items():
        value = args.get(name, allowed[0])
        if value not in allowed:
            reason = _REASONS.get(str(value)) or _REASONS.get(name)
            raise ScswError(
                f"{path} says {name} `{value}`" + (f": {reason}" if reason else ""),
                expected=" or ".join(f"`{choice}`" for choice in allowed),
            )


def _check_numbers(args: Mapping[str, Any], path: str | Path) -> None:
    for name in _NUMBERS:
        if name in args and (type(args[name]) is not int or args[name] < 1):
            raise ScswError(f"{path} says {name} {args[name]!r}", expected="a whole number above 0")
    for name in {"dropout", "pad_value", "mask_value"} & args.keys():
        value = args[name]
        if type(value) not in (int, float) or (name == "dropout" and not 0 <= value < 1):
            expected = "a number from 0 to below 1" if name == "dropout" else "a number"
            raise ScswError(f"{path} says {name} {value!r}", expected=expected)


def _check_sizes(args: dict[str, Any], path: str | Path) -> None:
    if args["embsize"] % args["nheads"]:
        raise ScswError(
            f"{path} says embsize {args['embsize']} and nheads {args['nheads']}",
            expected="a width that the heads divide",
        )
    parts = ("use_batch_labels", "do_dab")
    needs = [name for name in parts if args[name]]
    needs += ["domain_spec_batchnorm"] * (args["domain_spec_batchnorm"] == "dsbn")
    if needs and not args["num_batch_labels"]:
        raise ScswError(
            f"{path} says {' and '.join(needs)}, but not for how many experimental batches",
            expected="num_batch_labels, in args.json or where the model is loaded",
        )
    bins, pad, mask = range(args["n_bins"]), args["pad_value"], args["mask_value"]
    style = args["input_emb_style"]
    wrong = mask in bins or mask == pad
    if style == "category":
        rows = range(args["n_input_bins"])
        wrong |= pad in bins or pad not in rows or mask not in rows
    if wrong:
        room = f" in a table of {args['n_input_bins']}" if style == "category" else ""
        raise ScswError(
            f"{path} says pad_value {pad} and mask_value {mask} beside n_bins {len(bins)}{room}",
            expected="values that are no bins"
            + (": n_bins and n_bins + 1, and n_input_bins n_bins + 2" if room else ""),
        )
