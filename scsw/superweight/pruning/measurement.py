"""The effects of edits on a model's test cells, summed by donor, cell type and region."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor, nn

from scsw.scgpt.kernels.available import has_kernels
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.ablation import LARGE, Readout, ablated, half_layers
from scsw.superweight.pruning.edits import Edit
from scsw.superweight.pruning.intact import Intact, intact_parts
from scsw.superweight.pruning.metrics import EffectSums
from scsw.superweight.pruning.neighbourhood import Embeddings

# Relative error of the changes of a cell's logits that the floors are computed from: several times
# that of benchmarks/ablation.py, which compares the largest changes with float64.
_ERROR, _ERROR_IN_HALF = 1e-4, 3e-2


@dataclass
class Measurement:
    """The test cells of a model, on which edits are measured.

    Attributes
    ----------
    model, tokenizer, cells
        The model and its test cells, with their tokenizer.
    n_types
        Cell types of the classifier.
    device
        Where the model is.
    """

    model: nn.Module
    tokenizer: Tokenizer
    cells: AnnData
    n_types: int
    device: torch.device

    def __post_init__(self) -> None:
        self.scored = np.flatnonzero(self.tokenizer.labels >= 0)
        keys = self.cells.obs[["donor_id", "cell_type", "region"]].astype(str).iloc[self.scored]
        codes, self.places = group_codes(keys)
        self._codes = np.full(len(self.tokenizer), -1)
        self._codes[self.scored] = codes
        heads = encoder_layers(self.model)[0].self_attn.num_heads
        self._fast = has_kernels(self.device, torch.bfloat16, self.model.d_model, heads)
        self._layers = encoder_layers(self.model)
        self._half = half_layers(self.model) if self._fast else None
        self._readout = Readout(self.model)

    def of(
        self, groups: list[list[Edit]], settings: SimpleNamespace, compute: SimpleNamespace
    ) -> pd.DataFrame:
        """Measure groups of edits.

        Parameters
        ----------
        groups
            Of `groups_of_edits`.
        settings, compute
            Sections ``prune`` and ``compute`` of the config.

        Returns
        -------
        pandas.DataFrame
            Contract: ``effects.parquet`` without its first three columns.
        """
        rates = self._detection_rates()
        sums = [self._sums(group, rates) for group in groups]
        moved = Embeddings()
        for cells, intact in self._passes(compute, 0.0):
            self._add_cells(groups, sums, cells, intact, moved)
        whole = [place for place, group in enumerate(groups) if group[0].detailed]
        if whole:
            for cells, intact in self._passes(compute, settings.mask_ratio):
                for place in whole:
                    self._add_expression(groups[place], sums[place], cells, intact)
        kept = moved.kept_sums(self._codes[self.scored], len(self.places))
        tables = [self._rows(*each, kept) for each in zip(groups, sums, strict=True)]
        return pd.concat(tables, ignore_index=True)

    def _passes(self, compute: SimpleNamespace, mask_ratio: float) -> Iterator:
        given = self.model, self.tokenizer, self.scored, compute, self.device
        return intact_parts(*given, mask_ratio)

    def _sums(self, group: list[Edit], rates: Tensor) -> EffectSums:
        detailed = group[0].detailed
        return EffectSums(
            len(group),
            len(self.places),
            self.n_types,
            detailed=detailed,
            relative_error=_ERROR_IN_HALF if self._in_half(group) else _ERROR,
            detection_rates=rates if detailed else None,
            device=self.device,
        )

    def _in_half(self, group: list[Edit]) -> bool:
        """Whether a group goes through the GPU kernels: its effects are ranks and comparisons."""
        return self._fast and not group[0].exact

    def _add_cells(
        self,
        groups: list[list[Edit]],
        sums: list[EffectSums],
        cells: PackedBatch,
        intact: Intact,
        moved: Embeddings,
    ) -> None:
        codes = torch.from_numpy(self._codes[cells.cells.numpy()]).to(self.device)
        labels, embeddings = cells.labels.to(self.device), intact.cells.double()
        shuffled = self._shuffled(cells).to(self.device)
        half = None
        for group, added in zip(groups, sums, strict=True):
            large = True
            if self._in_half(group):
                half = intact.in_half() if half is None else half
                change = ablated(self._half, half, group, shuffled=shuffled).cells
                logits = self._readout.types(embeddings, change)
                large = not bool((logits[1].abs() < LARGE).all())
            if large:  # bf16 may lose its digits where attention turns to other tokens
                change = ablated(self._layers, intact, group, shuffled=shuffled).cells
                logits = self._readout.types(embeddings, change)
            added.add_cells(*logits, labels, codes, embeddings, change)
            moved.add(group, change)
        moved.add_intact(embeddings)

    def _add_expression(
        self, group: list[Edit], sums: EffectSums, cells: PackedBatch, intact: Intact
    ) -> None:
        at = cells.hidden.to(self.device)
        shuffled = self._shuffled(cells).to(self.device)
        change = ablated(self._layers, intact, group, at=at, shuffled=shuffled).tokens
        embs = None if intact.batch_embs is None else intact.batch_embs[at]
        predicted, change = self._readout.expression(intact.tokens[at], change, embs)
        cell = np.repeat(np.arange(len(cells.lengths)), cells.lengths)[cells.hidden.numpy()]
        codes = self._codes[cells.cells.numpy()]
        sums.add_expression(
            predicted,
            cells.target.to(self.device)[at].double(),
            change,
            torch.from_numpy(cell).to(self.device),
            cells.genes.to(self.device)[at],
            torch.from_numpy(codes).to(self.device),
        )

    def _shuffled(self, cells: PackedBatch) -> Tensor:
        """Return a permutation of every cell's tokens; it hangs on the cell alone."""
        keys, first = self.tokenizer.cell_keys[cells.cells.numpy()], cells.offsets[:-1].numpy()
        parts = [
            start + np.random.default_rng(int(key)).permutation(n)
            for key, start, n in zip(keys, first, cells.lengths, strict=True)
        ]
        return torch.from_numpy(np.concatenate(parts).astype(np.int64))

    def _detection_rates(self) -> Tensor:
        """Return the share of the test cells that detect a gene, by token id."""
        ids = self.tokenizer.token_ids
        rates = np.zeros(max(int(ids.max()), self.tokenizer.cls_id, self.tokenizer.pad_id) + 1)
        rates[ids] = np.asarray((self.cells.X > 0).mean(0)).ravel()
        return torch.from_numpy(rates)

    def _rows(
        self, group: list[Edit], sums: EffectSums, kept: dict[Edit, np.ndarray]
    ) -> pd.DataFrame:
        columns, parts = sums.columns(), []
        for place, edit in enumerate(group):
            own = {name: values[place] for name, values in columns.items()}
            own = {name: list(x) if x.ndim > 1 else x for name, x in own.items()}
            if edit in kept:
                own["sum_neighbours_kept"] = kept[edit]
            table = pd.DataFrame(_identity(edit) | dict(self.places) | own)
            parts.append(table[table["n_cells"] > 0])
        return pd.concat(parts, ignore_index=True)


def group_codes(keys: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Assign each cell the number of its donor × cell type × region group.

    Returns
    -------
    numpy.ndarray
        Group of each cell.
    pandas.DataFrame
        ``donor_id, cell_type, region`` of each group, sorted.
    """
    names = ["donor_id", "cell_type", "region"]
    grouped = keys.groupby(names, observed=True)
    return grouped.ngroup().to_numpy(), grouped.size().reset_index()[names]


def _identity(edit: Edit) -> dict[str, object]:
    """Return the columns that tell which edit it is; -1 for a coordinate that is not used."""
    return {
        "weight_set": edit.weight_set,
        "candidate_id": edit.name,
        "of": edit.of,
        "family": edit.family,
        "block": edit.block,
        "row": -1 if edit.row is None else edit.row,
        "column": -1 if edit.column is None else edit.column,
        "mode": edit.mode,
        "scale": edit.scale,
        "draw": edit.draw,
    }
