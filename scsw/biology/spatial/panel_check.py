"""Whether a model still tells cell types of nuclei when only the panel's genes are left to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.spatial.donor_tests import mean_over_donors
from scsw.biology.spatial.tissue import cut
from scsw.scgpt.evaluation.inference import type_probabilities
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer

GO_ON, STOP = "go on", "stop"
FEWEST_GENES = 10


def panel_check(
    model: nn.Module,
    folder: Path,
    nuclei: AnnData,
    genes: list[str],
    vocabulary: dict[str, int],
    commonest: str,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    min_donors: int,
) -> list[dict[str, Any]]:
    """Return accuracy on all genes and on the panel's, the floor, and whether to go on.

    The rule, over test donors: the panel's lead over the floor is at least `settings.min_kept` of
    the lead of all genes, and its 95 % interval lies above 0. The floor is a donor's share of the
    cell type that is commonest in training.

    Parameters
    ----------
    nuclei
        Cells of the cohort's test donors.
    genes
        Genes that panel, cohort and model share.
    commonest
        The cell type that is commonest in training.
    min_donors
        Fewest test donors.

    Returns
    -------
    list of dict
        Rows of ``spatial.parquet``; the last one, of ``share_kept``, has the status.
    """
    common = {"step": "nuclei", "n_genes": len(genes), "n_cells": nuclei.n_obs}
    if len(genes) < FEWEST_GENES:
        reason = f"{len(genes)} genes of the panel are known to model and cohort; "
        return [_verdict(common, np.nan, STOP, reason + f"{FEWEST_GENES} are needed")]
    on_panel = cut(nuclei, genes, vocabulary)
    nuclei = nuclei[on_panel.obs_names]
    common["n_cells"] = nuclei.n_obs
    right = {
        "accuracy_all_genes": _right(model, folder, nuclei, compute, device),
        "accuracy_panel": _right(model, folder, on_panel, compute, device),
        "floor": nuclei.obs["cell_type"].astype(str).eq(commonest).to_numpy(),
    }
    donors = pd.DataFrame(right).groupby(nuclei.obs["donor_id"].astype(str).to_numpy()).mean()
    rows = [
        common | {"measure": name} | mean_over_donors(donors[name], min_donors, tested=False)
        for name in right
    ]
    lead = donors[["accuracy_all_genes", "accuracy_panel"]].sub(donors["floor"], axis=0)
    found = mean_over_donors(lead["accuracy_panel"], min_donors, tested=False, what="test donors")
    common["n_donors"] = len(donors)
    if found["status"] == "not tested":
        return [*rows, _verdict(common, np.nan, STOP, found["reason"])]
    whole = lead["accuracy_all_genes"].mean()
    kept = found["value"] / whole if whole > 0 else np.nan
    if kept >= settings.min_kept and found["low"] > 0:
        return [*rows, _verdict(common, kept, GO_ON, "")]
    reason = (
        f"on the panel's {len(genes)} genes the lead over the commonest type is "
        f"{found['value']:.3f} (95 % interval {found['low']:.3f} to {found['high']:.3f}), on all "
        f"genes {whole:.3f}; at least {settings.min_kept:g} of it must be left, and above 0"
    )
    return [*rows, _verdict(common, kept, STOP, reason)]


def _right(
    model: nn.Module, folder: Path, cells: AnnData, compute: SimpleNamespace, device: torch.device
) -> np.ndarray:
    tokenizer = cohort_tokenizer(cells, folder)
    found = type_probabilities(model, tokenizer, np.arange(len(tokenizer)), compute, device)
    return found.argmax(1) == tokenizer.labels


def _verdict(common: dict[str, Any], kept: float, status: str, reason: str) -> dict[str, Any]:
    return common | {"measure": "share_kept", "value": kept, "status": status, "reason": reason}
