"""Cells as scGPT tokens, padded to the longest."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch


@dataclass
class TokenBatch:
    """One batch of cells.

    Attributes
    ----------
    cells
        Row of each cell in the cohort that was tokenised, int64, shape (cells,).
    genes
        Token ids, int64, shape (cells, tokens); `<cls>` at position 0.
    values
        What the model is shown: bins, the mask value where hidden, the pad value at padding;
        float32.
    target
        Bins before hiding, the pad value at padding; float32.
    padding
        True at padding, bool.
    hidden
        True where the value is hidden, bool.
    labels
        Cell type index, int64, shape (cells,).
    """

    cells: torch.Tensor
    genes: torch.Tensor
    values: torch.Tensor
    target: torch.Tensor
    padding: torch.Tensor
    hidden: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """Return the batch on `device`."""
        return TokenBatch(*[getattr(self, f.name).to(device) for f in fields(self)])

    @property
    def real(self) -> torch.Tensor:
        """True at real tokens, `<cls>` included; bool, shape (cells, tokens)."""
        return ~self.padding
