"""Attention within each cell of a packed batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scsw.scgpt.kernels.dropout import draw


def attend_packed(
    qkv: Tensor, offsets: Tensor, lengths: list[int] | None, longest: int, dropout: float = 0.0
) -> Tensor:
    """Scaled-dot-product attention of every token over the tokens of its own cell.

    Parameters
    ----------
    qkv
        Queries, keys and values, shape (tokens, 3, heads, d_model / heads).
    offsets, lengths, longest
        Where the cells lie, see `PackedBatch`. Without `lengths` the GPU kernels run, which
        `has_kernels` must allow.
    dropout
        Dropout of the attention weights.

    Returns
    -------
    torch.Tensor
        Shape (tokens, heads, d_model / heads).
    """
    if lengths is not None:
        return torch.cat([_attend_cell(cell, dropout) for cell in qkv.split(lengths)])
    from scsw.scgpt.kernels.attention import attend  # needs Triton

    tokens, _, heads, _ = qkv.shape
    numbers = draw((tokens, heads), longest, dropout, qkv.device)
    return attend(qkv, offsets, longest, dropout, *numbers)[0]


def _attend_cell(qkv: Tensor, dropout: float) -> Tensor:
    q, k, v = qkv.permute(1, 2, 0, 3)[:, None]
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)[0].transpose(0, 1)
