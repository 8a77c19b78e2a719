"""Cells as scGPT tokens: gene ids and binned values, `<cls>` first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from anndata import AnnData

from scsw.scgpt.tokens.binning import bin_counts, bin_edges
from scsw.scgpt.tokens.count_rows import CountRows, MemoryRows
from scsw.scgpt.tokens.draws import ALL_GENES, DETECTED_GENES, CellDraws, cell_key, lower_half
from scsw.scgpt.tokens.lowest import limits_passed
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.token_batch import TokenBatch

PAD_TOKEN, CLS_TOKEN = "<pad>", "<cls>"
# Those of the continuous style, in which scGPT's public checkpoints were trained.
PAD_VALUE, MASK_VALUE, CLS_VALUE = -2.0, -1.0, 0.0


class Tokenizer:
    """Turns rows of a harmonised cohort into tokens, cell after cell or padded.

    Every random draw (ties between bins, genes above `max_seq_len`, hidden positions) is a function
    of ``(seed, epoch, cell_id)`` alone, so that no result depends on batches, order or workers.

    Parameters
    ----------
    cohort
        Harmonised cohort with ``var["token_id"]``; its ``X`` may be absent if `rows` are given.
    labels
        Cell types in the order of the classifier.
    vocabulary
        Token ids by token.
    n_bins, max_seq_len, include_zero_gene, pad_value, mask_value
        As in the model's ``args.json``.
    seed
        Seed of all draws.
    batches
        Experimental batches in the order of the model's batch labels; none by default.
    rows
        Raw counts of the cohort's cells; by default those in ``X`` (CSR).

    Attributes
    ----------
    cohort
        The cohort: row `i` is cell `i` of the tokenizer.
    labels, batch_labels
        Cell type and experimental batch of each cell, int64, shape (cells,); -1 where unknown.
    cell_keys
        Number of each cell by its name, uint64, shape (cells,).
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
        pad_value: float = PAD_VALUE,
        mask_value: float = MASK_VALUE,
        batches: Sequence[str] | None = None,
        rows: CountRows | None = None,
    ) -> None:
        self.cohort = cohort
        self.rows = MemoryRows(cohort.X) if rows is None else rows
        self.token_ids = cohort.var["token_id"].to_numpy(np.int64)
        self.pad_id, self.cls_id = vocabulary[PAD_TOKEN], vocabulary[CLS_TOKEN]
        self.n_bins, self.max_seq_len = n_bins, max_seq_len
        self.include_zero_gene = include_zero_gene
        self.pad_value, self.mask_value = float(pad_value), float(mask_value)
        self.seed = seed
        # A type that the model never saw gets -1: it can be embedded but not scored.
        self.labels = positions(cohort.obs["cell_type"], labels)
        self.batch_labels = np.full(len(self), -1)
        if batches is not None:
            self.batch_labels = positions(cohort.obs["batch"], batches)
        self.cell_keys = np.array([cell_key(name) for name in cohort.obs["cell_id"]], np.uint64)
        self._draws = CellDraws(seed)
        levels = np.unique([self.mask_value, CLS_VALUE, *range(n_bins)])
        self._levels = torch.from_numpy(levels.astype(np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def packed(self, cells: np.ndarray, *, mask_ratio: float = 0.0, epoch: int = 0) -> PackedBatch:
        """Tokenise some cells, one after the other.

        Parameters
        ----------
        cells
            Rows of the cohort, shape (cells,).
        mask_ratio
            Share of each cell's gene values to hide; at least one if above 0.
        epoch
            Number that renews the draws while training.
        """
        cells = np.array(cells, np.int64, order="C")
        bounds, columns, bins, hidden = self._genes(cells, mask_ratio, epoch)
        offsets = bounds + np.arange(bounds.size)  # each cell has <cls> before its genes
        is_gene = np.ones(offsets[-1], bool)
        is_gene[offsets[:-1]] = False
        place = np.flatnonzero(is_gene)
        genes = np.full(offsets[-1], self.cls_id)
        genes[place] = self.token_ids.take(columns)
        target = np.full(offsets[-1], CLS_VALUE, np.float32)
        target[place] = bins
        hidden = place[hidden]
        values = target.copy()
        values[hidden] = self.mask_value
        return PackedBatch(
            cells=torch.from_numpy(cells),
            lengths=np.diff(offsets).tolist(),
            offsets=torch.from_numpy(offsets.astype(np.int32)),
            genes=torch.from_numpy(genes),
            values=torch.from_numpy(values),
            levels=self._levels,
            target=torch.from_numpy(target),
            hidden=torch.from_numpy(hidden),
            labels=torch.from_numpy(self.labels[cells]),
            batch_labels=torch.from_numpy(self.batch_labels[cells]),
        )

    def batch(self, cells: np.ndarray, *, mask_ratio: float = 0.0, epoch: int = 0) -> TokenBatch:
        """Tokenise some cells, padded to the longest; else as `packed`."""
        packed = self.packed(cells, mask_ratio=mask_ratio, epoch=epoch)
        return packed.padded(self.pad_id, self.pad_value)

    def batches(
        self, cells: np.ndarray, batch_size: int, *, mask_ratio: float = 0.0
    ) -> Iterator[TokenBatch]:
        """Yield batches of the given cells in their order, padded."""
        for packed in self.packed_batches(cells, batch_size, mask_ratio=mask_ratio):
            yield packed.padded(self.pad_id, self.pad_value)

    def packed_batches(
        self, cells: np.ndarray, batch_size: int, *, mask_ratio: float = 0.0
    ) -> Iterator[PackedBatch]:
        """Yield batches of the given cells in their order, without padding."""
        for start in range(0, len(cells), batch_size):
            yield self.packed(cells[start : start + batch_size], mask_ratio=mask_ratio)

    def _genes(
        self, cells: np.ndarray, mask_ratio: float, epoch: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the genes of each cell that become tokens: bounds, columns, bins, and the hidden.

        One number is drawn for each detected gene: its upper half tells whether the gene is kept
        and hidden, its lower half its bin if it lies on several edges.
        """
        bounds, columns, counts = self.rows.rows(cells)
        keys = self.cell_keys[cells]
        ties = numbers = self._draws.numbers(keys, bounds, DETECTED_GENES, epoch)
        edges = bin_edges(counts, bounds, self.n_bins)
        if self.include_zero_gene:
            bounds, columns, counts, ties = self._with_zeros(bounds, columns, counts, ties)
            numbers = self._draws.numbers(keys, bounds, ALL_GENES, epoch)
        kept, sizes, hidden = self._chosen(bounds, numbers, mask_ratio)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        bins = bin_counts(counts.take(kept), bounds, edges, lower_half(ties.take(kept)))
        return bounds, columns.take(kept), bins, hidden

    def _with_zeros(
        self, bounds: np.ndarray, columns: np.ndarray, *of_detected: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Return bounds and columns of all genes, and values that are 0 where none is detected."""
        n_cells, n_genes = bounds.size - 1, self.token_ids.size
        place = np.repeat(np.arange(n_cells) * n_genes, np.diff(bounds)) + columns
        values = [np.zeros(n_cells * n_genes, x.dtype) for x in of_detected]
        for every, own in zip(values, of_detected, strict=True):
            every[place] = own
        return np.arange(n_cells + 1) * n_genes, np.tile(np.arange(n_genes), n_cells), *values

    def _chosen(
        self, bounds: np.ndarray, numbers: np.ndarray, mask_ratio: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the genes that become tokens, how many of each cell, and which of them are hidden.

        The genes of lowest number are kept, and the lowest of these are hidden: both are subsets
        in which every gene has the same chance.
        """
        n_genes = np.diff(bounds)
        sizes = np.minimum(n_genes, self.max_seq_len - 1)
        n_hidden = np.zeros_like(sizes)
        if mask_ratio > 0:
            n_hidden = np.clip(np.rint(mask_ratio * sizes).astype(np.int64), 1, sizes)
        elif (sizes == n_genes).all():
            return np.arange(bounds[-1]), sizes, np.zeros(0, np.int64)
        passed = limits_passed(numbers, bounds, np.stack([n_hidden, sizes], axis=1))
        kept = np.flatnonzero(passed < 2)
        return kept, sizes, np.flatnonzero(passed.take(kept) == 0)


def positions(values: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the place of each value among some names, int64; -1 where it is not among them."""
    place = {name: index for index, name in enumerate(names)}
    return np.array([place.get(str(value), -1) for value in values], np.int64)
