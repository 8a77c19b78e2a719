"""A GPU kernel of how a change of queries, keys and values changes attention.

The formula is that of `scsw.superweight.pruning.difference.attention_difference`. Like
FlashAttention-2 (Dao 2023, arXiv:2307.08691) the kernel makes the weights block by block and never
stores them; the intact weights, which are the same for all edits, are made once for two of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from scsw.scgpt.kernels.attention import _LOG2_E, _load

# Sizes of the blocks, tuned on an H100 at 64 numbers per head; wider heads leave less room.
_SIZES = {"ROWS": 128, "COLUMNS": 64, "num_warps": 8, "num_stages": 3}
_SIZES_OF_WIDE = {"ROWS": 64, "COLUMNS": 32, "num_warps": 4, "num_stages": 2}
_TOKENS = 128  # keys that `_key_kernel` looks at together

# Up to here exp(x) - 1 is x + x²/2 to 0.3 %, which bf16 rounds off. Most edits change no score by
# more, and the exponential would take the kernel as long as its products.
_SMALL = tl.constexpr(0.125)


@triton.jit
def _key_kernel(
    change, mean, size, offsets, tokens, edits,
    HEADS: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Mean of the keys' change over a cell, and a bound of the norms of what is left."""
    edit, place = tl.program_id(0) % edits, tl.program_id(0) // edits
    cell, head = place // HEADS, place % HEADS
    start = tl.load(offsets + cell).to(tl.int64)
    n = tl.load(offsets + cell + 1) - tl.load(offsets + cell)
    keys = change + (edit.to(tl.int64) * tokens + start) * (3 * HEADS * DIM) + (HEADS + head) * DIM
    total, largest = tl.zeros([DIM], tl.float32), tl.zeros([TOKENS], tl.float32)
    for first in tl.range(0, n, TOKENS):
        rows = first + tl.arange(0, TOKENS)
        own = _load(keys, rows, n, 3 * HEADS * DIM, DIM, False).to(tl.float32)
        total += tl.sum(own, 0)
        largest = tl.maximum(largest, tl.sum(own * own, 1))
    common = total / n
    bound = tl.sqrt(tl.max(largest, 0)) + tl.sqrt(tl.sum(common * common, 0))
    cells = tl.num_programs(0) // (edits * HEADS)
    own = (edit * cells + cell) * HEADS + head
    tl.store(mean + own * DIM + tl.arange(0, DIM), common)
    tl.store(size + own, bound)


@triton.jit
def _grown(x, LOG2_E: tl.constexpr, SMALL: tl.constexpr):
    """Return exp(x) - 1 with relative precision; x is at most 60."""
    if SMALL:
        return x * (1 + 0.5 * x)
    x = tl.minimum(x, 60.0)
    series = x * (1 + x * (0.5 + x * (0.16666667 + x * (0.041666667 + x * 0.0083333333))))
    return tl.where(tl.abs(x) < 0.25, series, tl.exp2(x * LOG2_E) - 1)


