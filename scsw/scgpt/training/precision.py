"""The number format of training."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from scsw.errors import ScswError
from scsw.scgpt.device import autocast

_DTYPES = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass
class Precision:
    """Mixed precision of a run.

    Attributes
    ----------
    device
        Where the model is.
    dtype
        Half precision of matrix products; None for float32 throughout.
    """

    device: torch.device
    dtype: torch.dtype | None

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the context in which the model runs."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return the scaler of the loss: fp16 gradients would vanish; elsewhere it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def precision(compute: SimpleNamespace, device: torch.device) -> Precision:
    """Return the precision that ``compute.precision`` asks for.

    ``auto`` is what `scsw.scgpt.device.autocast` chooses for the device.

    Raises
    ------
    ScswError
        If the device cannot do it.
    """
    on_gpu = device.type == "cuda"
    if compute.precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
        raise ScswError(
            f"compute.precision is `bf16`, which {torch.cuda.get_device_name()} does not have",
            fix="set it to `auto` or `fp16`",
        )
    if compute.precision != "auto":
        return Precision(device, _DTYPES[compute.precision])
    with autocast(device):
        half = torch.is_autocast_enabled(device.type)
        return Precision(device, torch.get_autocast_dtype(device.type) if half else None)
