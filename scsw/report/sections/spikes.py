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
    comparable = t.stability["comparable"].astype(bool).all() if len(t.stability) else False
    shared = t.stability["share_of_seeds"] * len(t.seeds) > 1.5 if len(t.stability) else []
    return {
        "spike_ratio": rule,
        "sites": {site: _largest(real[real["site"] == site], rule) for site in SITES},
        "n_models": len(t.seeds),
        "n_candidates": len(candidates),
        "n_by_spike": int(candidates["found_by"].isin(["spike", "below_rule"]).sum()),
        "n_by_first_order": int((candidates["found_by"] == "first_order").sum()),
        "n_spiking": int((candidates["found_by"] == "spike").sum()),
        "comparable": bool(comparable),
        "n_distinct": len(t.stability),
        "n_in_several_seeds": int(sum(shared)),
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
    frozen = (
        f"Over {words.several(n['n_models'], 'model')} the search froze "
        f"{words.several(n['n_candidates'], 'candidate')}: "
        f"{words.count(n['n_by_spike'])} from the spike search and "
        f"{words.count(n['n_by_first_order'])} from the first-order screen; "
        f"{words.count(n['n_spiking'])} make a spike that reaches the stop rule."
    )
    if n["n_candidates"] > n["n_spiking"]:
        frozen += " The others are tested all the same, so that a null result is a result."
    return [" ".join([*sentences, frozen]), *_agreement(n)]


def _agreement(n: dict[str, Any]) -> list[str]:
    if n["n_models"] < 2:
        return ["With one fine-tuned model nothing can be said on agreement between seeds."]
    if not n["comparable"]:
        return [
            "The models do not share a start, so the same coordinate in two seeds is not the same "
            "weight, and agreement between seeds is not assessed."
        ]
    several = n["n_in_several_seeds"]
    return [
        f"Of {words.several(n['n_distinct'], 'distinct candidate')}, {words.count(several)} "
        f"{'was' if several == 1 else 'were'} found in more than one seed."
    ]
