"""A candidate's activity per donor and cell type, for the tests against disease stage."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import capture, encoder_points

DONOR_COLUMNS = "adnc braak thal cerad cognition cps age_death sex pmi".split()


@torch.no_grad()
def donor_scores(
    model: nn.Module,
    tokenizer: Tokenizer,
    cells: AnnData,
    candidates: pd.DataFrame,
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Average contribution and spike of each candidate over the cells of a donor.

    Parameters
    ----------
    cells
        Discovery and test cells.

    Returns
    -------
    pandas.DataFrame
        Contract: ``donor_scores.parquet`` without its first three columns. ``cell_type`` is a type,
        or ``all`` for the whole class.
    """
    n = len(candidates)
    contribution = np.zeros((len(tokenizer), n))
    spike = np.zeros((len(tokenizer), n))
    kept: dict[str, torch.Tensor] = {}
    points = encoder_points(encoder_layers(model), ["mlp_hidden", "mlp_out"])
    with capture(points, kept.__setitem__):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            rows = batch.cells.numpy()
            batch = batch.to(device)
            forward_padded(model, batch)
            n_tokens = batch.real.sum(1).double()
            for index, candidate in enumerate(candidates.itertuples()):
                hidden = kept[f"{candidate.block}.mlp_hidden"][..., candidate.column]
                total = torch.where(batch.real, hidden.double(), 0).sum(1) * candidate.weight
                contribution[rows, index] = (total / n_tokens).cpu().numpy()
                output = kept[f"{candidate.block}.mlp_out"][..., candidate.row].abs()
                largest = torch.where(batch.real, output, 0).max(1).values
                spike[rows, index] = largest.double().cpu().numpy()
    return _by_donor(cells.obs, candidates, contribution, spike)


def _one_or_both(split: pd.Series) -> str:
    """Return the split of a donor's cells; `both` where cells and not donors were split."""
    return split.iloc[0] if split.nunique() == 1 else "both"


def _by_donor(
    obs: pd.DataFrame, candidates: pd.DataFrame, contribution: np.ndarray, spike: np.ndarray
) -> pd.DataFrame:
    texts = obs[["donor_id", "cell_class", "cell_type", "split"]].astype(str)
    own_type = texts.reset_index(drop=True)
    whole_class = own_type.assign(cell_type="all")
    donors = obs.assign(donor_id=texts["donor_id"]).groupby("donor_id")[DONOR_COLUMNS].first()
    keys = ["donor_id", "cell_class", "cell_type"]
    parts = []
    for index, candidate in enumerate(candidates["candidate_id"]):
        values = pd.DataFrame(
            {
                "contribution": contribution[:, index],
                "spike": spike[:, index],
                "n_genes": obs["n_genes"].to_numpy(float),
                "pct_mito": obs["pct_mito"].to_numpy(float),
            }
        )
        for grouping in (whole_class, own_type):
            groups = pd.concat([grouping, values], axis=1).groupby(keys)
            table = groups.agg(
                n_cells=("spike", "size"),
                contribution=("contribution", "mean"),
                spike=("spike", "mean"),
                split=("split", _one_or_both),
                median_genes=("n_genes", "median"),
                pct_mito=("pct_mito", "median"),
            ).reset_index()
            table.insert(0, "candidate_id", candidate)
            parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    return table.join(donors, on="donor_id")
