"""Round-to-nearest quantisation of a model's matrices, blocks of weights sharing a scale.

The weights are rounded to the numbers that an integer format could hold and stay floats: what the
rounding costs can be measured without integer arithmetic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.model import encoder_layers


@torch.no_grad()
def round_to_nearest(
    weight: Tensor, *, bits: int, block_size: int = 0, held_out: Tensor | None = None
) -> Tensor:
    """Round weights to the nearest of ``2**bits - 1`` evenly spaced numbers around zero.

    Each block of `block_size` consecutive weights, row after row, has the scale absmax / levels,
    where ``levels = 2**(bits - 1) - 1``; a last block may be shorter. A weight that is held out has
    no part in its block's absmax and keeps its value.

    Parameters
    ----------
    weight
        Weights of any shape and float dtype.
    bits
        Width of the integers, at least 2.
    block_size
        Weights of a block; 0, or more than there are, makes one block of the whole tensor.
    held_out
        Weights to hold out, bool, shape of `weight`.

    Returns
    -------
    torch.Tensor
        Shape and dtype of `weight`. Rounding twice changes nothing more.
    """
    n = weight.numel()
    size = min(block_size, n) if block_size else n
    padding = -n % size
    # In float64 the largest weight of a block comes out bit for bit as it was, so that a second
    # rounding finds the same scale.
    blocks = F.pad(weight.flatten().double(), (0, padding)).view(-1, size)
    if held_out is None:
        shown = blocks
    else:
        held_out = F.pad(held_out.flatten(), (0, padding)).view(-1, size)
        shown = blocks.masked_fill(held_out, 0.0)
    scale = shown.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    scale = torch.where(scale > 0, scale, 1.0)  # a block of zeros stays one
    rounded = (blocks / scale).round() * scale
    if held_out is not None:
        rounded = torch.where(held_out, blocks, rounded)
    return rounded.flatten()[:n].view_as(weight).to(weight.dtype)


def encoder_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return every matrix of the encoder blocks by its name, such as ``0.linear2``.

    These are `in_proj` (queries, keys and values, one tensor as scGPT stores it), `out_proj`,
    `linear1` and `linear2`.
    """
    return {
        f"{block}.{name}": weight
        for block, layer in enumerate(encoder_layers(model))
        for name, weight in (
            ("in_proj", layer.self_attn.in_proj_weight),
            ("out_proj", layer.self_attn.out_proj.weight),
            ("linear1", layer.linear1.weight),
            ("linear2", layer.linear2.weight),
        )
    }


@contextlib.contextmanager
def rounded(
    model: nn.Module, *, bits: int, block_size: int, held_out: Mapping[str, Tensor]
) -> Iterator[nn.Module]:
    """Round the encoder's matrices while the block runs.

    Parameters
    ----------
    model
        Fine-tuned scGPT. Afterwards it is bit-identical, whatever happened.
    bits, block_size
        As of `round_to_nearest`.
    held_out
        Weights to hold out by the names of `encoder_matrices`; a matrix may be left out.
    """
    matrices = encoder_matrices(model)
    originals = {name: weight.detach().clone() for name, weight in matrices.items()}
    try:
        with torch.no_grad():
            for name, weight in matrices.items():
                mask = held_out.get(name)
                weight.copy_(
                    round_to_nearest(weight, bits=bits, block_size=block_size, held_out=mask)
                )
        yield model
    finally:
        with torch.no_grad():
            for name, weight in matrices.items():
                weight.copy_(originals[name])
