"""Bring many tensors to the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_numpy(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Return tensors as arrays, floating-point ones in float64.

    Those of one type on one GPU are copied in one piece, since each copy waits for the GPU.
    """
    alike: dict[tuple, list[int]] = {}
    for number, tensor in enumerate(tensors):
        alike.setdefault((tensor.device, tensor.dtype), []).append(number)
    copied = list(tensors)
    for (device, _), numbers in alike.items():
        if device.type == "cpu":
            continue
        flat = torch.cat([tensors[number].flatten() for number in numbers]).cpu()
        parts = flat.split([tensors[number].numel() for number in numbers])
        for number, part in zip(numbers, parts, strict=True):
            copied[number] = part.view(tensors[number].shape)
    return [(x.double() if x.is_floating_point() else x).numpy() for x in copied]