@triton.jit
def _add_block(
    total, delta, p, k, v, dq, changed_q, shift, dk_base, dv_base, columns, n,
    HEADS: tl.constexpr, DIM: tl.constexpr, SCALE: tl.constexpr, LOG2_E: tl.constexpr,
    SMALL: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add what one block of keys contributes to the change of one edit."""
    dk = _load(dk_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    dv = _load(dv_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    scores = tl.dot(changed_q, tl.trans(dk), tl.dot(dq, tl.trans(k)))
    grown = p * _grown(scores * SCALE - shift[:, None], LOG2_E, SMALL)
    delta += tl.sum(grown, 1)
    total = tl.dot(grown.to(v.dtype), v, total)
    total = tl.dot((p + grown).to(v.dtype), dv, total)
    return total, delta


@triton.jit
def _key_block(
    total_a, delta_a, total_b, delta_b, q, lse, k_base, v_base,
    dq_a, changed_a, shift_a, dk_a, dv_a, dq_b, changed_b, shift_b, dk_b, dv_b, first, n,
    HEADS: tl.constexpr, DIM: tl.constexpr, COLUMNS: tl.constexpr, SCALE: tl.constexpr,
    LOG2_E: tl.constexpr, SMALL: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Add one block of keys to the change of two edits."""
    columns = first + tl.arange(0, COLUMNS)
    k = _load(k_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    v = _load(v_base, columns, n, 3 * HEADS * DIM, DIM, WHOLE)
    p = tl.exp2(tl.dot(q, tl.trans(k)) * (SCALE * LOG2_E) - lse[:, None])
    if not WHOLE:
        p = tl.where(columns[None, :] < n, p, 0.0)
    total_a, delta_a = _add_block(
        total_a, delta_a, p, k, v, dq_a, changed_a, shift_a, dk_a, dv_a, columns, n,
        HEADS, DIM, SCALE, LOG2_E, SMALL, WHOLE,
    )  # fmt: skip
    total_b, delta_b = _add_block(
        total_b, delta_b, p, k, v, dq_b, changed_b, shift_b, dk_b, dv_b, columns, n,
        HEADS, DIM, SCALE, LOG2_E, SMALL, WHOLE,
    )  # fmt: skip
    return total_a, delta_a, total_b, delta_b


@triton.jit
def _all_keys(
    q, lse, k_base, v_base, dq_a, changed_a, shift_a, dk_a, dv_a,
    dq_b, changed_b, shift_b, dk_b, dv_b, n,
    HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SCALE: tl.constexpr, LOG2_E: tl.constexpr, SMALL: tl.constexpr,
):  # fmt: skip
    """Add up what all keys contribute to the change of two edits."""
    total_a = tl.zeros([ROWS, DIM], tl.float32)
    total_b = tl.zeros([ROWS, DIM], tl.float32)
    delta_a, delta_b = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    whole = n // COLUMNS * COLUMNS
    for first in tl.range(0, whole, COLUMNS):
        total_a, delta_a, total_b, delta_b = _key_block(
            total_a, delta_a, total_b, delta_b, q, lse, k_base, v_base,
            dq_a, changed_a, shift_a, dk_a, dv_a, dq_b, changed_b, shift_b, dk_b, dv_b,
            first, n, HEADS, DIM, COLUMNS, SCALE, LOG2_E, SMALL, True,
        )  # fmt: skip
    if whole < n:
        total_a, delta_a, total_b, delta_b = _key_block(
            total_a, delta_a, total_b, delta_b, q, lse, k_base, v_base,
            dq_a, changed_a, shift_a, dk_a, dv_a, dq_b, changed_b, shift_b, dk_b, dv_b,
            whole, n, HEADS, DIM, COLUMNS, SCALE, LOG2_E, SMALL, False,
        )  # fmt: skip
    return total_a, delta_a, total_b, delta_b


@triton.jit
def _largest_norm(x):
    x = x.to(tl.float32)
    return tl.sqrt(tl.max(tl.sum(x * x, 1), 0))


@triton.jit
def _scores(mean, size, key_size, own, of_cell, q, dq, DIM: tl.constexpr, SCALE: tl.constexpr):
    """Return changed queries, what to take from their scores, and a bound of what is left.

    What all keys of a cell have in common adds the same to all scores of a query and so changes
    no weight; but it would fill the exponentials.
    """
    changed = q + dq
    common = tl.load(mean + own * DIM + tl.arange(0, DIM))
    shift = SCALE * tl.sum(changed.to(tl.float32) * common[None, :], 1)
    bound = _largest_norm(dq) * tl.load(key_size + of_cell)
    bound += _largest_norm(changed) * tl.load(size + own)
    return changed, shift, SCALE * bound


@triton.jit
def _store(out, at, total, delta, intact, real):
    change = (total - delta[:, None] * intact) / (1 + delta)[:, None]
    tl.store(out + at, change.to(out.dtype.element_ty), mask=real)


@triton.jit
def _kernel(
    qkv, out, lse, change, found, mean, size, key_size, offsets, tokens, pairs,
    HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    SCALE: tl.constexpr, LOG2_E: tl.constexpr,
):  # fmt: skip
    # Programs of one cell, head and block of queries follow one another: the keys stay in L2.
    edit, place = 2 * (tl.program_id(0) % pairs), tl.program_id(0) // pairs
    cell, head = place // HEADS, place % HEADS
    n = tl.load(offsets + cell + 1) - tl.load(offsets + cell)
    if tl.program_id(1) * ROWS < n:
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        start = tl.load(offsets + cell).to(tl.int64)
        own = start * 3 * HEADS * DIM + head * DIM
        k_base, v_base = qkv + own + HEADS * DIM, qkv + own + 2 * HEADS * DIM
        q = _load(qkv + own, rows, n, 3 * HEADS * DIM, DIM, False)
        row_lse = tl.load(lse + (start + rows) * HEADS + head, mask=rows < n, other=0.0)
        a = change + edit.to(tl.int64) * tokens * (3 * HEADS * DIM) + own
        b = change + (edit + 1).to(tl.int64) * tokens * (3 * HEADS * DIM) + own
        dq_a = _load(a, rows, n, 3 * HEADS * DIM, DIM, False)
        dq_b = _load(b, rows, n, 3 * HEADS * DIM, DIM, False)
        places = tl.num_programs(0) // pairs
        changed_a, shift_a, bound_a = _scores(
            mean, size, key_size, edit * places + place, place, q, dq_a, DIM, SCALE
        )
        changed_b, shift_b, bound_b = _scores(
            mean, size, key_size, (edit + 1) * places + place, place, q, dq_b, DIM, SCALE
        )
        if tl.maximum(bound_a, bound_b) < _SMALL:
            total_a, delta_a, total_b, delta_b = _all_keys(
                q, row_lse, k_base, v_base,
                dq_a, changed_a, shift_a, a + HEADS * DIM, a + 2 * HEADS * DIM,
                dq_b, changed_b, shift_b, b + HEADS * DIM, b + 2 * HEADS * DIM,
                n, HEADS, DIM, ROWS, COLUMNS, SCALE, LOG2_E, True,
            )  # fmt: skip
        else:
            total_a, delta_a, total_b, delta_b = _all_keys(
                q, row_lse, k_base, v_base,
                dq_a, changed_a, shift_a, a + HEADS * DIM, a + 2 * HEADS * DIM,
                dq_b, changed_b, shift_b, b + HEADS * DIM, b + 2 * HEADS * DIM,
                n, HEADS, DIM, ROWS, COLUMNS, SCALE, LOG2_E, False,
            )  # fmt: skip
        own = start * HEADS * DIM + head * DIM
        intact = _load(out + own, rows, n, HEADS * DIM, DIM, False).to(tl.float32)
        at = own + rows[:, None] * (HEADS * DIM) + tl.arange(0, DIM)[None, :]
        real = rows[:, None] < n
        out_a = found + edit.to(tl.int64) * tokens * (HEADS * DIM)
        out_b = found + (edit + 1).to(tl.int64) * tokens * (HEADS * DIM)
        _store(out_a, at, total_a, delta_a, intact, real)
        _store(out_b, at, total_b, delta_b, intact, real)


def _keys(change: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the keys' mean over each cell and a bound of the norm of a key less that mean.

    Shapes (edits, cells, heads, size) and (edits, cells, heads), float32.
    """
    edits, tokens, _, heads, size = change.shape
    cells = offsets.shape[0] - 1
    mean = change.new_empty((edits, cells, heads, size), dtype=torch.float32)
    largest = change.new_empty((edits, cells, heads), dtype=torch.float32)
    _key_kernel[(edits * cells * heads,)](
        change, mean, largest, offsets, tokens, edits, HEADS=heads, DIM=size, TOKENS=_TOKENS
    )
    return mean, largest


def attention_change(
    qkv: Tensor, out: Tensor, lse: Tensor, change: Tensor, offsets: Tensor, longest: int
) -> Tensor:
    """Change of the attention of every token over the tokens of its own cell.

    Parameters
    ----------
    qkv
        Intact queries, keys and values, bf16, contiguous, shape (tokens, 3, heads, size); the mean
        of the keys of a cell is 0.
    out, lse
        What `scsw.scgpt.kernels.attention.attend` makes of them.
    change
        Change of `qkv`, bf16, contiguous, shape (edits, tokens, 3, heads, size); an even number of
        edits.
    offsets, longest
        Where the cells lie, int32, see `PackedBatch`. With a `longest` of 1 nothing is computed
        but the first tokens of each cell; what stands at the others means nothing.

    Returns
    -------
    torch.Tensor
        bf16, shape (edits, tokens, heads, size).
    """
    edits, tokens, _, heads, size = change.shape
    found = change.new_empty(edits, tokens, heads, size)
    pairs = edits // 2
    _, key_size = _keys(qkv[None], offsets)
    sizes = _SIZES if size <= 64 else _SIZES_OF_WIDE
    grid = (pairs * (offsets.shape[0] - 1) * heads, triton.cdiv(longest, sizes["ROWS"]))
    _kernel[grid](
        qkv, out, lse, change, found, *_keys(change, offsets), key_size, offsets, tokens, pairs,
        HEADS=heads, DIM=size, SCALE=size**-0.5, LOG2_E=_LOG2_E, **sizes,
    )  # fmt: skip
    return found
