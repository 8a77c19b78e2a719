"""Cells one after the other, without padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scsw.scgpt.tokens.token_batch import TokenBatch


@dataclass
class PackedBatch:
    """One batch of cells whose tokens follow one another, so that no padding is computed.

    Attributes
    ----------
    cells
        Row of each cell in the cohort that was tokenised, int64, shape (cells,).
    lengths
        Tokens of each cell, `<cls>` included; they stay on the CPU.
    offsets
        First token of each cell, and the number of tokens at the end; int32, shape (cells + 1,).
    genes
        Token ids, int64, shape (tokens,); `<cls>` is the first of each cell.
    values
        What the model is shown: bins, and the mask value where hidden; float32, shape (tokens,).
    levels
        Every number that may be among `values`, ascending, float32, shape (levels,).
    target
        Bins before hiding, float32, shape (tokens,).
    hidden
        Positions whose value is hidden, ascending, int64, shape (hidden tokens,).
    labels
        Cell type index, int64, shape (cells,); -1 for a type that the model does not know.
    batch_labels
        Index of each cell's experimental batch, int64, shape (cells,); -1 where unknown.
    """

    cells: Tensor
    lengths: list[int]
    offsets: Tensor
    genes: Tensor
    values: Tensor
    levels: Tensor
    target: Tensor
    hidden: Tensor
    labels: Tensor
    batch_labels: Tensor

    @property
    def longest(self) -> int:
        """Tokens of the longest cell."""
        return max(self.lengths)

    @property
    def n_tokens(self) -> int:
        """Tokens of all cells together."""
        return sum(self.lengths)

    def to(self, device: torch.device) -> PackedBatch:
        """Return the batch on `device`; from pinned memory the copy does not block."""
        return self._mapped(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> PackedBatch:
        """Return the batch in page-locked memory, from which a GPU copies at full speed."""
        return self._mapped(Tensor.pin_memory)

    def padded(self, pad_id: int, pad_value: float) -> TokenBatch:
        """Return the same cells padded to the longest.

        Parameters
        ----------
        pad_id
            Token id of `<pad>`.
        pad_value
            Value at padding.
        """
        lengths = self.offsets.diff()
        is_token = torch.arange(self.longest, device=lengths.device) < lengths[:, None]
        hidden = torch.zeros_like(self.genes, dtype=torch.bool)
        hidden[self.hidden] = True

        def spread(tokens: Tensor, fill: float) -> Tensor:
            return tokens.new_full(is_token.shape, fill).masked_scatter_(is_token, tokens)

        return TokenBatch(
            cells=self.cells,
            genes=spread(self.genes, pad_id),
            values=spread(self.values, pad_value),
            target=spread(self.target, pad_value),
            padding=~is_token,
            hidden=spread(hidden, False),
            labels=self.labels,
        )

    # To another process it goes as plain arrays through a pipe. Torch would open a shared file for
    # each tensor, which takes longer than making the batch, and needs room in /dev/shm.
    def __getstate__(self) -> dict[str, Any]:
        return {name: x.numpy() if torch.is_tensor(x) else x for name, x in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, x in state.items():
            setattr(self, name, torch.from_numpy(x) if isinstance(x, np.ndarray) else x)

    def _mapped(self, function) -> PackedBatch:
        tensors = {name: x for name, x in vars(self).items() if torch.is_tensor(x)}
        return replace(self, **{name: function(x) for name, x in tensors.items()})
