"""What is checked before fine-tuning begins: options that exclude one another."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import torch

from scsw.errors import ScswError
from scsw.scgpt.training.objectives import OBJECTIVES


def check(settings: SimpleNamespace, compute: SimpleNamespace, args: dict[str, Any]) -> None:
    """Raise a `ScswError` for options that cannot go together.

    Parameters
    ----------
    settings, compute
        Sections ``finetune`` and ``compute`` of the config.
    args
        ``args.json`` of the starting model.
    """
    if not any(getattr(settings, f"weight_{name}") for name in OBJECTIVES if name != "dab"):
        raise ScswError(
            "every finetune.weight_… is 0", expected="at least one objective to train on"
        )
    _check_trained_parts(settings, args["nlayers"])
    _check_batch(settings, compute)
    _check_gpus(compute)
    _check_extra(settings.tensorboard, "tensorboard", "finetune.tensorboard is true")
    _check_extra(settings.lora_rank is not None, "peft", "finetune.lora_rank is given", "lora")


def _check_trained_parts(settings: SimpleNamespace, n_blocks: int) -> None:
    if settings.freeze_blocks > n_blocks:
        raise ScswError(
            f"finetune.freeze_blocks is {settings.freeze_blocks}, but the model has {n_blocks} "
            "encoder blocks"
        )
    if settings.lora_rank is not None and (settings.freeze != "none" or settings.freeze_blocks):
        raise ScswError(
            "finetune.lora_rank is given together with finetune.freeze or finetune.freeze_blocks",
            expected="one of them: adapters freeze embeddings and encoder blocks themselves",
        )


def _check_batch(settings: SimpleNamespace, compute: SimpleNamespace) -> None:
    if settings.weight_ecs and settings.accumulate > 1:
        raise ScswError(
            f"finetune.accumulate is {settings.accumulate} together with finetune.weight_ecs",
            expected="1: elastic cell similarity compares all cells of a step at once",
            fix="save memory with a lower finetune.batch_size or compute.activation_checkpointing",
        )
    parts = {"finetune.accumulate": settings.accumulate, "compute.devices": compute.devices}
    for key, number in parts.items():
        if number > settings.batch_size:
            raise ScswError(
                f"{key} is {number}, but finetune.batch_size is {settings.batch_size}",
                expected="at least one cell for each",
            )


def _check_gpus(compute: SimpleNamespace) -> None:
    found = torch.cuda.device_count()
    wanted = compute.device == "cuda" or (compute.device == "auto" and found)
    if compute.devices > 1 and wanted and found < compute.devices:
        raise ScswError(
            f"compute.devices is {compute.devices}, but torch sees {found} GPU(s)",
            fix="ask the cluster for more GPUs, or lower compute.devices",
        )


def _check_extra(wanted: bool, package: str, why: str, extra: str = "") -> None:
    if wanted and importlib.util.find_spec(package) is None:
        raise ScswError(
            f"{why}, but the package `{package}` is not installed",
            fix=f"pip install 'scsw[{extra or package}]'",
        )
