"""The gene profile of each candidate: which genes' tokens feed it, beside random weights.

Channels of models that began with different random weights are permuted, so that their coordinates
cannot be compared; what a weight reads can be (contract: ``profiles.parquet``).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.superweight.capture import capture
from scsw.superweight.discovery import DiscoveryCells, scgpt_sites
from scsw.superweight.random_controls import draw_controls

COLUMNS = "weight_set weight_id block gene profile".split()


def profile_table(
    model: nn.Module,
    cells: DiscoveryCells,
    family: pd.DataFrame,
    *,
    n_random: int,
    min_cells: int,
    seed: int,
) -> pd.DataFrame:
    """Return the mean contribution w·h of each weight at each gene's tokens.

    Parameters
    ----------
    model, cells
        The model and the cells.
    family
        The frozen family: ``candidate_id, block, row, column, weight``.
    n_random
        Random weights of the down-projections, spread over the blocks.
    min_cells
        Genes detected in fewer of the cells are left out.
    seed
        Seed of the random weights.

    Returns
    -------
    pandas.DataFrame
        ``weight_set`` (``candidate`` or ``random``), ``weight_id, block, gene, profile``.
    """
    weights = _weights(model, family, n_random, seed)
    vocabulary = int(cells.tokenizer.token_ids.max()) + 1
    sums = np.zeros((len(weights), vocabulary))
    counts = np.zeros(vocabulary, np.int64)
    kept: dict[str, torch.Tensor] = {}
    blocks = sorted(set(weights["block"]))
    points = {
        f"{b}.mlp_hidden": scgpt_sites(model, ["mlp_hidden"])[f"{b}.mlp_hidden"] for b in blocks
    }
    with torch.no_grad(), capture(points, kept.__setitem__):
        for batch in cells:
            forward_padded(model, batch)
            gene_tokens = batch.real & (batch.genes < vocabulary)
            gene_tokens[:, 0] = False
            genes = batch.genes[gene_tokens].cpu().numpy()
            counts += np.bincount(genes, minlength=vocabulary)
            for block in blocks:
                own = np.flatnonzero(weights["block"] == block)
                columns = torch.as_tensor(weights["column"].to_numpy()[own]).to(cells.device)
                h = kept[f"{block}.mlp_hidden"][gene_tokens][:, columns].double().cpu().numpy()
                for place, values in zip(own, h.T, strict=True):
                    sums[place] += np.bincount(genes, values, vocabulary)
    tokens = cells.tokenizer.token_ids
    wanted = counts[tokens] >= min_cells
    genes, tokens = cells.cells.var_names[wanted], tokens[wanted]
    means = sums[:, tokens] / np.maximum(counts[tokens], 1) * weights[["weight"]].to_numpy()
    return pd.DataFrame(
        {
            "weight_set": np.repeat(weights["weight_set"].to_numpy(), len(genes)),
            "weight_id": np.repeat(weights["weight_id"].to_numpy(), len(genes)),
            "block": np.repeat(weights["block"].to_numpy(), len(genes)),
            "gene": np.tile(genes.to_numpy(), len(weights)),
            "profile": means.ravel(),
        },
        columns=COLUMNS,
    )


def _weights(model: nn.Module, family: pd.DataFrame, n_random: int, seed: int) -> pd.DataFrame:
    """Return the candidates and random weights of the down-projections."""
    layers = encoder_layers(model)
    own = family[["candidate_id", "block", "row", "column"]]
    own = own.rename(columns={"candidate_id": "weight_id"}).assign(weight_set="candidate")
    random = draw_controls(
        family,
        [tuple(layer.linear2.weight.shape) for layer in layers],
        n_controls=n_random,
        scope="all_blocks",
        seed=seed,
    )
    random["weight_id"] = [f"ffn_down.b{r.block}.r{r.row}.c{r.column}" for r in random.itertuples()]
    both = pd.concat([own, random.assign(weight_set="random")], ignore_index=True)
    places = zip(both["block"], both["row"], both["column"], strict=True)
    both["weight"] = [layers[b].linear2.weight[r, c].item() for b, r, c in places]
    return both
