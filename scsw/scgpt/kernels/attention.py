"""GPU kernels of attention within the cells of a packed batch, with attention dropout.

The algorithm is FlashAttention-2 (Dao 2023, arXiv:2307.08691): scores are made block by block and
never stored. The backward pass makes them twice, once for the gradient of the queries and once for
those of keys and values, so that no two programs add to one number and a result can be repeated.

Dropout chooses from a random number of each query and one of each place in a cell, see
`scsw.scgpt.kernels.dropout`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

from scsw.scgpt.kernels.dropout import threshold

_LOG2_E = 1.4426950408889634

# Sizes of the blocks, tuned on an H100 at 64 numbers per head.
_FORWARD = {"ROWS": 64, "COLUMNS": 64, "num_warps": 4, "num_stages": 3}
_QUERIES = {"ROWS": 64, "COLUMNS": 64, "num_warps": 4, "num_stages": 3}
_KEYS = {"ROWS": 64, "COLUMNS": 64, "num_warps": 4, "num_stages": 2}


@triton.jit
def _load(base, rows, n, STRIDE: tl.constexpr, DIM: tl.constexpr, WHOLE: tl.constexpr):
    """Load rows of (tokens, DIM); those past the end of the cell are zero."""
    at = base + rows[:, None] * STRIDE + tl.arange(0, DIM)[None, :]
    if WHOLE:
        return tl.load(at)
    return tl.load(at, mask=rows[:, None] < n, other=0.0)


@triton.jit
def _numbers(base, at, real, WHOLE: tl.constexpr):
    """Load the random numbers of some queries or places."""
    if WHOLE:
        return tl.load(base + at).to(tl.uint32, bitcast=True)
    return tl.load(base + at, mask=real, other=0).to(tl.uint32, bitcast=True)


@triton.jit
def _attend_block(
    q, k_base, v_base, total, top, summed, first, n, drawn, places,
    HEADS: tl.constexpr, DIM: tl.constexpr, COLUMNS: tl.constexpr, SCALE: tl.constexpr,
    THRESHOLD: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add one block of keys to the running softmax of the queries."""
    columns = first + tl.arange(0, COLUMNS)
    k = _load(k_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    v = _load(v_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    scores = tl.dot(q, tl.trans(k))
    if not WHOLE:
        scores = tl.where(columns[None, :] < n, scores, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, 1) * SCALE)
    weights = tl.exp2(scores * SCALE - higher[:, None])
    shrunk = tl.exp2(top - higher)
    summed = summed * shrunk + tl.sum(weights, 1)
    if THRESHOLD > 0:
        place = _numbers(places, columns, columns < n, WHOLE)
        weights = tl.where(drawn[:, None] * place[None, :] < THRESHOLD, weights, 0.0)
    total = tl.dot(weights.to(v.dtype), v, total * shrunk[:, None])
    return total, higher, summed


@triton.jit
def _forward_kernel(
    qkv, out, lse, offsets, queries, places,
    HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SCALE: tl.constexpr, KEPT: tl.constexpr, THRESHOLD: tl.constexpr,
):  # fmt: skip
    cell, head = tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    start = tl.load(offsets + cell)
    n = tl.load(offsets + cell + 1) - start
    if tl.program_id(0) * ROWS < n:
        rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        q_base = qkv + start.to(tl.int64) * 3 * HEADS * DIM + head * DIM
        k_base, v_base = q_base + HEADS * DIM, q_base + 2 * HEADS * DIM
        q = _load(q_base, rows, n, 3 * HEADS * DIM, DIM, False)
        heads_at, real = (start + rows) * HEADS + head, rows < n
        drawn = _numbers(queries, heads_at, real, False) if THRESHOLD > 0 else 0
        top = tl.full([ROWS], float("-inf"), tl.float32)
        summed = tl.zeros([ROWS], tl.float32)
        total = tl.zeros([ROWS, DIM], tl.float32)
        whole = n // COLUMNS * COLUMNS
        for first in tl.range(0, whole, COLUMNS):
            total, top, summed = _attend_block(
                q, k_base, v_base, total, top, summed, first, n, drawn, places,
                HEADS, DIM, COLUMNS, SCALE, THRESHOLD, True,
            )  # fmt: skip
        if whole < n:
            total, top, summed = _attend_block(
                q, k_base, v_base, total, top, summed, whole, n, drawn, places,
                HEADS, DIM, COLUMNS, SCALE, THRESHOLD, False,
            )  # fmt: skip
        total = total * (KEPT / summed)[:, None]
        tl.store(lse + heads_at, top + tl.log2(summed), mask=real)
        at = out + heads_at.to(tl.int64)[:, None] * DIM + tl.arange(0, DIM)[None, :]
        tl.store(at, total.to(out.dtype.element_ty), mask=real[:, None])


@triton.jit
def _query_block(
    dq, q, grad, lse, delta, k_base, v_base, first, n, drawn, places,
    HEADS: tl.constexpr, DIM: tl.constexpr, COLUMNS: tl.constexpr, SCALE: tl.constexpr,
    THRESHOLD: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add what one block of keys contributes to the gradient of the queries."""
    columns = first + tl.arange(0, COLUMNS)
    k = _load(k_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    v = _load(v_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    scores = tl.dot(q, tl.trans(k))
    grad_weights = tl.dot(grad, tl.trans(v))
    weights = tl.exp2(scores * SCALE - lse[:, None])
    if not WHOLE:
        weights = tl.where(columns[None, :] < n, weights, 0.0)
    if THRESHOLD > 0:
        place = _numbers(places, columns, columns < n, WHOLE)
        grad_weights = tl.where(drawn[:, None] * place[None, :] < THRESHOLD, grad_weights, 0.0)
    grad_scores = weights * (grad_weights - delta[:, None])
    return tl.dot(grad_scores.to(k.dtype), k, dq)


@triton.jit
def _query_kernel(
    qkv, out, grad_out, lse, deltas, dqkv, offsets, queries, places,
    HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SCALE: tl.constexpr, KEPT: tl.constexpr, THRESHOLD: tl.constexpr,
):  # fmt: skip
    cell, head = tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    start = tl.load(offsets + cell)
    n = tl.load(offsets + cell + 1) - start
    if tl.program_id(0) * ROWS < n:
        rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        own = start.to(tl.int64) * 3 * HEADS * DIM + head * DIM
        k_base, v_base = qkv + own + HEADS * DIM, qkv + own + 2 * HEADS * DIM
        q = _load(qkv + own, rows, n, 3 * HEADS * DIM, DIM, False)
        heads_base = start.to(tl.int64) * HEADS * DIM + head * DIM
        o = _load(out + heads_base, rows, n, HEADS * DIM, DIM, False)
        grad = _load(grad_out + heads_base, rows, n, HEADS * DIM, DIM, False)
        heads_at, real = (start + rows) * HEADS + head, rows < n
        drawn = _numbers(queries, heads_at, real, False) if THRESHOLD > 0 else 0
        # Gradients are kept without the factor of dropout until they are stored.
        delta = tl.sum(o.to(tl.float32) * grad.to(tl.float32), 1) / KEPT
        tl.store(deltas + heads_at, delta, mask=real)
        row_lse = tl.load(lse + heads_at, mask=real, other=0.0)
        dq = tl.zeros([ROWS, DIM], tl.float32)
        whole = n // COLUMNS * COLUMNS
        for first in tl.range(0, whole, COLUMNS):
            dq = _query_block(
                dq, q, grad, row_lse, delta, k_base, v_base, first, n, drawn,
                places, HEADS, DIM, COLUMNS, SCALE, THRESHOLD, True,
            )  # fmt: skip
        if whole < n:
            dq = _query_block(
                dq, q, grad, row_lse, delta, k_base, v_base, whole, n, drawn,
                places, HEADS, DIM, COLUMNS, SCALE, THRESHOLD, False,
            )  # fmt: skip
        at = dqkv + own + rows[:, None] * 3 * HEADS * DIM + tl.arange(0, DIM)[None, :]
        dq *= SCALE * KEPT * 0.6931471805599453  # back from base 2
        tl.store(at, dq.to(dqkv.dtype.element_ty), mask=real[:, None])


@triton.jit
def _key_block(
    dk, dv, k, v, q_base, grad_base, lse, deltas, first, n, queries, place,
    start, head,
    HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, SCALE: tl.constexpr,
    THRESHOLD: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add what one block of queries contributes to the gradients of keys and values."""
    rows = first + tl.arange(0, ROWS)
    heads_at, real = (start + rows) * HEADS + head, rows < n
    q = _load(q_base, rows, n, 3 * HEADS * DIM, DIM, WHOLE)
    grad = _load(grad_base, rows, n, HEADS * DIM, DIM, WHOLE)
    if WHOLE:
        row_lse, delta = tl.load(lse + heads_at), tl.load(deltas + heads_at)
    else:  # queries past the end get weights of zero
        row_lse = tl.load(lse + heads_at, mask=real, other=float("inf"))
        delta = tl.load(deltas + heads_at, mask=real, other=0.0)
    scores = tl.dot(k, tl.trans(q))
    grad_weights = tl.dot(v, tl.trans(grad))
    weights = tl.exp2(scores * SCALE - row_lse[None, :])
    survived = weights
    if THRESHOLD > 0:
        drawn = _numbers(queries, heads_at, real, WHOLE)
        kept = drawn[None, :] * place[:, None] < THRESHOLD
        survived = tl.where(kept, weights, 0.0)
        grad_weights = tl.where(kept, grad_weights, 0.0)
    dv = tl.dot(survived.to(grad.dtype), grad, dv)
    grad_scores = weights * (grad_weights - delta[None, :])
    dk = tl.dot(grad_scores.to(q.dtype), q, dk)
    return dk, dv


@triton.jit
def _key_kernel(
    qkv, grad_out, lse, deltas, dqkv, offsets, queries, places,
    HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SCALE: tl.constexpr, KEPT: tl.constexpr, THRESHOLD: tl.constexpr,
):  # fmt: skip
    cell, head = tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    start = tl.load(offsets + cell)
    n = tl.load(offsets + cell + 1) - start
    if tl.program_id(0) * COLUMNS < n:
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
        own = start.to(tl.int64) * 3 * HEADS * DIM + head * DIM
        k = _load(qkv + own + HEADS * DIM, columns, n, 3 * HEADS * DIM, DIM, False)
        v = _load(qkv + own + 2 * HEADS * DIM, columns, n, 3 * HEADS * DIM, DIM, False)
        grad_base = grad_out + start.to(tl.int64) * HEADS * DIM + head * DIM
        place = _numbers(places, columns, columns < n, False) if THRESHOLD > 0 else 0
        dk = tl.zeros([COLUMNS, DIM], tl.float32)
        dv = tl.zeros([COLUMNS, DIM], tl.float32)
        whole = n // ROWS * ROWS
        for first in tl.range(0, whole, ROWS):
            dk, dv = _key_block(
                dk, dv, k, v, qkv + own, grad_base, lse, deltas, first, n,
                queries, place, start, head, HEADS, DIM, ROWS, SCALE, THRESHOLD, True,
            )  # fmt: skip
        if whole < n:
            dk, dv = _key_block(
                dk, dv, k, v, qkv + own, grad_base, lse, deltas, whole, n,
                queries, place, start, head, HEADS, DIM, ROWS, SCALE, THRESHOLD, False,
            )  # fmt: skip
        at = dqkv + own + HEADS * DIM + tl.arange(0, DIM)[None, :]
        at += columns[:, None] * 3 * HEADS * DIM
        real = columns[:, None] < n
        dk *= SCALE * KEPT * 0.6931471805599453
        tl.store(at, dk.to(dqkv.dtype.element_ty), mask=real)
        tl.store(at + HEADS * DIM, (dv * KEPT).to(dqkv.dtype.element_ty), mask=real)


@triton_op("scsw::attend", mutates_args={})
def attend(
    qkv: Tensor, offsets: Tensor, longest: int, dropout: float, queries: Tensor, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of every token over the tokens of its own cell.

    Parameters
    ----------
    qkv
        Queries, keys and values, fp16 or bf16, contiguous, shape (tokens, 3, heads, size); `size`
        is 16, 32, 64 or 128.
    offsets, longest
        Where the cells lie, see `PackedBatch`.
    dropout
        Share of the attention weights that is dropped.
    queries, places
        Random numbers of the dropout, int32, shapes (tokens, heads) and (longest,); those of
        `places` are odd. Not looked at without dropout.

    Returns
    -------
    tuple of torch.Tensor
        The attended values, shape (tokens, heads, size), and the logarithm to base 2 of each
        query's softmax denominator, float32, shape (tokens, heads), for the backward pass.
    """
    tokens, _, heads, size = qkv.shape
    out = qkv.new_empty(tokens, heads, size)
    lse = qkv.new_empty(tokens, heads, dtype=torch.float32)
    grid = (triton.cdiv(longest, _FORWARD["ROWS"]), (offsets.shape[0] - 1) * heads)
    wrap_triton(_forward_kernel)[grid](
        qkv, out, lse, offsets, queries, places, **_fixed(heads, size, dropout), **_FORWARD
    )  # fmt: skip
    return out, lse


@triton_op("scsw::attend_backward", mutates_args={})
def attend_backward(
    grad: Tensor, qkv: Tensor, out: Tensor, lse: Tensor, offsets: Tensor, longest: int,
    dropout: float, queries: Tensor, places: Tensor,
) -> Tensor:  # fmt: skip
    """Return the gradient of `attend` with respect to `qkv`, in the shape of `qkv`."""
    _, _, heads, size = qkv.shape
    grad, gradient, deltas = grad.contiguous(), torch.empty_like(qkv), torch.empty_like(lse)
    fixed = _fixed(heads, size, dropout)
    programs = (offsets.shape[0] - 1) * heads
    wrap_triton(_query_kernel)[(triton.cdiv(longest, _QUERIES["ROWS"]), programs)](
        qkv, out, grad, lse, deltas, gradient, offsets, queries, places, **fixed, **_QUERIES
    )  # fmt: skip
    wrap_triton(_key_kernel)[(triton.cdiv(longest, _KEYS["COLUMNS"]), programs)](
        qkv, grad, lse, deltas, gradient, offsets, queries, places, **fixed, **_KEYS
    )  # fmt: skip
    return gradient


def _save(ctx, inputs, output) -> None:
    qkv, offsets, ctx.longest, ctx.dropout, queries, places = inputs
    ctx.save_for_backward(qkv, *output, offsets, queries, places)


def _backward(ctx, grad, _grad_lse):
    qkv, out, lse, offsets, *random = ctx.saved_tensors
    gradient = attend_backward(grad, qkv, out, lse, offsets, ctx.longest, ctx.dropout, *random)
    return gradient, None, None, None, None, None


attend.register_autograd(_backward, setup_context=_save)


def _fixed(heads: int, size: int, dropout: float) -> dict[str, float]:
    """Return the kernels' compile-time numbers.

    They are no run-time arguments since torch.compile would hand those over in float64.
    """
    return {
        "HEADS": heads,
        "DIM": size,
        "SCALE": _LOG2_E / size**0.5,  # of the scores, whose exponentials are taken to base 2
        "KEPT": 1 / (1 - dropout),  # of the weights that survive dropout
        "THRESHOLD": threshold(dropout),
    }
