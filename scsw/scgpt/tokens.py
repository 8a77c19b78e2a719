"""Cells as scGPT tokens: gene ids and binned values, `<cls>` first, padded per batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from anndata import AnnData

from scsw.scgpt.binning import bin_counts

PAD_TOKEN, CLS_TOKEN = "<pad>", "<cls>"
PAD_VALUE, MASK_VALUE, CLS_VALUE = -2.0, -1.0, 0.0

# Draws of different kinds for one cell must not share random numbers.
_TIES, _GENES, _MASK, _ORDER = range(4)


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
        What the model is shown: bins, `MASK_VALUE` where hidden, `PAD_VALUE` at padding; float32.
    target
        Bins before hiding, float32.
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


class Tokenizer:
    """Turns rows of a harmonised cohort into `TokenBatch` objects.

    Every random draw (ties between bins, genes above `max_seq_len`, hidden positions) is a function
    of ``(seed, epoch, cell_id)`` alone, so that no result depends on batches, order or workers.

    Parameters
    ----------
    cohort
        Harmonised cohort with raw counts in CSR ``X`` and ``var["token_id"]``.
    labels
        Cell types in the order of the classifier.
    vocabulary
        Token ids by token.
    n_bins, max_seq_len, include_zero_gene
        As in the model's ``args.json``.
    seed
        Seed of all draws.
    """

    def __init__(
        self,
        cohort: AnnData,
        labels: list[str],
        vocabulary: dict[str, int],
        *,
        n_bins: int,
        max_seq_len: int,
        include_zero_gene: bool,
        seed: int,
    ) -> None:
        self.counts = cohort.X
        self.token_ids = cohort.var["token_id"].to_numpy(np.int64)
        self.pad_id, self.cls_id = vocabulary[PAD_TOKEN], vocabulary[CLS_TOKEN]
        self.n_bins, self.max_seq_len, self.include_zero_gene = (
            n_bins,
            max_seq_len,
            include_zero_gene,
        )
        self.seed = seed
        position = {name: index for index, name in enumerate(labels)}
        # A type that the model never saw gets -1: it can be embedded but not scored.
        self.labels = cohort.obs["cell_type"].map(position).fillna(-1).to_numpy(np.int64)
        self.cell_keys = np.array([_cell_key(name) for name in cohort.obs["cell_id"]], np.uint64)

    def __len__(self) -> int:
        return self.counts.shape[0]

    def batch(self, cells: np.ndarray, *, mask_ratio: float = 0.0, epoch: int = 0) -> TokenBatch:
        """Tokenise some cells.

        Parameters
        ----------
        cells
            Rows of the cohort, shape (cells,).
        mask_ratio
            Share of each cell's gene values to hide; at least one if above 0.
        epoch
            Number that renews the draws while training.
        """
        tokens = [self._cell(int(cell), mask_ratio, epoch) for cell in cells]
        length = max(genes.size for genes, _, _ in tokens)
        shape = (len(tokens), length)
        genes = np.full(shape, self.pad_id, np.int64)
        target = np.full(shape, PAD_VALUE, np.float32)
        hidden, padding = np.zeros(shape, bool), np.ones(shape, bool)
        for row, (cell_genes, bins, cell_hidden) in enumerate(tokens):
            n = cell_genes.size
            genes[row, :n], target[row, :n] = cell_genes, bins
            hidden[row, :n], padding[row, :n] = cell_hidden, False
        return TokenBatch(
            cells=torch.from_numpy(np.array(cells, np.int64)),
            genes=torch.from_numpy(genes),
            values=torch.from_numpy(np.where(hidden, np.float32(MASK_VALUE), target)),
            target=torch.from_numpy(target),
            padding=torch.from_numpy(padding),
            hidden=torch.from_numpy(hidden),
            labels=torch.from_numpy(self.labels[cells]),
        )

    def batches(
        self, cells: np.ndarray, batch_size: int, *, mask_ratio: float = 0.0
    ) -> Iterator[TokenBatch]:
        """Yield batches of the given cells in their order."""
        for start in range(0, len(cells), batch_size):
            yield self.batch(cells[start : start + batch_size], mask_ratio=mask_ratio)

    def shuffled(self, cells: np.ndarray, epoch: int) -> np.ndarray:
        """Return the cells in the order of one training epoch."""
        return np.random.default_rng([self.seed, _ORDER, epoch]).permutation(cells)

    def _cell(self, cell: int, mask_ratio: float, epoch: int) -> tuple[np.ndarray, ...]:
        start, stop = self.counts.indptr[cell], self.counts.indptr[cell + 1]
        columns, counts = self.counts.indices[start:stop], self.counts.data[start:stop]
        bins = bin_counts(counts, self.n_bins, self._rng(cell, _TIES, epoch))
        if self.include_zero_gene:
            all_bins = np.zeros(self.token_ids.size, np.int64)
            all_bins[columns] = bins
            columns, bins = np.arange(self.token_ids.size), all_bins
        if columns.size > self.max_seq_len - 1:
            keep = self._rng(cell, _GENES, epoch).choice(
                columns.size, self.max_seq_len - 1, replace=False
            )
            keep.sort()
            columns, bins = columns[keep], bins[keep]
        genes = np.concatenate([[self.cls_id], self.token_ids[columns]])
        values = np.concatenate([[CLS_VALUE], bins]).astype(np.float32)
        hidden = np.zeros(genes.size, bool)
        if mask_ratio > 0 and columns.size:
            n_hidden = max(1, round(mask_ratio * columns.size))
            chosen = self._rng(cell, _MASK, epoch).choice(columns.size, n_hidden, replace=False)
            hidden[1 + chosen] = True  # never <cls>
        return genes, values, hidden

    def _rng(self, cell: int, kind: int, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, kind, epoch, int(self.cell_keys[cell])])


def _cell_key(cell_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(cell_id.encode(), digest_size=8).digest(), "little")
