"""The gene profile of each candidate's hidden unit: at which genes' tokens it fires.

Channels of models that began with different random weights are permuted, so that their coordinates
cannot be compared; what a unit reads can be (contract: ``profiles.parquet``). All weights of one
column read the same, so the profile is the unit's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from scsw.scgpt.forward import forward_padded
from scsw.superweight.capture import capture
from scsw.superweight.observe import HIDDEN, Observation
from scsw.superweight.search.discovery import DiscoveryCells, scgpt_sites
from scsw.superweight.search.matched_units import COLUMNS as UNIT
from scsw.superweight.search.matched_units import matched_units

COLUMNS = [*UNIT, "gene", "profile"]


def candidate_units(
    family: pd.DataFrame, seen: Observation, *, n_controls: int, seed: int
) -> pd.DataFrame:
    """Return the candidates' hidden units and controls that fire as often and as strongly.

    Parameters
    ----------
    family
        The frozen family, with ``block, column``.
    seen
        What the pass over the intact model saw, with moments.
    n_controls, seed
        As for `matched_units`, whose table is returned.
    """
    blocks = [name.split(".") for name in seen.sites if name.endswith(f".{HIDDEN}")]
    sites = [seen.sites[f"{block}.{HIDDEN}"] for block in range(len(blocks))]
    return matched_units(
        [1 - site.zero_share() for site in sites],  # after a ReLU, what is not 0 is above it
        [site.mean() for site in sites],
        zip(family["block"], family["column"], strict=True),
        n_controls=n_controls,
        seed=seed,
    )


def profile_table(
    model: nn.Module, cells: DiscoveryCells, units: pd.DataFrame, *, min_cells: int
) -> pd.DataFrame:
    """Return the mean activation of some hidden units at each gene's tokens.

    Parameters
    ----------
    model, cells
        The model and the cells.
    units
        Table of `matched_units`.
    min_cells
        Genes detected in fewer of the cells are left out.

    Returns
    -------
    pandas.DataFrame
        The columns of `units`, then ``gene, profile``; one row per unit and gene.
    """
    vocabulary = int(cells.tokenizer.token_ids.max()) + 1
    sums = np.zeros((len(units), vocabulary))
    counts = np.zeros(vocabulary, np.int64)
    kept: dict[str, torch.Tensor] = {}
    points = scgpt_sites(model, [HIDDEN])
    points = {f"{block}.{HIDDEN}": points[f"{block}.{HIDDEN}"] for block in set(units["block"])}
    with torch.no_grad(), capture(points, kept.__setitem__):
        for batch in cells:
            forward_padded(model, batch)
            gene_tokens = batch.real & (batch.genes < vocabulary)
            gene_tokens[:, 0] = False
            genes = batch.genes[gene_tokens].cpu().numpy()
            counts += np.bincount(genes, minlength=vocabulary)
            for block, own in units.groupby("block").indices.items():
                columns = torch.as_tensor(units["column"].to_numpy()[own]).to(cells.device)
                h = kept[f"{block}.{HIDDEN}"][gene_tokens][:, columns].double().cpu().numpy()
                for place, values in zip(own, h.T, strict=True):
                    sums[place] += np.bincount(genes, values, vocabulary)
    tokens = cells.tokenizer.token_ids
    wanted = counts[tokens] >= min_cells
    genes, tokens = cells.cells.var_names[wanted], tokens[wanted]
    means = sums[:, tokens] / np.maximum(counts[tokens], 1)
    table = units.loc[np.repeat(units.index, len(genes))].reset_index(drop=True)
    return table.assign(gene=np.tile(genes.to_numpy(), len(units)), profile=means.ravel())[COLUMNS]
