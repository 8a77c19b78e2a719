"""Whether scsw's own GPU kernels can run a model."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
import warnings
from functools import cache
from pathlib import Path

import torch

_HEAD_SIZES = (16, 32, 64, 128)


def has_kernels(device: torch.device, dtype: torch.dtype, d_model: int, heads: int) -> bool:
    """Tell whether the kernels can run: a GPU with Triton, half precision and powers of two."""
    half = dtype in (torch.float16, torch.bfloat16)
    sizes = d_model // heads in _HEAD_SIZES and d_model & (d_model - 1) == 0
    return device.type == "cuda" and half and sizes and _can_build() and _is_recent(device, dtype)


@cache
def _is_recent(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether Triton knows the GPU: from Volta (2017) on, and for bf16 from Ampere (2020)."""
    oldest = (8, 0) if dtype == torch.bfloat16 else (7, 0)
    return torch.cuda.get_device_capability(device) >= oldest


@cache
def _can_build() -> bool:
    """Tell whether Triton is there, and the C compiler with which it builds a kernel's launcher."""
    if importlib.util.find_spec("triton") is None:
        missing = "Triton, which torch's builds for Linux bring along"
    elif not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        missing = "a C compiler (gcc or clang), which Triton needs"
    elif not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing = "Python's header files (python3-dev), which Triton needs"
    else:
        return True
    told = f"attention runs cell by cell, several times as slowly, for lack of {missing}"
    warnings.warn(told, stacklevel=2)
    return False
