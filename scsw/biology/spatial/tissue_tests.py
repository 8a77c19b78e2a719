"""What is tested on the tissue's cells: types, programmes along depth, and axes by stage."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.spatial.donor_tests import mean_over_donors, slope_by_donor
from scsw.biology.spatial.readout import CellReadout
from scsw.biology.stages.donor_facts import STAGING, assay_shares
from scsw.biology.stages.stage_slope import stage_slope

# Programmes that are followed along the depth, and the cells that run them.
PROGRAMMES = {
    "AD_MICROGLIA_DAM": "Microglia-PVM",
    "AD_MICROGLIA_HOMEOSTATIC": "Microglia-PVM",
    "AD_TREM2_TYROBP_APOE": "Microglia-PVM",
    "AD_ASTROCYTE_REACTIVE": "Astrocyte",
    "AD_ASTROCYTE_METABOLIC": "Astrocyte",
}
_DONOR = [*STAGING, "age_death", "sex", "pmi"]


def accuracy_rows(
    found: CellReadout,
    labels: np.ndarray,
    obs: pd.DataFrame,
    candidates: list[str],
    min_donors: int,
) -> Iterator[dict[str, Any]]:
    """Yield the intact accuracy on the tissue, and its change with each candidate zeroed.

    Cells of types that the model was not trained on (label −1) are left out.
    """
    known = np.flatnonzero(labels >= 0)
    donors = obs["donor_id"].astype(str).to_numpy()[known]
    common = {"step": "tissue", "n_cells": len(known)}

    def by_donor(values: np.ndarray) -> pd.Series:
        return pd.Series(values.astype(float)).groupby(donors).mean()

    what = "tissue donors outside training with a type that the model knows"
    intact = found.types[known] == labels[known]
    row = mean_over_donors(by_donor(intact), min_donors, tested=False, what=what)
    yield common | {"measure": "accuracy"} | row
    for candidate, pruned in zip(candidates, found.pruned_types, strict=True):
        change = (pruned[known] == labels[known]).astype(float) - intact
        row = mean_over_donors(by_donor(change), min_donors, tested=True, what=what)
        yield common | {"measure": "accuracy_change", "candidate_id": candidate} | row


def position_rows(
    found: CellReadout,
    sets: list[str],
    obs: pd.DataFrame,
    candidates: list[str],
    axis: str,
    min_cells: int,
    min_donors: int,
) -> Iterator[dict[str, Any]]:
    """Yield slopes of programmes along `axis`, and their change with each candidate zeroed."""
    types = obs["cell_type"].astype(str).to_numpy()
    for name in [name for name in sets if name in PROGRAMMES]:
        rows = np.flatnonzero(types == PROGRAMMES[name])
        column, own = sets.index(name), obs.iloc[rows]
        common = {"step": "position", "gene_set": name, "cell_type": PROGRAMMES[name]}
        common |= {"n_cells": len(rows), "axis": axis}
        layers = [("slope", "", found.scores[rows, column])]
        layers += [
            ("slope_change", candidate, change[rows, column])
            for candidate, change in zip(candidates, found.changes, strict=True)
        ]
        for measure, candidate, values in layers:
            slopes = slope_by_donor(values, own, min_cells)
            what = f"donors outside training have a section with {min_cells} such cells"
            row = mean_over_donors(slopes, min_donors, tested=True, what=what)
            yield common | {"measure": measure, "candidate_id": candidate} | row


def stage_rows(
    found: CellReadout,
    sets: list[str],
    obs: pd.DataFrame,
    candidates: list[str],
    stages: SimpleNamespace,
    min_donors: int,
) -> Iterator[dict[str, Any]]:
    """Yield slopes on every stage of a donor's mean score, and of its change, by cell type."""
    donors = obs.assign(donor_id=obs["donor_id"].astype(str))
    for cell_type in sorted(obs["cell_type"].astype(str).unique()):
        rows = np.flatnonzero(obs["cell_type"].astype(str).eq(cell_type).to_numpy())
        groups = donors.iloc[rows].groupby("donor_id")
        about = (
            groups[_DONOR]
            .first()
            .assign(
                median_genes=groups["n_genes"].median(),
                pct_mito=groups["pct_mito"].median(),
                assay_shares=groups["assay"].agg(assay_shares),
            )
        )
        about = about[groups.size() >= stages.min_cells]
        names = donors["donor_id"].to_numpy()[rows]
        for column, name in enumerate(sets):
            layers = [("slope", "", found.scores[rows, column])]
            layers += [
                ("slope_change", candidate, change[rows, column])
                for candidate, change in zip(candidates, found.changes, strict=True)
            ]
            for measure, candidate, values in layers:
                means = pd.Series(values).groupby(names).mean().reindex(about.index)
                for stage in STAGING:
                    row = stage_slope(
                        about.assign(score=means),
                        "score",
                        stage,
                        stages.covariates,
                        donors_per_term=stages.donors_per_term,
                        min_donors=min_donors,
                    )
                    row |= {"value": row.pop("beta"), "low": row.pop("beta_low")}
                    row |= {"high": row.pop("beta_high"), "stage": stage, "measure": measure}
                    common = {"step": "stage", "gene_set": name, "cell_type": cell_type}
                    yield common | row | {"candidate_id": candidate, "n_cells": len(rows)}
