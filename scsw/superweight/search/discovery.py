"""scGPT as the search core sees it: its blocks, and the discovery cells as batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor, nn

from scsw.scgpt.model import encoder_layers, read_vocabulary
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import encoder_points
from scsw.superweight.norms import NormsAround
from scsw.superweight.origins import BlockParts

GROUPINGS = {"cell_type": "cell_type", "donor": "donor_id", "region": "region"}
TOKEN_KINDS = ["<cls>", "genes"]


class DiscoveryCells:
    """Batches of the discovery cells, which can be walked more than once.

    Parameters
    ----------
    cells, tokenizer
        The cells and their tokenizer.
    batch_size
        Cells per batch.
    device
        Where the batches are wanted.
    rows
        Some of the cells; all by default.

    Attributes
    ----------
    names
        Names of the groups of each grouping, in order.
    """

    def __init__(
        self,
        cells: AnnData,
        tokenizer: Tokenizer,
        batch_size: int,
        device: torch.device,
        rows: np.ndarray | None = None,
    ) -> None:
        self.cells, self.tokenizer, self.size, self.device = cells, tokenizer, batch_size, device
        self.rows = np.arange(len(tokenizer)) if rows is None else rows
        codes = {
            name: pd.Categorical(cells.obs[column].astype(str))
            for name, column in GROUPINGS.items()
        }
        self.names = {name: list(code.categories) for name, code in codes.items()}
        self._codes = {
            name: torch.tensor(code.codes, dtype=torch.int64, device=device)
            for name, code in codes.items()
        }

    def __iter__(self) -> Iterator[TokenBatch]:
        for batch in self.tokenizer.batches(self.rows, self.size):
            yield batch.to(self.device)

    def sample(self, n: int) -> DiscoveryCells:
        """Return at most `n` cells, spread evenly over the donors in the order of their names."""
        order = np.lexsort((self.tokenizer.cell_keys, self.cells.obs["donor_id"].astype(str)))
        chosen = np.unique(np.linspace(0, order.size - 1, min(n, order.size)).round().astype(int))
        rows = np.sort(order[chosen])
        return DiscoveryCells(self.cells, self.tokenizer, self.size, self.device, rows)

    def groups(self, batch: TokenBatch) -> dict[str, Tensor]:
        """Return the group of each cell of a batch, by grouping."""
        return {name: codes[batch.cells] for name, codes in self._codes.items()}

    def tokens_at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the token id and the bin at some places.

        Parameters
        ----------
        places
            Cell (as walked) and token, int64, shape (places, 2).
        """
        genes = np.zeros(len(places), np.int64)
        bins = np.zeros(len(places), np.float32)
        wanted = np.unique(places[:, 0])
        for start in range(0, wanted.size, self.size):
            own = wanted[start : start + self.size]
            batch = self.tokenizer.batch(self.rows[own])
            inside = np.flatnonzero(np.isin(places[:, 0], own))
            at = np.searchsorted(own, places[inside, 0]), places[inside, 1]
            genes[inside], bins[inside] = batch.genes.numpy()[at], batch.target.numpy()[at]
        return genes, bins


def real_tokens(batch: TokenBatch) -> Tensor:
    """Return True at real tokens."""
    return batch.real


def cls_tokens(batch: TokenBatch) -> Tensor:
    """Return True at `<cls>`, which is the first token of each cell."""
    first = torch.zeros_like(batch.padding)
    first[:, 0] = True
    return first


def chosen_cells(batch: TokenBatch, chosen: Tensor) -> TokenBatch:
    """Return some cells of a batch; `chosen` is bool, shape (cells,)."""
    return TokenBatch(*[getattr(batch, each.name)[chosen] for each in fields(batch)])


def without_cls(batch: TokenBatch) -> TokenBatch:
    """Return a batch without `<cls>`, so that the model is never shown it."""
    names = ("genes", "values", "target", "padding", "hidden")
    return replace(batch, **{name: getattr(batch, name)[:, 1:] for name in names})


def scgpt_blocks(model: nn.Module) -> list[BlockParts]:
    """Return the modules of each encoder block that spikes are followed through."""
    names = [f"transformer_encoder.layers.{block}" for block in range(len(encoder_layers(model)))]
    return [
        BlockParts(
            f"{name}.linear2",
            NormsAround(f"{name}.norm1", f"{name}.norm2"),
            f"{name}.self_attn.out_proj",
        )
        for name in names
    ]


def scgpt_sites(model: nn.Module, sites: list[str]) -> dict[str, tuple[nn.Module, str]]:
    """Return the capture points of further sites of every block."""
    return encoder_points(encoder_layers(model), sites)


def token_names(folder: str | Path) -> dict[int, str]:
    """Return the token of each id."""
    return {index: token for token, index in read_vocabulary(folder).items()}
