"""Collapse: which cell types a candidate's removal hits most, and what else it changes."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

# The metrics that are told of the best candidate, and how; none of them makes a verdict.
METRICS = {
    "balanced_accuracy": ("balanced accuracy", words.amount),
    "ece": ("expected calibration error", words.amount),
    "gep_pearson": ("correlation of hidden expression with its prediction", words.amount),
    "neighbours_kept": ("share of a cell's 15 nearest cells that stay so", words.amount),
    "prediction_entropy": ("entropy of the predicted types (nats)", words.amount),
    "top_share": ("share of the most predicted type", words.percent),
}


def numbers(t: Tables) -> dict[str, Any]:
    """Return the largest rise over cell types, for the best candidate and over all of them."""
    known = t.type_effects.dropna(subset=["effect_nll"])
    if known.empty:
        return {"n_candidates": 0, "signature": {}}
    order = known.sort_values(["effect_nll", "seed"], ascending=[False, True], kind="stable")
    top = order.iloc[0]
    same = (known["seed"] == top["seed"]) & (known["candidate_id"] == top["candidate_id"])
    rises = known.loc[same, "effect_nll"]
    return {
        "n_candidates": len(known[["seed", "candidate_id"]].drop_duplicates()),
        "n_values": len(known),
        "n_cell_types": known["cell_type"].nunique(),
        "seed": int(top["seed"]),
        "candidate_id": str(top["candidate_id"]),
        "cell_type": str(top["cell_type"]),
        "effect_nll": float(top["effect_nll"]),
        "n_donors": int(top["n_donors"]),
        "n_cells": int(top["n_cells"]),
        "median": float(rises.median()),
        "lowest": float(rises.min()),
        "signature": signature(t),
    }


def signature(t: Tables) -> dict[str, Any]:
    """Return the metrics of the best candidate, intact and zeroed, with donor intervals."""
    best = t.best_candidates(1)
    if best.empty or t.metrics.empty:
        return {}
    best = best.iloc[0]
    own = (t.metrics["seed"] == best["seed"]) & (t.metrics["candidate_id"] == best["candidate_id"])
    table = t.metrics[own].set_index("metric")
    columns = ["intact", "pruned", "effect_low", "effect_high"]
    return {
        "candidate_id": str(best["candidate_id"]),
        "seed": int(best["seed"]),
        "metrics": {
            name: {column: float(table.loc[name, column]) for column in columns}
            for name in METRICS
            if name in table.index
        },
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say where the largest rise is, without a claim: it carries no test of its own."""
    if not n["n_candidates"]:
        return ["No candidate was pruned, so there is nothing to show by cell type."]
    return [
        f"Over all candidates and {words.several(n['n_cell_types'], 'cell type')} the largest rise "
        f"is {words.effect(n['effect_nll'])} nats per cell, in {n['cell_type']} "
        f"({words.several(n['n_cells'], 'cell')} of {words.several(n['n_donors'], 'test donor')}), "
        f"when {n['candidate_id']} (seed {n['seed']}) is zeroed; over the cell types this "
        f"candidate's median is {words.effect(n['median'])} and its smallest value "
        f"{words.effect(n['lowest'])}. As the largest of {words.several(n['n_values'], 'value')} "
        "it is likely too large. These values describe; the verdicts rest on all cell types "
        "together.",
        *_signature_reading(n["signature"]),
    ]


def _signature_reading(n: dict[str, Any]) -> list[str]:
    if not n:
        return []
    told = []
    for name, own in n["metrics"].items():
        what, write = METRICS[name]
        change = words.interval(own["effect_low"], own["effect_high"])
        told.append(f"{what} {write(own['intact'])} → {write(own['pruned'])} (change: {change})")
    return [
        f"Other metrics with the best candidate, {n['candidate_id']} (seed {n['seed']}), intact → "
        "zeroed, means over the test donors on the cells that pruning measured: "
        f"{'; '.join(told)}. All of these are secondary; the table "
        "metrics.parquet has every candidate and metric, by cell type, region and stage."
    ]
