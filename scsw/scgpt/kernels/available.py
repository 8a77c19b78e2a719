"""Whether scsw's own GPU kernels can run a model."""

from __future__ import annotations

import importlib.util

import torch

_HEAD_SIZES = (16, 32, 64, 128)


def has_kernels(device: torch.device, dtype: torch.dtype, d_model: int, heads: int) -> bool:
    """Tell whether the kernels can run: Triton, a GPU, half precision and powers of two."""
    half = dtype in (torch.float16, torch.bfloat16)
    sizes = d_model // heads in _HEAD_SIZES and d_model & (d_model - 1) == 0
    triton = importlib.util.find_spec("triton") is not None
    return device.type == "cuda" and half and sizes and triton
