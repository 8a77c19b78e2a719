"""The spike landscape, and the candidates that the search froze."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

SITES = {"mlp_hidden": "MLP hidden layer", "mlp_out": "MLP output"}


def numbers(t: Tables) -> dict[str, Any]:
    """Return the largest spikes, and how many candidates each route gave."""
    rule = t.config["search"]["spike_ratio"]
    real = t.spikes[t.spikes["arm"] == "real"]
    candidates = t.candidates[t.candidates["arm"] == "real"]
    return {
        "spike_ratio": rule,
        "sites": {site: _largest(real[real["site"] == site], rule) for site in SITES},
        "n_models": len(t.seeds),
        "n_candidates": len(candidates),
        "n_by_spike": int(candidates["found_by"].isin(["spike", "below_rule"]).sum()),
        "n_by_first_order": int((candidates["found_by"] == "first_order").sum()),
        "n_spiking": int((candidates["found_by"] == "spike").sum()),
    }


def _largest(rows, rule: float) -> dict[str, Any] | None:
    known = rows.dropna(subset=["ratio"])
    if known.empty:
        return None
    top = known.sort_values(["ratio", "seed", "block"], ascending=[False, True, True]).iloc[0]
    return {
        "ratio": float(top["ratio"]),
        "seed": int(top["seed"]),
        "block": int(top["block"]),
        "channel": int(top["channel"]),
        "top_gene": str(top["top_gene"]),
        "n_over_rule": int((known["ratio"] >= rule).sum()),
        "n_channels": len(known),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say where activations spike and what became a candidate."""
    sentences = []
    for site, name in SITES.items():
        top = n["sites"][site]
        if top:
            sentences.append(
                f"At the {name} the largest spike is {words.amount(top['ratio'])} medians high "
                f"(seed {top['seed']}, block {top['block']}, channel {top['channel']}, token "
                f"{top['top_gene']}); {words.count(top['n_over_rule'])} of "
                f"{words.count(top['n_channels'])} channels reach the stop rule of "
                f"{words.amount(n['spike_ratio'])} medians."
            )
    return [" ".join([*sentences, _frozen(n)])]


def _frozen(n: dict[str, Any]) -> str:
    models = words.several(n["n_models"], "model")
    if not n["n_candidates"]:
        return f"Over {models} the search froze no candidate."
    said = (
        f"Over {models} the search froze {words.several(n['n_candidates'], 'candidate')}: "
        f"{words.count(n['n_by_spike'])} from the spike search and "
        f"{words.count(n['n_by_first_order'])} from the first-order screen; "
        f"{words.count(n['n_spiking'])} make a spike that reaches the stop rule."
    )
    if n["n_candidates"] > n["n_spiking"]:
        said += " The others are tested all the same, so that a null result is a result."
    return said
