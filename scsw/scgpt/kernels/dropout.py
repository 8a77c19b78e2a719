"""Dropout of the GPU kernels: which entries of a matrix survive, from a few random numbers.

Each row has a random 32-bit number and each column a random odd one. An entry survives if the
product of the two, modulo 2^32, lies under a threshold (multiplicative hashing, Dietzfelbinger et
al. 1997, doi:10.1006/jagm.1997.0873). The backward pass makes the same choice from the same
numbers, so that nothing of the matrix's size is stored.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw(
    rows: tuple[int, ...], columns: int, dropout: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw the numbers of rows and columns, int32; empty without dropout."""
    if not dropout:
        return torch.empty(0, dtype=torch.int32, device=device), torch.empty(
            0, dtype=torch.int32, device=device
        )
    whole = {"low": -(2**31), "high": 2**31, "dtype": torch.int32, "device": device}
    return torch.randint(size=rows, **whole), torch.randint(size=(columns,), **whole) | 1


def threshold(dropout: float) -> int:
    """Return the number under which an entry survives; 0 says that all do."""
    return round((1 - dropout) * 0xFFFFFFFF) if dropout else 0
