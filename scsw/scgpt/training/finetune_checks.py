"""What is checked before fine-tuning begins, so that no mistake shows after hours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from scsw.config_checks import check_freezing, check_training
from scsw.errors import ScswError


def check(settings: SimpleNamespace, compute: SimpleNamespace, args: dict[str, Any]) -> None:
    """Raise a `ScswError` for options that cannot go together.

    Parameters
    ----------
    settings, compute
        Sections ``finetune`` and ``compute`` of the config.
    args
        ``args.json`` of the starting model.
    """
    check_training(settings, compute)
    check_freezing(settings, args["nlayers"])
    _check_gpus(compute)


def check_starting_folder(start: Path) -> None:
    """Raise a `ScswError` unless a folder is one that `init` writes: with cell types."""
    if not (start / "labels.json").exists():
        raise ScswError(
            f"{start} has no labels.json",
            expected="a starting model with the cohort's cell types",
            fix="make one of this checkpoint with `scsw init` (model.checkpoint in the config)",
        )


def check_cell_types(obs: pd.DataFrame, labels: np.ndarray, start: Path) -> None:
    """Raise a `ScswError` unless the model knows the training cells' types, and a test cell's.

    Parameters
    ----------
    obs
        ``cell_type`` and ``split`` of the cells.
    labels
        Index of each cell's type in the model, -1 where it does not know it; shape (cells,).
    start
        Folder of the model, for the message.
    """
    unknown = sorted(
        obs["cell_type"][(obs["split"] == "train") & (labels < 0)].astype(str).unique()
    )
    if unknown:
        raise ScswError(
            f"{start}/labels.json lacks cell types of the training donors: {', '.join(unknown)}",
            expected="the cell types of this cohort",
            fix="make the starting model for this cohort with `scsw init`",
        )
    if not ((obs["split"] == "test") & (labels >= 0)).any():
        raise ScswError(
            "no test donor of the cohort holds a cell of a type that the training donors hold",
            fix="give preprocess.test a larger share, or check the cell-type column",
        )


def _check_gpus(compute: SimpleNamespace) -> None:
    found = torch.cuda.device_count()
    wanted = compute.device == "cuda" or (compute.device == "auto" and found)
    if compute.devices > 1 and wanted and found < compute.devices:
        raise ScswError(
            f"compute.devices is {compute.devices}, but torch sees {found} GPU(s)",
            fix="ask the cluster for more GPUs, or lower compute.devices",
        )
