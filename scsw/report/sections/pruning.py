"""Pruning: effects, verdicts, and the random weights beside them."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

VERDICTS = ("causal, constant", "causal, informative", "not causal", "not assessable")


def numbers(t: Tables) -> dict[str, Any]:
    """Return counts of verdicts and the extremes of candidates and controls."""
    verdicts = t.verdicts
    random = t.effects[t.effects["weight_set"] == "random"]["effect_nll"]
    judged = verdicts.dropna(subset=["effect_nll"])
    order = judged.sort_values(["effect_nll", "seed"], ascending=[False, True], kind="stable")
    top = next(order.itertuples(), None)
    structural = verdicts["structural"].astype(bool)
    return {
        "n_candidates": len(verdicts),
        "verdicts": {name: int((verdicts["verdict"] == name).sum()) for name in VERDICTS},
        "n_structural": int(structural.sum()),
        "n_structural_causal": int((structural & verdicts["causal"].astype(bool)).sum()),
        "largest": None
        if top is None
        else {
            "seed": int(top.seed),
            "candidate_id": str(top.candidate_id),
            "effect_nll": float(top.effect_nll),
            "effect_low": float(top.effect_low),
            "effect_high": float(top.effect_high),
            "effect_mean_nll": float(top.effect_mean_nll),
            "effect_accuracy": float(top.effect_accuracy),
            "q": float(top.q),
            "verdict": str(top.verdict),
        },
        "n_random": len(random),
        "random_largest": float(random.abs().max()) if len(random) else None,
        "n_test_donors": int(verdicts["n_test_donors"].max()) if len(verdicts) else 0,
        "alpha": t.config["statistics"]["alpha"],
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say what zeroing the candidates did."""
    if not n["n_candidates"]:
        return ["The search froze no candidate, so nothing was pruned."]
    counted = words.listed(
        [f"{words.count(k)} “{verdict}”" for verdict, k in n["verdicts"].items() if k]
    )
    judged = (
        f"Of {words.several(n['n_candidates'], 'candidate')} over all fine-tuned models, "
        f"{counted}, measured on {words.several(n['n_test_donors'], 'test donor')}."
    )
    return [" ".join([judged, *_largest(n)]), *_structural(n)]


def _largest(n: dict[str, Any]) -> list[str]:
    top = n["largest"]
    if top is None:
        return []
    change = (
        f"The largest effect is that of {top['candidate_id']} (seed {top['seed']}, "
        f"“{top['verdict']}”): zeroing it changes the cell-type NLL by "
        f"{words.effect(top['effect_nll'])} nats per cell "
        f"({words.interval(top['effect_low'], top['effect_high'])}) and the accuracy by "
        f"{words.effect(top['effect_accuracy'])}; replacing its contribution by its mean instead "
        f"changes the NLL by {words.effect(top['effect_mean_nll'])}."
    )
    if n["random_largest"] is None:
        return [change]
    return [
        change,
        f"Of {words.several(n['n_random'], 'random weight')} zeroed for comparison, none changed "
        f"the NLL by more than {words.amount(n['random_largest'])} nats per cell.",
    ]


def _structural(n: dict[str, Any]) -> list[str]:
    if not n["n_structural"]:
        return ["No candidate is structural: none carries a spike that is stable over donors."]
    return [
        f"{words.count(n['n_structural'])} of the candidates are structural (they carry a spike "
        f"that is stable over donors); {words.count(n['n_structural_causal'])} of these are "
        "causal. A weight can make a large activation and yet not matter to the prediction."
    ]
