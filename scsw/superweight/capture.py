"""Read activations inside a model through removable hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

# Where a site lies in an encoder layer: sub-module, and whether its input or output is meant.
ENCODER_SITES = {
    "attn_heads": ("self_attn.out_proj", "input"),
    "attn_out": ("self_attn.out_proj", "output"),
    "pre_norm1": ("norm1", "input"),
    "mlp_in": ("norm1", "output"),
    "mlp_hidden": ("linear2", "input"),
    "mlp_out": ("linear2", "output"),
    "pre_norm2": ("norm2", "input"),
    "out": ("norm2", "output"),
}


@contextlib.contextmanager
def capture(
    points: dict[str, tuple[nn.Module, str]], receive: Callable[[str, Tensor], None]
) -> Iterator[dict[str, int]]:
    """Call ``receive(name, tensor)`` each time a point is passed in a forward pass.

    Parameters
    ----------
    points
        For each name a module and ``"input"`` or ``"output"``.
    receive
        Gets the detached tensor; it must not change it.

    Yields
    ------
    dict
        How often each point was passed so far. Where a fused path hides them all, all are 0, as
        before any forward pass; `observe` and `follow` refuse that.

    Raises
    ------
    RuntimeError
        On leaving, if points were not passed equally often: a fused path that skips some
        sub-modules would otherwise look like a model without spikes.
    """
    fired = dict.fromkeys(points, 0)

    def hook(name: str, side: str) -> Callable:
        def run(_module: nn.Module, inputs: tuple, named: dict, output: Any = None) -> None:
            tensor = output
            if side == "input":
                tensor = next(x for x in (*inputs, *named.values()) if isinstance(x, Tensor))
            if not isinstance(tensor, Tensor):
                raise RuntimeError(f"the {side} of {name} is a {type(tensor).__name__}, no tensor")
            refuse_nested(tensor, name)
            fired[name] += 1
            receive(name, tensor.detach())

        return run

    handles = []
    for name, (module, side) in points.items():
        register = (
            module.register_forward_pre_hook if side == "input" else module.register_forward_hook
        )
        handles.append(register(hook(name, side), with_kwargs=True))
    try:
        yield fired
    finally:
        for handle in handles:
            handle.remove()
    if len(set(fired.values())) > 1:
        raise RuntimeError(f"hooks fired unequally, so part of the model was not seen: {fired}")


def refuse_nested(tensor: Tensor, name: str) -> None:
    """Refuse the nested tensors of ``torch.nn.TransformerEncoder``'s fused path.

    Raises
    ------
    RuntimeError
        If it is one.
    """
    if tensor.is_nested:
        raise RuntimeError(
            f"{name} is a nested tensor, in which padding cannot be told from tokens: set the "
            "encoder's enable_nested_tensor and use_nested_tensor to False"
        )


def encoder_points(layers: list[nn.Module], sites: list[str]) -> dict[str, tuple[nn.Module, str]]:
    """Return the capture points ``{block}.{site}`` of encoder layers."""
    points = {}
    for block, layer in enumerate(layers):
        for site in sites:
            module, side = ENCODER_SITES[site]
            points[f"{block}.{site}"] = (layer.get_submodule(module), side)
    return points
