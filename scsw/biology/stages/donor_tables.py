"""Donor-level tables of one model, on cells as measured and on cells of one depth."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.stages.axes import axis_genes
from scsw.biology.stages.axis_scores import candidate_scores, expression_scores
from scsw.biology.stages.cell_activity import cell_activity
from scsw.biology.stages.donor_scores import donor_scores
from scsw.biology.stages.thin import thinned
from scsw.biology.stages.zeroing_effects import zeroing_effects
from scsw.biology.tables import AS_MEASURED, THINNED
from scsw.cohort.read import read_cohort
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer


def donor_tables(
    model: nn.Module,
    folder: str | Path,
    cohort: str | Path,
    pruned_cells: AnnData,
    candidates: pd.DataFrame,
    compute: SimpleNamespace,
    device: torch.device,
    *,
    min_cells: int,
    max_cells_per_donor: int | None,
) -> dict[str, pd.DataFrame]:
    """Score donors twice: on their cells as measured, and thinned to one depth per class.

    Parameters
    ----------
    model, folder
        The fine-tuned model and its scGPT folder.
    cohort
        The cohort's file. Candidates are scored in its discovery and test donors, expression of
        the axes in all.
    pruned_cells
        Discovery and test cells, those of step `prune` among them: zeroing is measured again on
        its test cells, thinned.
    candidates
        The frozen family.
    min_cells
        Fewest cells with which a donor has a say in the common depth (``stages.min_cells``).
    max_cells_per_donor
        Cap on the cells of one donor that are scored (``stages.max_cells_per_donor``).

    Returns
    -------
    dict
        ``donor_scores``, ``thinned_effects`` and ``axis_scores``, without their first columns
        ``cohort, arm, seed``.
    """
    everyone = read_cohort(cohort, None, max_cells_per_donor)
    genes = axis_genes(everyone.var)
    tokens = {axis: everyone.var["token_id"].to_numpy()[own] for axis, own in genes.items()}
    scores, axes = [], []
    for depth in (AS_MEASURED, THINNED):
        if depth == THINNED:
            everyone = thinned(everyone, min_cells=min_cells)
        cells = _of(everyone, "discovery", "test")
        tokenizer = cohort_tokenizer(cells, folder)
        activity = cell_activity(model, tokenizer, candidates, compute, device, tokens)
        scores.append(donor_scores(cells, candidates, activity, depth))
        axes.append(expression_scores(everyone, genes, depth))
        axes.append(candidate_scores(cells, genes, candidates, activity, depth))
    test = _of(thinned(pruned_cells, min_cells=min_cells), "test")
    effects = zeroing_effects(
        model, cohort_tokenizer(test, folder), test, candidates, compute, device
    )
    return {
        "donor_scores": pd.concat(scores, ignore_index=True),
        "thinned_effects": effects,
        "axis_scores": pd.concat([part for part in axes if len(part)] or axes, ignore_index=True),
    }


def _of(cells: AnnData, *splits: str) -> AnnData:
    return cells[cells.obs["split"].astype(str).isin(splits).to_numpy()].copy()
