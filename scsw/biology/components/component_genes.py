"""Which genes attention heads and MLPs take up: scores per component, view and gene."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.components import component_scores as at_tokens
from scsw.biology.components.component_scores import Spike, component_names
from scsw.biology.map.token_sums import TokenSums
from scsw.biology.matched_genes import MATCHED_NULL, neighbours, score_against_neighbours
from scsw.biology.tables import benjamini_hochberg
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.packed import PackedBatch
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.intact import Intact

# Scores are relative to the average of a cell. Below this they are told apart no further, so that
# the logarithm of a head that is off is finite.
_LEAST = 1e-6
_COMPONENT = ["block", "component"]
_NAMED = 10


class GeneSums:
    """Adds up the scores of all components over gene tokens.

    Parameters
    ----------
    model
        scGPT model.
    tokenizer
        Of the cells that are scored.
    spikes
        For each block the spike that its input holds, or None (`component_scores.spikes_seen`).
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, spikes: list[Spike | None]) -> None:
        self.model, self.spikes = model, spikes
        names = component_names(model)
        self.heads = [row for row, (_, name) in enumerate(names) if name != "mlp"]
        self.names = names
        ids = tokenizer.token_ids
        self._bins = TokenSums(ids, 1, 1)
        self._sums = {
            "attention": TokenSums(ids, 1, len(self.heads)),
            "contribution": TokenSums(ids, 1, len(names)),
        }
        # Blocks differ in their spike, and so in the tokens that are left out.
        n_heads = encoder_layers(model)[0].self_attn.num_heads
        self._to_spike = [TokenSums(ids, 1, n_heads) if spike else None for spike in spikes]

    @torch.no_grad()
    def add(self, cells: PackedBatch, intact: Intact) -> None:
        """Add the tokens of some cells; `cells` are on the CPU."""
        genes = cells.genes.numpy()[:, None]  # each token stands alone, none is padding
        real, types = np.ones_like(genes, bool), np.zeros(len(genes), np.int64)
        per_cell = at_tokens.tokens_per_cell(intact)
        attention, contribution = [], []
        for number, layer in enumerate(encoder_layers(self.model)):
            block, spike = intact.blocks[number], self.spikes[number]
            weights = at_tokens.cls_attention(block, intact)
            attention.append(weights * per_cell)
            handed_on = at_tokens.contributions(layer, block, weights)
            contribution.append(at_tokens.over_cell_mean(handed_on, intact))
            if spike is not None:
                tops = at_tokens.spike_tokens(self.model, intact, spike)
                to_spike = at_tokens.attention_to(tops, block, intact) * per_cell
                others = np.ones_like(real)
                others[tops.cpu().numpy()] = False  # attention to itself says nothing
                values = at_tokens.to_numpy(to_spike)[..., None]
                self._to_spike[number].add(genes, others, types, values)
        for view, values in (("attention", attention), ("contribution", contribution)):
            self._sums[view].add(
                genes, real, types, at_tokens.to_numpy(torch.cat(values))[..., None]
            )
        bins = cells.target.double().numpy()[:, None]
        self._bins.add(genes, bins > 0, types, bins[None])

    def means(self) -> list[tuple[str, list[tuple[int, str]], np.ndarray, np.ndarray]]:
        """Return view, components, mean scores (components, genes) and tokens of each gene."""
        found = [
            (view, names, *_mean(self._sums[view]))
            for view, names in (
                ("attention", [self.names[row] for row in self.heads]),
                ("contribution", self.names),
            )
        ]
        for number, sums in enumerate(self._to_spike):
            if sums is not None:
                heads = [self.names[row] for row in self.heads if self.names[row][0] == number]
                found.append(("attention_to_spike", heads, *_mean(sums)))
        return found

    def spike_attention(self) -> pd.Series:
        """Return the mean attention of gene tokens to the spike token, by (block, component)."""
        found = {}
        for number, sums in enumerate(self._to_spike):
            if sums is not None:
                totals, counts = sums.by_group()
                heads = [self.names[row] for row in self.heads if self.names[row][0] == number]
                means = totals[:, 0].sum(1) / max(counts[0].sum(), 1)
                found |= dict(zip(heads, means, strict=True))
        return pd.Series(found, dtype=float)

    def table(self, cells: AnnData, settings: SimpleNamespace) -> pd.DataFrame:
        """Compare every score with that of matched genes.

        Returns
        -------
        pandas.DataFrame
            Contract: ``components.parquet`` without its first three columns.
        """
        symbols = cells.var_names.to_numpy(str)
        rate = np.asarray((cells.X > 0).mean(0)).ravel()
        bin_sums, bin_counts = self._bins.by_group()
        n = bin_counts[0]  # cells that detect the gene among their tokens
        parts = []
        for view, names, scores, tokens in self.means():
            enough = np.flatnonzero((n >= settings.min_cells) & (tokens >= settings.min_cells))
            mean_bin = bin_sums[0, 0, enough] / n[enough]
            matched = None
            if enough.size:
                matched = neighbours(rate[enough], mean_bin, settings.matched_genes)
            for (block, name), values in zip(names, scores[:, enough], strict=True):
                start = {"block": block, "component": name, "view": view, "gene": symbols[enough]}
                counts = {"n_cells": n[enough].astype(np.int64), "score": values}
                tests = score_against_neighbours(np.log(np.maximum(values, _LEAST)), matched)
                parts.append(pd.concat([pd.DataFrame(start | counts), tests], axis=1))
        table = pd.concat(parts, ignore_index=True)
        # The components are searched through, so all of them are in the family.
        table["q"] = table.groupby("view")["p"].transform(benjamini_hochberg)
        return table.assign(null=f"log score: {MATCHED_NULL}")


