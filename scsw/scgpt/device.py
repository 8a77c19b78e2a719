"""The device and the numerics of a model step."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import torch

from scsw.errors import ScswError


def prepare(compute: SimpleNamespace) -> torch.device:
    """Set threads and determinism as the config says and return the device.

    Parameters
    ----------
    compute
        Section ``compute`` of the config: ``device`` and ``cpu_threads`` are used.

    Raises
    ------
    ScswError
        If ``cuda`` is asked for and there is none.
    """
    torch.set_num_threads(compute.cpu_threads)
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ScswError(
            "compute.device is `cuda`, but torch sees no GPU",
            fix="install a CUDA build of torch, ask the cluster for a GPU, or set it to `cpu`",
        )
    use_gpu = compute.device != "cpu" and torch.cuda.is_available()
    # On CPU every operation used here has a deterministic form; on a GPU scatter-add has not.
    torch.use_deterministic_algorithms(not use_gpu)
    return torch.device("cuda" if use_gpu else "cpu")


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Return fp16 autocast on a GPU, and no autocast on CPU.

    fp16, as scGPT's own scripts use it, rounds eight times as finely as bf16 and is as fast. Its
    numbers end at 65,504; what trains scales its loss (`scsw.scgpt.training.precision`).
    """
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.float16)
    return contextlib.nullcontext()


def device_name(device: torch.device) -> str:
    """Return the name of the device for the provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
