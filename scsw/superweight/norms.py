"""Where a model's norms stand around its down-projections, told from the order they run in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scsw.superweight.capture import refuse_nested
from scsw.superweight.evaluating import evaluating


@dataclass(frozen=True)
class NormsAround:
    """The norms that run before and after a down-projection, on as many tokens and channels.

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
    the residual. Where other layers write into the sum too, as an attention beside the feed-forward
    part does, they belong to the residual.

    Raises
    ------
    RuntimeError
        If it runs on nested tensors, in which padding cannot be told from tokens.
    """
    passed: list[tuple[str, tuple[int, int]]] = []

    def note(name: str) -> Callable:
        def run(_module: nn.Module, _inputs: tuple, output: Any) -> None:
            if isinstance(output, Tensor):
                refuse_nested(output, name)
                passed.append((name, (output.shape[-1], output.numel())))

        return run

    with evaluating(model), contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            if name in down_projections or is_norm(module):
                stack.callback(module.register_forward_hook(note(name)).remove)
        forward(model, batch)
    # Other down-projections in between are no norms.
    return [
        _around([own for own in passed if own[0] == name or own[0] not in down_projections], name)
        for name in down_projections
    ]


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module normalises over channels (layer norm, RMS norm and their kin)."""
    kind, weight = type(module).__name__.lower(), getattr(module, "weight", None)
    of_channels = isinstance(weight, Tensor) and weight.ndim == 1
    # Without γ and β it has no weight.
    of_channels = of_channels or hasattr(module, "normalized_shape")
    return kind.endswith("norm") and not kind.endswith("groupnorm") and of_channels


def _around(passed: list[tuple[str, tuple[int, int]]], down: str) -> NormsAround:
    names = [name for name, _ in passed]
    if names.count(down) != 1:
        return NormsAround(None, None)
    place = names.index(down)
    size = passed[place][1]

    def first(others: list[tuple[str, tuple[int, int]]]) -> str | None:
        found = next((name for name, n in others if n == size), None)
        return found if found is not None and names.count(found) == 1 else None

    return NormsAround(first(passed[:place][::-1]), first(passed[place + 1 :]))
