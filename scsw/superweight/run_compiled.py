"""Compile a function of tensors where that pays off."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import cache

import torch


def run_compiled(function: Callable, device: torch.device) -> Callable:
    """Return `function`, on a GPU compiled by torch, if Triton and a C compiler are there."""
    return _compiled(function) if device.type == "cuda" and _can_compile() else function


@cache
def _can_compile() -> bool:
    c_compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return importlib.util.find_spec("triton") is not None and bool(c_compiler)


@cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)