def _mean(sums: TokenSums) -> tuple[np.ndarray, np.ndarray]:
    totals, counts = sums.by_group()
    return totals[:, 0] / np.maximum(counts[0], 1), counts[0]


def leading_genes(
    table: pd.DataFrame, names: list[tuple[int, str]], symbols: np.ndarray, top: int
) -> np.ndarray:
    """Return which genes lead each component by `contribution`, bool, (components, genes).

    The `top` genes of largest z above 0; ties go by name.
    """
    place = pd.Series(np.arange(symbols.size), index=symbols)
    found = np.zeros((len(names), symbols.size), bool)
    genes_of = dict(list(_strongest_first(table).groupby(_COMPONENT)["gene"]))
    for number, name in enumerate(names):
        if name in genes_of:
            found[number, place[genes_of[name].head(top)]] = True
    return found


def leaders(table: pd.DataFrame, names: list[tuple[int, str]], alpha: float) -> pd.DataFrame:
    """Name the first genes of each component by `contribution`, for the eye.

    Parameters
    ----------
    table
        Contract: ``components.parquet``; without a row where no gene is detected often enough.
    names
        ``(block, component)`` of every component.
    alpha
        Level of q.

    Returns
    -------
    pandas.DataFrame
        Index ``block, component``: ``leading_genes``, at most ten, joined by ``;``, and
        ``n_significant_genes``, those of z above 0 and q ≤ `alpha`.
    """
    order = _strongest_first(table)
    first = order.groupby(_COMPONENT).head(_NAMED).groupby(_COMPONENT)["gene"]
    listed = {name: ";".join(genes) for name, genes in first}
    passed = order[order["q"].le(alpha)].groupby(_COMPONENT).size().to_dict()
    return pd.DataFrame(
        {
            "leading_genes": [listed.get(name, "") for name in names],
            "n_significant_genes": [passed.get(name, 0) for name in names],
        },
        index=pd.MultiIndex.from_tuples(names, names=_COMPONENT),
    )


def _strongest_first(table: pd.DataFrame) -> pd.DataFrame:
    """Return the genes of `contribution` with a z above 0, largest z first, ties by name."""
    mine = table[table["view"].eq("contribution") & table["z"].gt(0)]
    return mine.sort_values(["z", "gene"], ascending=[False, True], kind="stable")
