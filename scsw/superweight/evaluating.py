"""A model in eval mode, and as it is written, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and each of its modules back into its own mode afterwards.

    In train mode dropout would make every pass another one. Modules that ``torch.compile`` has
    compiled are run as they are written, since their compiled code calls no hook that was added
    later.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with _not_compiled(model):
            yield
    finally:
        for module, training in modes:
            module.training = training


def _not_compiled(model: nn.Module) -> contextlib.AbstractContextManager:
    compiled = any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in model.modules()
    )
    if compiled:
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()
