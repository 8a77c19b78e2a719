"""The genes that can be scored over all cells and in each cell type, with those that are alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from anndata import AnnData

from scsw.biology.map.token_sums import TokenSums
from scsw.biology.matched_genes import neighbours, score_against_neighbours


@dataclass(frozen=True)
class Stratum:
    """Genes detected in enough cells of a type.

    Attributes
    ----------
    cell_type
        A type, or ``all``.
    own
        Its places among the types.
    genes
        Places of the genes that are scored, shape (scored,).
    n_cells, detection_rate, mean_bin
        Of these genes: cells that detect them among their tokens, share of cells that detect them,
        and mean bin where detected; shape (scored,).
    matched
        Of `neighbours`.
    """

    cell_type: str
    own: slice
    genes: np.ndarray
    n_cells: np.ndarray
    detection_rate: np.ndarray
    mean_bin: np.ndarray
    matched: np.ndarray | None

    def mean(self, sums: np.ndarray) -> np.ndarray:
        """Return the mean over cells of the scored genes, shape (scored,).

        Parameters
        ----------
        sums
            By type and gene, shape (types, genes), or of these cells by gene, shape (genes,).
        """
        sums = sums[self.own].sum(0) if sums.ndim > 1 else sums
        return sums[self.genes] / self.n_cells

    def table(self, names: np.ndarray, scores: np.ndarray, **constant: object) -> pd.DataFrame:
        """Return one row per scored gene with its score, z and p against matched genes.

        Parameters
        ----------
        names
            Names of all genes.
        scores
            Shape (scored,).
        **constant
            Columns that are the same in all rows.
        """
        table = pd.DataFrame(
            {
                **constant,
                "cell_type": self.cell_type,
                "gene": names[self.genes],
                "n_cells": self.n_cells.astype(np.int64),
                "detection_rate": self.detection_rate,
                "mean_bin": self.mean_bin,
                "score": scores,
            }
        )
        return pd.concat([table, score_against_neighbours(scores, self.matched)], axis=1)


@dataclass(frozen=True)
class CellGroups:
    """The cells by donor and type, and the genes that they detect.

    Attributes
    ----------
    genes
        Names of all genes, shape (genes,).
    types, donors
        Names, sorted.
    type_of
        Type of each cell, int64, shape (cells,).
    group_of
        Its donor and type, as ``donor * len(types) + type``.
    detected
        Cells that detect a gene, shape (types, genes).
    """

    genes: np.ndarray
    types: list[str]
    donors: list[str]
    type_of: np.ndarray
    group_of: np.ndarray
    detected: np.ndarray

    @classmethod
    def of(cls, cells: AnnData) -> CellGroups:
        """Group the cells of a harmonised cohort."""
        types = pd.Categorical(cells.obs["cell_type"].astype(str))
        donors = pd.Categorical(cells.obs["donor_id"].astype(str))
        names = list(types.categories), list(donors.categories)
        type_of = types.codes.astype(np.int64)
        group_of = donors.codes.astype(np.int64) * len(names[0]) + type_of
        positive = cells.X > 0
        own = [np.asarray(positive[type_of == i].sum(0)).ravel() for i in range(len(names[0]))]
        return cls(cells.var_names.to_numpy(str), *names, type_of, group_of, np.array(own))

    @property
    def n_groups(self) -> int:
        """Donors times types."""
        return len(self.types) * len(self.donors)

    def by_donor(self, of_groups: np.ndarray) -> np.ndarray:
        """Give an array of shape (…, groups, genes) the shape (…, donors, types, genes)."""
        shape = (len(self.donors), len(self.types), of_groups.shape[-1])
        return of_groups.reshape(*of_groups.shape[:-2], *shape)


def strata(
    counts: np.ndarray, bins: TokenSums, groups: CellGroups, settings: SimpleNamespace
) -> Iterator[Stratum]:
    """Yield ``all`` and each cell type, as far as a gene can be scored there.

    Parameters
    ----------
    counts
        Cells that detect a gene among the tokens that were scored, shape (types, genes).
    bins
        Sums of bins by type and gene.
    groups
        The cells.
    settings
        Section ``map``: ``min_cells, matched_genes``.
    """
    (bin_sums,), bin_counts = bins.by_group()
    n_cells = np.bincount(groups.type_of, minlength=len(groups.types))
    places = [("all", slice(None))]
    places += [(name, slice(i, i + 1)) for i, name in enumerate(groups.types)]
    for name, own in places:
        n = counts[own].sum(0)
        genes = np.flatnonzero(n >= settings.min_cells)
        if not genes.size:
            continue
        rate = groups.detected[own].sum(0)[genes] / n_cells[own].sum()
        mean_bin = bin_sums[own].sum(0)[genes] / bin_counts[own].sum(0)[genes]
        matched = neighbours(rate, mean_bin, settings.matched_genes)
        yield Stratum(name, own, genes, n[genes], rate, mean_bin, matched)
