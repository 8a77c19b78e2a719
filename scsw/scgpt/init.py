"""Step `init`: the starting model of an arm, from a checkpoint or with fresh weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor, nn

from scsw.cohort.read import cohort_facts
from scsw.errors import ScswError
from scsw.files import require, sha256, whole, write_table
from scsw.provenance import recorded
from scsw.scgpt.checkpoint.cohort_fit import cohort_genes, known_types, training_types
from scsw.scgpt.checkpoint.state_dict import read_state_dict
from scsw.scgpt.checkpoint.token_rows import EMBEDDING, check_genes, move_rows
from scsw.scgpt.checkpoint.weights import load_weights
from scsw.scgpt.folder import read_labels, require_replaceable, write_folder
from scsw.scgpt.model import new_model, read_vocabulary
from scsw.scgpt.model_args import read_model_args, scratch_args, token_args, trainable_args


def init(
    cohort: str | Path, out: str | Path, *, model: SimpleNamespace, seed: int, fresh: bool = False
) -> None:
    """Write the starting scGPT folder for a cohort.

    Parameters
    ----------
    cohort
        ``cohort.h5ad``; its ``vocab.json`` lies beside it.
    out
        Folder to write.
    model
        Section ``model`` of the config.
    seed
        Seed of the fresh weights, unless ``model.init_seed`` is given.
    fresh
        Ignore the checkpoint's weights but keep its sizes (arm `untrained`).

    Raises
    ------
    ScswError
        If `out` holds anything but a model, the checkpoint does not fit the cohort's genes, is of
        a kind that the steps do not train, or the cohort has fewer than two cell types to learn.
    """
    cohort, out = require(cohort), Path(out)
    require_replaceable(out)
    vocabulary = require(cohort.with_name("vocab.json"))
    init_seed = seed if model.init_seed is None else model.init_seed
    inputs = {"cohort": cohort, "vocabulary": vocabulary}
    if model.checkpoint:
        inputs["checkpoint"] = require(model.checkpoint)
    facts = cohort_facts(cohort)
    with (
        recorded(
            "init",
            out.parent,
            inputs=inputs,
            parameters=vars(model) | {"fresh": fresh},
            seed=init_seed,
            simulated=facts["simulated"],
        ),
        whole(out) as folder,
    ):
        labels = training_labels(cohort)
        args, state = scratch_args(model), None
        if model.checkpoint:
            state = read_state_dict(Path(model.checkpoint) / "best_model.pt")
            args = trainable_args(read_model_args(model.checkpoint, state), model.checkpoint)
            args |= token_args(model)
            state = known_types(state, _labels(Path(model.checkpoint)), labels)
            _check_vocabulary(Path(model.checkpoint), cohort)
        torch.manual_seed(init_seed)
        network = new_model(args, read_vocabulary(cohort.parent), len(labels))
        if state is None or fresh:
            actions = _all_fresh(network)
        else:
            actions = load(network, state, Path(model.checkpoint), cohort)
        write_folder(folder, network, args, vocabulary, labels)
        write_table(actions, folder / "checkpoint_keys.tsv")


def load(
    network: nn.Module, state: dict[str, Tensor], checkpoint: Path, cohort: Path
) -> pd.DataFrame:
    """Load a checkpoint's weights into a model of the cohort's vocabulary.

    Where the two vocabularies differ, each gene embedding is moved to the row of its token.

    Returns
    -------
    pandas.DataFrame
        The table of `load_weights`.
    """
    theirs, ours = read_vocabulary(checkpoint), read_vocabulary(cohort.parent)
    if theirs == ours or EMBEDDING not in state:
        return load_weights(network, state, checkpoint / "best_model.pt")
    fresh = network.state_dict()[EMBEDDING]
    moved, n_moved = move_rows(state[EMBEDDING], theirs, fresh, ours)
    actions = load_weights(network, {**state, EMBEDDING: moved}, checkpoint / "best_model.pt")
    actions.loc[actions["key"] == EMBEDDING, "reason"] = (
        f"rows moved by token name: {n_moved} of {len(ours)} tokens; the others are no genes of "
        "the cohort and drawn anew"
    )
    return actions


def training_labels(cohort: Path) -> list[str]:
    """Return the cell types of the training donors, sorted."""
    labels = training_types(cohort)
    if len(labels) < 2:
        raise ScswError(
            f"the training donors of {cohort} hold {len(labels)} cell type: {labels}",
            expected="at least two cell types, or there is nothing to classify",
            fix="check the cell-type column, or lower preprocess.min_cells_per_type",
        )
    return labels


def _labels(checkpoint: Path) -> list[str] | None:
    return read_labels(checkpoint) if (checkpoint / "labels.json").exists() else None


def _check_vocabulary(checkpoint: Path, cohort: Path) -> None:
    if sha256(checkpoint / "vocab.json") != cohort_facts(cohort)["vocabulary_sha256"]:
        check_genes(cohort_genes(cohort), read_vocabulary(checkpoint), checkpoint)


def _all_fresh(network: nn.Module) -> pd.DataFrame:
    rows = [(key, "re-initialised", "fresh weights") for key in network.state_dict()]
    return pd.DataFrame(rows, columns=["key", "action", "reason"])
