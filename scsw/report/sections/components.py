"""Attention heads and MLPs: what the model loses without each."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables


def numbers(t: Tables) -> dict[str, Any]:
    """Return the component of largest effect and how many are certain."""
    if t.components.empty:
        return {"n_components": 0, "asked_for": bool(t.config["map"]["components"])}
    order = t.components.sort_values(
        ["effect_nll", "seed", "block"], ascending=[False, True, True], kind="stable"
    )
    top = order.iloc[0]
    certain = (t.components["effect_low"] > 0) | (t.components["effect_high"] < 0)
    return {
        "n_components": len(t.components),
        "n_models": t.components["seed"].nunique(),
        "n_certain": int(certain.sum()),
        "seed": int(top["seed"]),
        "block": int(top["block"]),
        "component": str(top["component"]).replace("head", "head ").replace("mlp", "MLP"),
        "effect_nll": float(top["effect_nll"]),
        "effect_low": float(top["effect_low"]),
        "effect_high": float(top["effect_high"]),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say which component matters most."""
    if not n["n_components"]:
        return [
            "No component was measured."
            if n["asked_for"]
            else "Components were not scored in this run (map.components is off)."
        ]
    return [
        f"Of {words.several(n['n_components'], 'head or MLP', 'heads and MLPs')} over "
        f"{words.several(n['n_models'], 'model')}, replacing {n['component']} of block "
        f"{n['block']} (seed {n['seed']}) by its mean raises the cell-type NLL most: "
        f"{words.effect(n['effect_nll'])} nats per cell "
        f"({words.interval(n['effect_low'], n['effect_high'])}). For "
        f"{words.count(n['n_certain'])} of them the donor interval excludes zero; these intervals "
        "are not corrected for the number of components."
    ]
