"""Spatial read-out: the intact and the pruned model on tissue cells of known place."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.tables import Tables

NAMED = 3
PARTS = {
    ("tissue", "accuracy_change"): "change of accuracy by a zeroed candidate",
    ("position", "slope"): "slope of a programme along the depth",
    ("position", "slope_change"): "change of such a slope by a zeroed candidate",
    ("stage", "slope"): "slope of an AD axis on a stage of disease",
    ("stage", "slope_change"): "change of such a slope by a zeroed candidate",
}


def numbers(t: Tables) -> dict[str, Any]:
    """Return accuracies, whether the panel was enough, and counts of tests by part."""
    alpha = t.config["statistics"]["alpha"]
    verdict = t.spatial[t.spatial["measure"] == "share_kept"]
    tested = t.spatial[t.spatial["status"] == "tested"]
    none = t.spatial[t.spatial["status"] == "not testable"]
    untested = t.spatial[t.spatial["status"] == "not tested"]
    axes = [text for text in t.spatial["axis"].unique() if text]
    return {
        "alpha": alpha,
        "name": str(t.spatial["spatial"].iloc[0]) if len(t.spatial) else "",
        "n_genes": int(verdict["n_genes"].max()) if len(verdict) else 0,
        "status": str(verdict["status"].iloc[0]) if len(verdict) else "",
        "reason": str(verdict["reason"].iloc[0]) if len(verdict) else "",
        "min_kept": t.config["spatial"]["min_kept"],
        "share_kept": float(verdict["value"].iloc[0]) if len(verdict) else None,
        "accuracy": {row.measure: _measured(row) for row in _measures(t.spatial).itertuples()},
        "axis": str(axes[0]) if axes else "",
        "parts": [
            {"what": what, **_counted(tested, step, measure, alpha)}
            for (step, measure), what in PARTS.items()
        ],
        "passed": [
            {
                **{name: str(getattr(row, name)) for name in ("gene_set", "cell_type", "stage")},
                **{"candidate_id": str(row.candidate_id), "step": str(row.step)},
                **{name: float(getattr(row, name)) for name in ("value", "low", "high", "q")},
            }
            for row in tested[tested["q"] < alpha].sort_values("q").head(NAMED).itertuples()
        ],
        "n_not_testable": int(none["gene_set"].nunique()),
        "n_untested": len(untested),
        "reasons": [str(x) for x in untested["reason"].value_counts().index[:NAMED]],
    }


def _measures(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are accuracies, or the floor."""
    named = ["accuracy_all_genes", "accuracy_panel", "floor", "accuracy"]
    return table[table["measure"].isin(named) & table["status"].eq("measured")]


def _measured(row) -> dict[str, Any]:
    numbers = {name: float(getattr(row, name)) for name in ("value", "low", "high")}
    return numbers | {"n_donors": int(row.n_donors), "n_cells": int(row.n_cells)}


def _counted(tested: pd.DataFrame, step: str, measure: str, alpha: float) -> dict[str, int]:
    own = tested[(tested["step"] == step) & (tested["measure"] == measure)]
    return {"n_tested": len(own), "n_passed": int((own["q"] < alpha).sum())}


def reading(n: dict[str, Any]) -> list[str]:
    """Say whether the panel tells cell types, and what was found in the tissue."""
    if not n["name"]:
        return ["The run has no spatial data, so no place in the tissue was looked at."]
    said = _panel(n)
    if n["status"] == "go on":
        said += [*_tissue(n), *map(_passed, n["passed"]), *_untested(n)]
    return [" ".join(said)]


def _panel(n: dict[str, Any]) -> list[str]:
    said = []
    if "accuracy_panel" in n["accuracy"]:
        all_genes, panel, floor = (
            words.percent(n["accuracy"][name]["value"])
            for name in ("accuracy_all_genes", "accuracy_panel", "floor")
        )
        said.append(
            f"Cut to the {words.several(n['n_genes'], 'gene')} that the panel of {n['name']} and "
            f"the model share, the test nuclei are classified with an accuracy of {panel} (all "
            f"genes: {all_genes}; commonest type: {floor}; means over donors)."
        )
    if n["status"] != "go on":
        return [*said, f"The spatial read-out stopped there: {n['reason']}."]
    return [
        *said,
        f"That keeps {words.percent(n['share_kept'])} of the lead over the commonest type; at "
        f"least {words.percent(n['min_kept'])} was asked for.",
    ]


def _tissue(n: dict[str, Any]) -> list[str]:
    said = []
    if found := n["accuracy"].get("accuracy"):
        said.append(
            f"In the tissue it is {words.percent(found['value'])} over "
            f"{words.several(found['n_donors'], 'donor')} that the model was not fitted on."
        )
    said += [
        f"{part['what'][0].upper()}{part['what'][1:]}: {words.count(part['n_passed'])} of "
        f"{words.several(part['n_tested'], 'test')} pass q < {words.amount(n['alpha'])}."
        for part in n["parts"]
        if part["n_tested"]
    ]
    if n["axis"]:
        said.append(f"Depth is the {n['axis']}.")
    return said


def _passed(row: dict[str, Any]) -> str:
    what = row["gene_set"] or "accuracy"
    where = f" in {row['cell_type']}" if row["cell_type"] else ""
    on = f" on {row['stage']}" if row["stage"] else ""
    on = " along the depth" if row["step"] == "position" else on
    by = f", by zeroing {row['candidate_id']}" if row["candidate_id"] else ""
    return (
        f"{what}{where}{on}{by}: {words.effect(row['value'])} "
        f"({words.interval(row['low'], row['high'])}; q {words.amount(row['q'])})."
    )


def _untested(n: dict[str, Any]) -> list[str]:
    said = []
    if n["n_not_testable"]:
        said.append(
            f"{words.several(n['n_not_testable'], 'AD axis', 'AD axes')} could not be scored on "
            "this panel."
        )
    if n["n_untested"]:
        said.append(
            f"{words.several(n['n_untested'], 'combination')} could not be tested; the commonest "
            f"reasons: {'; '.join(n['reasons'])}."
        )
    said.append(
        "Scores are what the model reconstructs from the panel's genes, not measured expression; a "
        "slope across donors is an association, not a cause."
    )
    return said
