"""Collapse by cell type: which types a candidate's removal hits most."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables


def numbers(t: Tables) -> dict[str, Any]:
    """Return the largest rise over cell types, for the best candidate and over all of them."""
    known = t.type_effects.dropna(subset=["effect_nll"])
    if known.empty:
        return {"n_candidates": 0}
    order = known.sort_values(["effect_nll", "seed"], ascending=[False, True], kind="stable")
    top = order.iloc[0]
    same = (known["seed"] == top["seed"]) & (known["candidate_id"] == top["candidate_id"])
    rises = known.loc[same, "effect_nll"]
    return {
        "n_candidates": len(known[["seed", "candidate_id"]].drop_duplicates()),
        "n_cell_types": known["cell_type"].nunique(),
        "seed": int(top["seed"]),
        "candidate_id": str(top["candidate_id"]),
        "cell_type": str(top["cell_type"]),
        "effect_nll": float(top["effect_nll"]),
        "median": float(rises.median()),
        "lowest": float(rises.min()),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say where the largest rise is, without a claim: it carries no test of its own."""
    if not n["n_candidates"]:
        return ["No candidate was pruned, so there is nothing to show by cell type."]
    return [
        f"Over all candidates and {words.several(n['n_cell_types'], 'cell type')} the largest rise "
        f"is {words.effect(n['effect_nll'])} nats per cell, in {n['cell_type']}, when "
        f"{n['candidate_id']} (seed {n['seed']}) is zeroed; over the cell types this candidate's "
        f"median is {words.effect(n['median'])} and its smallest value "
        f"{words.effect(n['lowest'])}. These values describe; the verdicts rest on all cell types "
        "together."
    ]
