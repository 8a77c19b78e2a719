"""Where a model's norms stand around its down-projections, told from the order they run in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from scsw.superweight.capture import refuse_nested
from scsw.superweight.evaluating import evaluating

_TRIED = 256  # tokens at which a sum is tried out
_ROUNDING = 2.0**-6  # of half precision, with room


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

    That the sum really is one is tried out: a constant is added to the down-projection's output,
    and must arrive at the norm as it is. It does not where a block scales what it adds (LayerScale,
    Granite's multiplier, a gated expert), or where the norm reads something else; `after` is None
    there. Each trial is a forward pass that ends at the norm.

    Raises
    ------
    RuntimeError
        If it runs on nested tensors, in which padding cannot be told from tokens.
    """
    passed: list[tuple[str, tuple[int, int]]] = []
    entered: dict[str, Tensor] = {}

    def note(name: str) -> Callable:
        def run(_module: nn.Module, inputs: tuple, named: dict, output: Any) -> None:
            if isinstance(output, Tensor):
                refuse_nested(output, name)
                passed.append((name, (output.shape[-1], output.numel())))
                entered[name] = _some(_first_tensor(inputs, named))

        return run

    # Not by name: torch.compile gives modules another one, under which they are not looked up.
    downs = {model.get_submodule(name): name for name in down_projections}
    with evaluating(model), contextlib.ExitStack() as stack:
        for own, module in model.named_modules():
            name = downs.get(module, own)
            if module in downs or is_norm(module):
                handle = module.register_forward_hook(note(name), with_kwargs=True)
                stack.callback(handle.remove)
        forward(model, batch)
    # Other down-projections in between are no norms.
    found = [
        _around([own for own in passed if own[0] == name or own[0] not in down_projections], name)
        for name in down_projections
    ]
    return [
        norms
        if norms.after is None or _arrives(model, batch, name, norms.after, entered, forward)
        else replace(norms, after=None)
        for name, norms in zip(down_projections, found, strict=True)
    ]


class _Arrived(Exception):
    """Ends a forward pass."""


def _arrives(
    model: nn.Module,
    batch: Any,
    down: str,
    norm: str,
    entered: dict[str, Tensor],
    forward: Callable[[nn.Module, Any], Any],
) -> bool:
    """Tell whether what a down-projection puts out is added, as it is, to what enters a norm."""
    before = entered[norm].float()
    size = before.abs().nanmean() + torch.finfo(before.dtype).tiny
    after: list[Tensor] = []

    def push(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        return output + size.to(output.dtype)

    def end(_module: nn.Module, inputs: tuple, named: dict) -> None:
        after.append(_some(_first_tensor(inputs, named)).float())
        raise _Arrived

    hooks = (
        model.get_submodule(down).register_forward_hook(push),
        model.get_submodule(norm).register_forward_pre_hook(end, with_kwargs=True),
    )
    try:
        with evaluating(model), contextlib.suppress(_Arrived):
            forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not after:
        return False
    change, rounding = after[0] - before, _ROUNDING * before.abs()
    return bool(((change - size).abs() <= 0.05 * size + rounding)[~change.isnan()].all())


def _first_tensor(inputs: tuple, named: dict) -> Tensor:
    return next(x for x in (*inputs, *named.values()) if isinstance(x, Tensor))


def _some(x: Tensor) -> Tensor:
    """Return a few tokens, to compare."""
    return x.detach().reshape(-1, x.shape[-1])[:_TRIED].clone()


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module normalises over channels (layer norm, RMS norm and their kin)."""
    kind, weight = type(module).__name__.lower(), getattr(module, "weight", None)
    of_channels = isinstance(weight, Tensor) and weight.ndim == 1
    # Without γ and β it has no weight.
    of_channels = of_channels or hasattr(module, "normalized_shape")
    named = kind.endswith("norm") or "layernorm" in kind or "rmsnorm" in kind
    return named and not kind.endswith("groupnorm") and of_channels


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
