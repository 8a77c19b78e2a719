"""`scsw checkpoint inspect`: what a scGPT folder holds, and whether it fits a cohort."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from scsw.errors import ScswError
from scsw.files import require, sha256
from scsw.scgpt.checkpoint.cohort_fit import CohortFit, cohort_fit, known_types, training_types
from scsw.scgpt.checkpoint.state_dict import read_state_dict
from scsw.scgpt.checkpoint.weights import match_keys, naming, raise_problems
from scsw.scgpt.folder import read_labels
from scsw.scgpt.model import new_model, read_vocabulary
from scsw.scgpt.model_args import read_model_args, trainable_args

# What of args.json is shown, where it is there.
_SHOWN = (
    "embsize nheads d_hid nlayers n_layers_cls dropout n_bins max_seq_len include_zero_gene "
    "input_emb_style cell_emb_style domain_spec_batchnorm use_batch_labels do_dab "
    "explicit_zero_prob num_batch_labels pad_token pad_value mask_value MVC fast_transformer"
).split()
_CLASSIFIER = "cls_decoder.out_layer.weight"


@dataclass(frozen=True)
class Contents:
    """What a scGPT folder holds.

    Attributes
    ----------
    folder
        Its path.
    args
        ``args.json``, with what scsw assumes where it is silent.
    vocabulary
        Token to id.
    vocabulary_sha256
        sha256 of ``vocab.json``.
    parameters
        Numbers in ``best_model.pt``.
    n_tensors
        Tensors in it.
    naming
        Names of its attention weights: ``flash``, ``plain``, ``flash and plain`` or ``none``.
    n_classes
        Labels that its own classifier tells apart; None where it has no classifier.
    labels
        ``labels.json``; None where there is none, as in the public folders.
    keys
        The table of `match_keys` against the model that would be built.
    model_classes
        Labels of that model, and where the number is from.
    cohort
        How it fits the cohort; None where none was given.
    """

    folder: Path
    args: dict[str, Any]
    vocabulary: dict[str, int]
    vocabulary_sha256: str
    parameters: int
    n_tensors: int
    naming: str
    n_classes: int | None
    labels: list[str] | None
    keys: pd.DataFrame
    model_classes: tuple[int, str]
    cohort: CohortFit | None


def inspect(folder: str | Path, cohort: str | Path | None = None) -> Contents:
    """Look into a scGPT folder without loading it.

    The model is built without memory for its weights, by the code that loads checkpoints, and the
    keys are matched by its rules.

    Parameters
    ----------
    folder
        ``args.json``, ``vocab.json``, ``best_model.pt``, perhaps ``labels.json``.
    cohort
        ``cohort.h5ad`` to compare it with.

    Raises
    ------
    ScswError
        If a file is missing or broken, the weights are not plain tensors, or the model is of a
        kind that scsw does not read.
    """
    folder = require(folder)
    if not folder.is_dir():
        raise ScswError(f"{folder} is a file", expected="a scGPT folder")
    vocabulary, state = read_vocabulary(folder), read_state_dict(folder / "best_model.pt")
    args = read_model_args(folder, state)
    labels = read_labels(folder) if (folder / "labels.json").exists() else None
    classifier = state.get(_CLASSIFIER)
    n_classes = None if classifier is None else int(classifier.shape[0])
    types = None if cohort is None else training_types(cohort)
    model_classes = _model_classes(types, labels, n_classes)
    built = args if cohort is None else trainable_args(args, folder)  # as `scsw init` builds it
    with torch.device("meta"):
        model = new_model(built, vocabulary, model_classes[0])
    return Contents(
        folder=folder,
        args=args,
        vocabulary=vocabulary,
        vocabulary_sha256=sha256(folder / "vocab.json"),
        parameters=sum(tensor.numel() for tensor in state.values()),
        n_tensors=len(state),
        naming=naming(state),
        n_classes=n_classes,
        labels=labels,
        keys=match_keys(known_types(state, labels, types or labels), model.state_dict()),
        model_classes=model_classes,
        cohort=None if cohort is None else cohort_fit(folder, vocabulary, cohort, types, labels),
    )


def require_trainable(folder: str | Path) -> None:
    """Make sure that `scsw init` can start from a scGPT folder, before a cohort is read for it.

    Raises
    ------
    ScswError
        As `inspect`, or if a weight does not fit or the steps do not train such a model.
    """
    folder = Path(folder)
    state = read_state_dict(folder / "best_model.pt")
    args = trainable_args(read_model_args(folder, state), folder)
    with torch.device("meta"):
        model = new_model(args, read_vocabulary(folder), 2)  # any number of cell types
    raise_problems(match_keys(state, model.state_dict()), folder / "best_model.pt")


def print_contents(folder: str | Path, cohort: str | Path | None = None) -> None:
    """Print what a scGPT folder holds; where it cannot be loaded, end with the reason.

    Raises
    ------
    ScswError
        As `inspect` and `load_weights`; what was found is printed before.
    """
    contents = inspect(folder, cohort)
    print("\n".join(lines(contents)))
    raise_problems(contents.keys, contents.folder / "best_model.pt")


def lines(contents: Contents) -> Iterator[str]:
    """Yield what `print_contents` prints."""
    yield f"{contents.folder}"
    shown = [f"{key} {contents.args[key]}" for key in _SHOWN if key in contents.args]
    yield f"args.json      {', '.join(shown)}"
    special = [f"{t} {i}" for t, i in contents.vocabulary.items() if re.fullmatch("<.+>", t)]
    yield f"vocab.json     {len(contents.vocabulary):,} tokens, special: {', '.join(special)}"
    yield f"               sha256 {contents.vocabulary_sha256}"
    yield (
        f"best_model.pt  {contents.parameters:,} parameters in {contents.n_tensors} tensors, "
        f"attention in the {contents.naming} naming"
    )
    yield f"labels         {_about_labels(contents)}"
    yield ""
    number, origin = contents.model_classes
    yield f"Keys, for a model of {number} labels ({origin}):"
    counts = contents.keys["action"].value_counts()
    renamed = int(contents.keys["reason"].str.startswith("renamed from").sum())
    for action in ("loaded", "re-initialised", "dropped", "problem"):
        more = f", {renamed} of them renamed" if action == "loaded" and renamed else ""
        yield f"  {int(counts.get(action, 0)):4d} {action}{more}"
    yield from _key_lines(contents.keys)
    if contents.cohort is not None:
        yield ""
        yield from contents.cohort.lines()


def _model_classes(
    types: list[str] | None, labels: list[str] | None, n_classes: int | None
) -> tuple[int, str]:
    if types is not None:
        return len(types), "cell types of the cohort's training donors"
    if labels is not None:
        return len(labels), "labels.json"
    if n_classes is not None:
        return n_classes, "the checkpoint's classifier"
    return 1, "the checkpoint has no classifier; any number would do"


def _about_labels(contents: Contents) -> str:
    own = "no classifier" if contents.n_classes is None else f"classifier of {contents.n_classes}"
    if contents.labels is None:
        return f"{own}, no labels.json"
    return f"{own}, labels.json names {len(contents.labels)}: {', '.join(contents.labels)}"


def _key_lines(keys: pd.DataFrame) -> Iterator[str]:
    """Yield one line for each key, layers of one kind together."""
    layer = r"\.layers\.(\d+)\."
    alike = keys.assign(
        layer=keys["key"].str.extract(layer, expand=False),
        key=keys["key"].str.replace(layer, ".layers.*.", regex=True),
        reason=keys["reason"].str.replace(layer, ".layers.*.", regex=True),
    )
    for (key, action, reason), rows in alike.groupby(["key", "action", "reason"], sort=False):
        layers = rows["layer"].dropna().astype(int).tolist()
        name = key.replace(".*.", f".{_span(layers)}.") if layers else key
        yield f"    {action:14} {name}" + (f"  ({reason})" if reason else "")


def _span(numbers: list[int]) -> str:
    """Return ``0-11`` for whole runs of numbers, else the numbers themselves."""
    whole_run = numbers == list(range(numbers[0], numbers[-1] + 1))
    if whole_run and len(numbers) > 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))
