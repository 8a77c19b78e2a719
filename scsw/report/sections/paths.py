"""What drives the spikes, how far they reach, and whether they show without data."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.figures.paths import followed, path_of
from scsw.report.tables import Tables

FAMILIES = {
    "ffn_down": "a single weight of linear2",
    "row": "many weights of linear2 together",
    "bias": "the bias of linear2",
    "norm_gamma": "γ of a norm",
    "norm_beta": "β of a norm",
    "attn_out": "the attention's output",
    "residual": "the residual stream as it came",
}


def numbers(t: Tables) -> dict[str, Any]:
    """Return the spikes by what drives them, the best candidate's reach, and finds without data."""
    families = t.origins["family"].value_counts()
    best = followed(t).head(1)
    return {
        "n_spikes": len(t.origins),
        "families": {name: int(families.get(name, 0)) for name in FAMILIES},
        "best": _reach(t, int(best["seed"].iloc[0]), str(best["candidate_id"].iloc[0]))
        if len(best)
        else None,
        "made_up": {
            kind: _shared(own)
            for kind, own in t.other_inputs.groupby("kind")
            if kind in ("random", "constant")
        },
    }


def _reach(t: Tables, seed: int, candidate: str) -> dict[str, Any]:
    path = path_of(t, seed, candidate)
    own = t.candidates[
        (t.candidates["arm"] == "real")
        & (t.candidates["seed"] == seed)
        & (t.candidates["candidate_id"] == candidate)
    ].iloc[0]
    return {
        "seed": seed,
        "candidate_id": candidate,
        "amplitude": float(path["amplitude"].iloc[0]),
        "amplitude_pruned": float(path["amplitude_pruned"].iloc[0]),
        "block": int(own["block"]),
        "last_on_top": int(own["last_on_top"]),
        "share_on_top": None if own["share_on_top"] != own["share_on_top"] else own["share_on_top"],
    }


def _shared(finds) -> dict[str, int]:
    spikes = finds[finds["found_by"] == "spike"]
    return {
        "n_models": int(finds["seed"].nunique()),
        "n_spikes": len(spikes),
        "n_in_family": int(spikes["in_family"].sum()),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say what drives the spikes, how far the best candidate's reaches, and what needs no data."""
    return [_origins(n), *([_path(n["best"])] if n["best"] else []), *_made_up(n["made_up"])]


def _origins(n: dict[str, Any]) -> str:
    if not n["n_spikes"]:
        return "No channel of a fine-tuned model reaches the stop rule inside a block."
    parts = [
        f"{FAMILIES[name]} ({words.count(count)})" for name, count in n["families"].items() if count
    ]
    return (
        f"Inside the blocks of the fine-tuned models the search saw "
        f"{words.several(n['n_spikes'], 'spike')} (a channel counts at each site where it spikes). "
        f"What drives them: {words.listed(parts)}. Only single weights of linear2 have a verdict; "
        "weights of the attention's output, rows, columns, γ and β are zeroed and set beside "
        "others of their kind."
    )


def _path(best: dict[str, Any]) -> str:
    sentence = (
        f"The channel of {best['candidate_id']} (seed {best['seed']}) has a largest |x| of "
        f"{words.amount(best['amplitude'])} at the sum of its block, "
        f"{words.amount(best['amplitude_pruned'])} with the candidate at zero"
    )
    if best["last_on_top"] < 0:
        return f"{sentence}; it is not the largest channel there."
    if best["share_on_top"] is None:
        return f"{sentence}; it is the largest channel there, in the last block."
    return (
        f"{sentence}; it is the largest channel there and in {words.percent(best['share_on_top'])} "
        "of the later blocks."
    )


def _made_up(finds: dict[str, Any]) -> list[str]:
    if not finds:
        return []
    parts = [
        f"{words.several(own['n_spikes'], 'spike')} in {kind} ones "
        f"({words.count(own['n_in_family'])} made by a candidate)"
        for kind, own in sorted(finds.items())
    ]
    return [f"Without data, on made-up cells, the search finds {words.listed(parts)}."]
