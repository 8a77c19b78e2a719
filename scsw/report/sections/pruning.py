"""Pruning: effects, verdicts, and the random weights beside them."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

VERDICTS = (
    "causal, constant",
    "causal, informative",
    "masked pair",
    "not causal",
    "not assessable",
)
SCORES = {
    "spike": "spike ratio of its row",
    "weight": "size of the weight",
    "wanda": "|w|·mean |h|",
    "first_order": "first-order effect",
}


def numbers(t: Tables) -> dict[str, Any]:
    """Return counts of verdicts and the extremes of candidates and controls."""
    verdicts = t.verdicts
    random = t.effects[t.effects["weight_set"] == "random"]["effect_nll"]
    judged = verdicts.dropna(subset=["effect_nll"])
    order = judged.sort_values(["effect_nll", "seed"], ascending=[False, True], kind="stable")
    top = next(order.itertuples(), None)
    structural = verdicts["structural"].astype(bool)
    masked = t.pairs[t.pairs["masked"].astype(bool)]
    return {
        "n_candidates": len(verdicts),
        "verdicts": {name: int((verdicts["verdict"] == name).sum()) for name in VERDICTS},
        "n_structural": int(structural.sum()),
        "n_structural_causal": int((structural & verdicts["causal"].astype(bool)).sum()),
        "n_neither": int((~structural & (verdicts["verdict"] == "not causal")).sum()),
        "n_unresolved": int(verdicts["unresolved"].astype(bool).sum()),
        "n_pairs": len(t.pairs),
        "masked": [
            {
                "seed": int(pair.seed),
                "candidates": [str(pair.candidate_a), str(pair.candidate_b)],
                "effect_joint": float(pair.effect_joint),
                "excess": float(pair.excess),
                "excess_low": float(pair.excess_low),
                "excess_high": float(pair.excess_high),
            }
            for pair in masked.itertuples()
        ],
        "recovery": _recovery(t),
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
            "wanda_n": int(top.wanda_n),
            "wanda_max": float(top.wanda_max),
            "row_neighbour_n": int(top.row_neighbour_n),
            "row_neighbour_max": float(top.row_neighbour_max),
            "noise_n": int(top.noise_n),
            "noise_mean": float(top.noise_mean),
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
    first = " ".join([judged, *_largest(n), *_alike(n)])
    return [first, *_structural(n), *_pairs(n), *_recovered(n)]


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


def _alike(n: dict[str, Any]) -> list[str]:
    """Say what the controls that are like the strongest candidate do."""
    top, said = n["largest"], []
    if top is None:
        return []
    if top["wanda_n"]:
        said.append(
            f"the strongest of {words.several(top['wanda_n'], 'weight')} of the nearest |w|·mean "
            f"|h| {words.effect(top['wanda_max'])}"
        )
    if top["row_neighbour_n"]:
        said.append(
            f"the strongest of {words.several(top['row_neighbour_n'], 'other column')} of its row "
            f"{words.effect(top['row_neighbour_max'])}"
        )
    if top["noise_n"]:
        said.append(
            f"an edit of equal size in another channel {words.effect(top['noise_mean'])} on "
            f"average ({words.several(top['noise_n'], 'channel')})"
        )
    return [f"Of what is like that candidate, {words.listed(said)}."] if said else []


def _pairs(n: dict[str, Any]) -> list[str]:
    """Say whether two weights stand in for each other."""
    if not n["n_pairs"]:
        return []
    if not n["masked"]:
        return [
            f"Of {words.several(n['n_pairs'], 'pair')} of candidates zeroed together, none is a "
            "masked pair, of which neither weight is causal alone and both together are."
        ]
    named = [
        f"{' with '.join(pair['candidates'])} (seed {pair['seed']}): together "
        f"{words.effect(pair['effect_joint'])}, which is {words.effect(pair['excess'])} over the "
        f"sum of both ({words.interval(pair['excess_low'], pair['excess_high'])})"
        for pair in n["masked"]
    ]
    return [
        f"Of {words.several(n['n_pairs'], 'pair')} of candidates zeroed together, "
        f"{words.count(len(named))} {'is a masked pair' if len(named) == 1 else 'are masked pairs'}"
        f": {'; '.join(named)}. Neither weight of such a pair is causal alone."
    ]


def _recovery(t: Tables) -> list[dict[str, Any]]:
    """Return how each score orders the random weights, over all blocks of a model."""
    pooled = t.recovery[(t.recovery["scope"] == "all") & t.recovery["score"].isin(list(SCORES))]
    names = "score n n_resolved spearman spearman_low spearman_high"
    return [
        {"seed": int(row.seed)} | {name: getattr(row, name) for name in names.split()}
        for row in pooled.itertuples()
    ]


def _recovered(n: dict[str, Any]) -> list[str]:
    """Say how well cheap scores foretell effects, model by model."""
    said = []
    for seed in dict.fromkeys(row["seed"] for row in n["recovery"]):
        rows = [row for row in n["recovery"] if row["seed"] == seed]
        scores = [
            f"{SCORES[row['score']]} {words.effect(row['spearman'])} "
            f"({words.interval(row['spearman_low'], row['spearman_high'])})"
            for row in rows
        ]
        said.append(
            f"How well scores that need no pruning order the effects of "
            f"{words.several(rows[0]['n'], 'random weight')} (seed {seed}; of "
            f"{words.count(rows[0]['n_resolved'])} the effect is above the numerical floor), as "
            f"Spearman correlations: {words.listed(scores)}."
        )
    return said


def _structural(n: dict[str, Any]) -> list[str]:
    return [*_spiking(n), *_neither(n)]


def _neither(n: dict[str, Any]) -> list[str]:
    said = f"{words.count(n['n_neither'])} of the candidates are neither structural nor causal."
    if n["n_unresolved"]:
        said += (
            f" The effects of {words.count(n['n_unresolved'])} are unresolved: within the "
            "numerical floor."
        )
    return [said] if n["n_neither"] or n["n_unresolved"] else []


def _spiking(n: dict[str, Any]) -> list[str]:
    if not n["n_structural"]:
        return ["No candidate is structural: none carries a spike that is stable over donors."]
    return [
        f"{words.count(n['n_structural'])} of the candidates are structural (they carry a spike "
        f"that is stable over donors); {words.count(n['n_structural_causal'])} of these are "
        "causal. A weight can make a large activation and yet not matter to the prediction."
    ]
