"""The cohort: cells, donors, what was removed, what the vocabulary covers."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.donors import SPLITS, stratification
from scsw.report.tables import Tables


def numbers(t: Tables) -> dict[str, Any]:
    """Count cells, donors and losses."""
    cells = t.qc[t.qc["axis"] == "cells"]
    genes = t.qc[t.qc["axis"] == "genes"]
    matched = t.coverage[~t.coverage["matched_by"].isin(["unmatched", "total"])]
    donors = t.donors.groupby("split")["donor_id"].nunique()
    cells_in = t.obs["split"].astype(str).value_counts()
    reference = t.donors.loc[t.donors["is_reference"].astype(bool), "donor_id"]
    return {
        "source": str(t.about["source"]),
        "n_cells": len(t.obs),
        "n_cell_types": t.obs["cell_type"].astype(str).nunique(),
        "n_donors": t.donors["donor_id"].nunique(),
        "n_reference_donors": reference.nunique(),
        "cells_before": int(cells["before"].iloc[0]) if len(cells) else len(t.obs),
        "cells_removed": int(cells["removed"].sum()),
        "genes_before": int(genes["before"].iloc[0]) if len(genes) else None,
        "genes_removed": int(genes["removed"].sum()),
        "n_genes_matched": int(matched["genes"].sum()),
        "gene_share": float(matched["gene_share"].sum()),
        "count_share": float(matched["count_share"].sum()),
        "split_unit": str(t.about["split_unit"]),
        "donors": {name: int(donors.get(name, 0)) for name in SPLITS},
        "cells": {name: int(cells_in.get(name, 0)) for name in SPLITS},
        "stratification": stratification(t.donors),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say what the cohort is."""
    held = (
        f"After quality control {words.count(n['n_cells'])} cells of "
        f"{words.several(n['n_cell_types'], 'cell type')} from "
        f"{words.several(n['n_donors'], 'donor')} remained"
    )
    if n["n_reference_donors"]:
        held += f", {words.several(n['n_reference_donors'], 'neurotypical reference donor')} among"
        held += " them"
    removed = (
        f"{words.count(n['cells_removed'])} of {words.count(n['cells_before'])} cells were removed."
    )
    match = (
        f"{words.count(n['n_genes_matched'])} genes ({words.percent(n['gene_share'])} of genes, "
        f"{words.percent(n['count_share'])} of counts) matched the model's vocabulary."
    )
    return [f"{held}; {removed} {match}", _split(n)]


def _split(n: dict[str, Any]) -> str:
    if n["split_unit"] != "donor":
        parts = words.listed([f"{words.count(n['cells'][part])} {part}" for part in SPLITS])
        return (
            f"Cells, not donors, were divided: {parts}. Training and test cells share donors, so "
            "nothing here speaks for donors that were not seen."
        )
    parts = words.listed([f"{words.count(n['donors'][part])} {part}" for part in SPLITS])
    return (
        f"Donors were divided into {parts}; no donor is in two parts. Candidates are found on "
        "discovery donors and judged on test donors."
    )
