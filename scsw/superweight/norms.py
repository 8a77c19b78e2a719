"""Where a model's norms stand around its down-projections, told from the order they run in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NormsAround:
    """The norms that run before and after a down-projection, of its output's width.

    Attributes
    ----------
    before, after
        Names of the modules; None where there is none, or where one module runs several times.
    """

    before: str | None
    after: str | None


@torch.no_grad()
def norms_around(
    model: nn.Module,
    batch: Any,
    down_projections: list[str],
    forward: Callable[[nn.Module, Any], Any],
) -> list[NormsAround]:
    """Find the norms around each down-projection in one forward pass.

    What enters the norm *after* is the sum of residual and down-projection, in post-norm models
    (BERT, scGPT) as in pre-norm ones (GPT-2), where it is the first norm of the next block. The
    norm *before* is the one in front of the feed-forward part; in a post-norm model its output is
    the residual.
    """
    passed: list[tuple[str, int]] = []

    def note(name: str) -> Callable:
        def run(_module: nn.Module, _inputs: tuple, output: Any) -> None:
            if isinstance(output, Tensor):
                passed.append((name, output.shape[-1]))

        return run

    with contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            if name in down_projections or is_norm(module):
                stack.callback(module.register_forward_hook(note(name)).remove)
        forward(model, batch)
    names = [name for name, _ in passed]
    return [_around(passed, names, name) for name in down_projections]


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module normalises over channels (layer norm, RMS norm and their kin)."""
    weight = getattr(module, "weight", None)
    named = type(module).__name__.lower().endswith("norm")
    return named and isinstance(weight, Tensor) and weight.ndim == 1


def _around(passed: list[tuple[str, int]], names: list[str], down: str) -> NormsAround:
    if names.count(down) != 1:
        return NormsAround(None, None)
    place = names.index(down)
    width = passed[place][1]

    def first(others: list[tuple[str, int]]) -> str | None:
        found = next((name for name, n in others if n == width), None)
        return found if found is not None and names.count(found) == 1 else None

    return NormsAround(first(passed[:place][::-1]), first(passed[place + 1 :]))
