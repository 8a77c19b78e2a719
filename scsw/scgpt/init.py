"""Step `init`: the starting model of an arm, from a checkpoint or with fresh weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import require, whole, write_table
from scsw.provenance import recorded
from scsw.scgpt.checkpoint import load_weights
from scsw.scgpt.folder import check_vocabulary, write_folder
from scsw.scgpt.model import new_model, read_args, read_vocabulary, scratch_args


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
        If the checkpoint does not fit the cohort's vocabulary, or the cohort has fewer than two
        cell types to learn.
    """
    cohort, out = require(cohort), Path(out)
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
        args = read_args(model.checkpoint) if model.checkpoint else scratch_args(model)
        if model.checkpoint:
            check_vocabulary(model.checkpoint, facts)
        torch.manual_seed(init_seed)
        network = new_model(args, read_vocabulary(cohort.parent), len(labels))
        actions = pd.DataFrame(
            [(key, "re-initialised", "fresh weights") for key in network.state_dict()],
            columns=["key", "action", "reason"],
        )
        if model.checkpoint and not fresh:
            actions = load_weights(network, Path(model.checkpoint) / "best_model.pt")
        # What scsw saves is in the plain naming and holds no generative leftovers.
        args = {**args, "fast_transformer": False, "MVC": True}
        write_folder(folder, network, args, vocabulary, labels)
        write_table(actions, folder / "checkpoint_keys.tsv")


def training_labels(cohort: Path) -> list[str]:
    """Return the cell types of the training donors, sorted."""
    labels = sorted(read_cohort(cohort, ["train"]).obs["cell_type"].astype(str).unique())
    if len(labels) < 2:
        raise ScswError(
            f"the training donors of {cohort} hold {len(labels)} cell type: {labels}",
            expected="at least two cell types, or there is nothing to classify",
            fix="check the cell-type column, or lower preprocess.min_cells_per_type",
        )
    return labels
