"""GPU kernels of how a change passes a layer norm and a ReLU, each in one reading of its input.

The formulas are those of `norm_difference` and `relu_difference` in
`scsw.superweight.pruning.difference`. What the intact model did is the same for all edits, so a
program reads it once for several of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_EDITS = 4  # that a program takes
_BLOCK = 1024  # hidden units of all tokens, laid out one after the other, that a program takes


@triton.jit
def _norm_kernel(
    change, unit, inverse, gamma, found, tokens, edits,
    WIDTH: tl.constexpr, EDITS: tl.constexpr,
):  # fmt: skip
    token, channels = tl.program_id(0).to(tl.int64), tl.arange(0, WIDTH)
    own = tl.program_id(1) * EDITS + tl.arange(0, EDITS)
    at = (own[:, None] * tokens.to(tl.int64) + token) * WIDTH + channels[None, :]
    inside = own[:, None] < edits
    wide = tl.load(change + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(unit + token * WIDTH + channels).to(tl.float32)[None, :]
    over = tl.load(inverse + token)
    centred = wide - (tl.sum(wide, 1) / WIDTH)[:, None]
    relative = 2 * over * tl.sum(u * centred, 1) / WIDTH
    relative += over * over * tl.sum(centred * centred, 1) / WIDTH
    # Where nearly all of the variance goes, 1 + relative is what rounding leaves.
    whole = u + centred * over
    left = tl.where(relative < -0.5, tl.sum(whole * whole, 1) / WIDTH, 1 + relative)
    root = tl.sqrt(left)
    shrunk = -relative / (root * (1 + root))
    out = centred * (over / root)[:, None] + u * shrunk[:, None]
    out *= tl.load(gamma + channels).to(tl.float32)[None, :]
    tl.store(found + at, out.to(found.dtype.element_ty), mask=inside)


@triton.jit
def _relu_kernel(
    change, hidden, below, found, n, edits, EDITS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    above = tl.load(hidden + at, mask=at < n, other=0.0).to(tl.float32)
    under = tl.load(below + at, mask=at < n, other=0.0).to(tl.float32)
    for i in tl.static_range(EDITS):
        edit = tl.program_id(1) * EDITS + i
        own = edit.to(tl.int64) * n + at
        inside = at < n * (edit < edits)
        x = tl.load(change + own, mask=inside, other=0.0).to(tl.float32)
        out = tl.maximum(x + under, -above)
        tl.store(found + own, out.to(found.dtype.element_ty), mask=inside)


def norm_change(change: Tensor, unit: Tensor, inverse: Tensor, gamma: Tensor) -> Tensor:
    """Change of a layer norm's output, from that of its input.

    Parameters
    ----------
    change
        Shape (edits, tokens, channels), contiguous; a power of two of channels.
    unit, inverse, gamma
        As in `scsw.superweight.pruning.difference.IntactNorm`; contiguous.
    """
    edits, tokens, width = change.shape
    found = torch.empty_like(change)
    _norm_kernel[(tokens, triton.cdiv(edits, _EDITS))](
        change, unit, inverse, gamma, found, tokens, edits, WIDTH=width, EDITS=_EDITS
    )
    return found


def relu_change(change: Tensor, hidden: Tensor, below: Tensor) -> Tensor:
    """Change of relu(a), from Δa, max(a, 0) and min(a, 0).

    Parameters
    ----------
    change
        Δa, shape (edits, tokens, units), contiguous.
    hidden, below
        Shape (tokens, units), contiguous.
    """
    found, n = torch.empty_like(change), hidden.numel()
    _relu_kernel[(triton.cdiv(n, _BLOCK), triton.cdiv(len(change), _EDITS))](
        change, hidden, below, found, n, len(change), EDITS=_EDITS, BLOCK=_BLOCK
    )
    return found
