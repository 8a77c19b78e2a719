"""GPU kernels of a post-norm residual: ``norm(x + dropout(y))`` in one pass over the tokens.

Dropout chooses from a random number of each token and one of each channel, see
`scsw.scgpt.kernels.dropout`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from scsw.scgpt.kernels.dropout import threshold

_ROWS = 4  # tokens that a program takes at once
_PROGRAMS = 528  # of the backward pass: four for each of an H100's 132 multiprocessors


@triton.jit
def _residual(
    x, y, tokens, channels, rows, columns, real, KEPT: tl.constexpr, THRESHOLD: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """Return x + dropout(y) in float32, and which of y survived."""
    at = rows.to(tl.int64)[:, None] * WIDTH + columns[None, :]
    total = tl.load(x + at, mask=real[:, None], other=0.0).to(tl.float32)
    added = tl.load(y + at, mask=real[:, None], other=0.0).to(tl.float32)
    kept = added == added
    if THRESHOLD > 0:
        drawn = tl.load(tokens + rows, mask=real, other=0).to(tl.uint32, bitcast=True)
        channel = tl.load(channels + columns).to(tl.uint32, bitcast=True)
        kept = drawn[:, None] * channel[None, :] < THRESHOLD
        added = tl.where(kept, added * KEPT, 0.0)
    return total + added, kept


@triton.jit
def _forward_kernel(
    x, y, weight, bias, out, means, scales, tokens, channels, n,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, EPS: tl.constexpr, KEPT: tl.constexpr,
    THRESHOLD: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns, real = tl.arange(0, WIDTH), rows < n
    total, _ = _residual(x, y, tokens, channels, rows, columns, real, KEPT, THRESHOLD, WIDTH)
    mean = tl.sum(total, 1) / WIDTH
    centred = total - mean[:, None]
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / WIDTH + EPS)
    normed = centred * scale[:, None] * tl.load(weight + columns)[None, :]
    normed += tl.load(bias + columns)[None, :]
    tl.store(means + rows, mean, mask=real)
    tl.store(scales + rows, scale, mask=real)
    at = rows.to(tl.int64)[:, None] * WIDTH + columns[None, :]
    tl.store(out + at, normed.to(out.dtype.element_ty), mask=real[:, None])


@triton.jit
def _backward_kernel(
    grad_out, x, y, weight, means, scales, grad_x, grad_y, grad_weight, grad_bias, tokens, channels,
    n,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, KEPT: tl.constexpr, THRESHOLD: tl.constexpr,
):  # fmt: skip
    program, programs = tl.program_id(0), tl.num_programs(0)
    columns = tl.arange(0, WIDTH)
    gamma = tl.load(weight + columns)
    weight_sum = tl.zeros([WIDTH], tl.float32)
    bias_sum = tl.zeros([WIDTH], tl.float32)
    for first in tl.range(program * ROWS, n, programs * ROWS):
        rows = first + tl.arange(0, ROWS)
        real = rows < n
        total, kept = _residual(x, y, tokens, channels, rows, columns, real, KEPT, THRESHOLD, WIDTH)
        mean = tl.load(means + rows, mask=real, other=0.0)
        scale = tl.load(scales + rows, mask=real, other=0.0)
        normed = (total - mean[:, None]) * scale[:, None]
        at = rows.to(tl.int64)[:, None] * WIDTH + columns[None, :]
        grad = tl.load(grad_out + at, mask=real[:, None], other=0.0).to(tl.float32)
        weight_sum += tl.sum(grad * normed, 0)
        bias_sum += tl.sum(grad, 0)
        grad = grad * gamma[None, :]
        along = tl.sum(grad * normed, 1) / WIDTH
        grad = grad - (tl.sum(grad, 1) / WIDTH)[:, None] - normed * along[:, None]
        grad = grad * scale[:, None]
        tl.store(grad_x + at, grad.to(grad_x.dtype.element_ty), mask=real[:, None])
        grad = tl.where(kept, grad * KEPT, 0.0)
        tl.store(grad_y + at, grad.to(grad_y.dtype.element_ty), mask=real[:, None])
    tl.store(grad_weight + program * WIDTH + columns, weight_sum)
    tl.store(grad_bias + program * WIDTH + columns, bias_sum)


@triton_op("scsw::residual_norm", mutates_args={})
def residual_norm(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout: float,
    tokens: Tensor, channels: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Layer-normalise ``x + dropout(y)``; sums are taken in float32.

    Parameters
    ----------
    x, y
        Contiguous, of one dtype, shape (tokens, width); `width` is a power of two.
    weight, bias, eps
        Of the norm; float32, shape (width,).
    dropout
        Share of `y` that is dropped.
    tokens, channels
        Random numbers of the dropout, int32, shapes (tokens,) and (width,); those of `channels`
        are odd. Not looked at without dropout.

    Returns
    -------
    tuple of torch.Tensor
        The result in the dtype of `x`; each token's mean and inverse standard deviation, float32,
        shape (tokens,), for the backward pass.
    """
    n, width = x.shape
    out, means = torch.empty_like(x), x.new_empty(n, dtype=torch.float32)
    scales = torch.empty_like(means)
    wrap_triton(_forward_kernel)[(triton.cdiv(n, _ROWS),)](
        x, y, weight, bias, out, means, scales, tokens, channels, n,
        WIDTH=width, ROWS=_ROWS, EPS=eps, KEPT=1 / (1 - dropout), THRESHOLD=threshold(dropout),
        num_warps=4,
    )  # fmt: skip
    return out, means, scales


@triton_op("scsw::residual_norm_backward", mutates_args={})
def residual_norm_backward(
    grad: Tensor, x: Tensor, y: Tensor, weight: Tensor, means: Tensor, scales: Tensor,
    dropout: float, tokens: Tensor, channels: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of `residual_norm` with respect to x, y, weight and bias."""
    n, width = x.shape
    grad_x, grad_y = torch.empty_like(x), torch.empty_like(y)
    grad_weight = x.new_empty(_PROGRAMS, width, dtype=torch.float32)
    grad_bias = torch.empty_like(grad_weight)
    wrap_triton(_backward_kernel)[(_PROGRAMS,)](
        grad.contiguous(), x, y, weight, means, scales, grad_x, grad_y, grad_weight, grad_bias,
        tokens, channels, n,
        WIDTH=width, ROWS=_ROWS, KEPT=1 / (1 - dropout), THRESHOLD=threshold(dropout),
        num_warps=4,
    )  # fmt: skip
    return grad_x, grad_y, grad_weight.sum(0), grad_bias.sum(0)


def _save(ctx, inputs, output) -> None:
    x, y, weight, _, _, ctx.dropout, tokens, channels = inputs
    ctx.save_for_backward(x, y, weight, *output[1:], tokens, channels)


def _backward(ctx, grad, _grad_means, _grad_scales):
    *tensors, tokens, channels = ctx.saved_tensors
    found = residual_norm_backward(grad, *tensors, ctx.dropout, tokens, channels)
    return *found, None, None, None, None


residual_norm.register_autograd(_backward, setup_context=_save)
