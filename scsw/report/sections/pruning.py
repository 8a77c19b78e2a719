"""Pruning: effects, verdicts, and the random weights beside them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.tables import Tables

VERDICTS = (
    "causal, constant",
    "causal, informative",
    "masked pair",
    "not causal",
    "not assessable",
)
FAMILIES = {
    "attn_out": "weights of the attention's output",
    "row": "whole rows of linear2",
    "column": "whole columns of linear2",
    "norm_gamma": "channels' γ of a norm",
    "norm_beta": "channels' β of a norm",
}
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
        "by_seed": _by_seed(t),
        "others": _others(t),
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
        "n_test_donors": int(
            verdicts["n_test_donors"].max()
            if len(verdicts)
            else t.donors.loc[t.donors["split"] == "test", "donor_id"].nunique()
        ),
        "least": _least(verdicts, t.config["prune"]["min_effect"]),
        "n_test_cells": _n_cells(t.type_effects),
        "alpha": t.config["statistics"]["alpha"],
    }


def _least(verdicts: pd.DataFrame, share: float) -> dict[str, Any]:
    """Return between which smallest effects that count the same candidates would be causal.

    All are shares of the gap; ``low`` is 0 where no candidate would be added, and ``high`` is None
    where none would be lost.
    """
    judged = verdicts[verdicts["min_effect"].gt(0) & verdicts["verdict"].ne("not assessable")]
    turning = judged["causal_below"] * share / judged["min_effect"]
    causal = judged["causal"].astype(bool)
    added, kept = turning[~causal].dropna(), turning[causal].dropna()
    first = judged.loc[added.idxmax()] if len(added) else None
    return {
        "share": share,
        "n_judged": len(judged),
        "low": float(added.max()) if len(added) else 0.0,
        "first": None if first is None else str(first["candidate_id"]),
        "seed": None if first is None else int(first["seed"]),
        "high": float(kept.min()) if len(kept) else None,
    }


def _n_cells(type_effects: pd.DataFrame) -> int | None:
    """Return how many test cells the candidates were measured on: the same for all of them."""
    if type_effects.empty:
        return None
    return int(type_effects.groupby(["seed", "candidate_id"])["n_cells"].sum().max())


def reading(n: dict[str, Any]) -> list[str]:
    """Say what zeroing the candidates did."""
    if not n["n_candidates"]:
        return ["The search froze no candidate, so nothing was pruned."]
    counted = words.listed(
        [f"{words.count(k)} “{verdict}”" for verdict, k in n["verdicts"].items() if k]
    )
    judged = (
        f"Of {words.several(n['n_candidates'], 'candidate')} over all fine-tuned models, "
        f"{counted}, measured on {_cells(n)}{words.several(n['n_test_donors'], 'test donor')}."
    )
    first = " ".join([judged, *_largest(n), *_alike(n)])
    seeds = _told_by_seed(n["by_seed"])
    return [
        first,
        *_hangs_on_least(n["least"]),
        *seeds,
        *_structural(n),
        *_pairs(n),
        *_told_of_others(n),
        *_recovered(n),
    ]


def _cells(n: dict[str, Any]) -> str:
    return "" if n["n_test_cells"] is None else f"{words.several(n['n_test_cells'], 'cell')} of "


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
            f"|h| by {words.effect(top['wanda_max'])}"
        )
    if top["row_neighbour_n"]:
        said.append(
            f"the strongest of {words.several(top['row_neighbour_n'], 'other column')} of its row "
            f"by {words.effect(top['row_neighbour_max'])}"
        )
    if top["noise_n"]:
        said.append(
            f"an edit of equal size in another channel by {words.effect(top['noise_mean'])} on "
            f"average ({words.several(top['noise_n'], 'channel')})"
        )
    return [f"What is like that candidate changes it thus: {words.listed(said)}."] if said else []


def _hangs_on_least(n: dict[str, Any]) -> list[str]:
    """Say how far the smallest effect that counts could be moved before a verdict turned."""
    if not n["n_judged"]:
        return []
    chosen = f"The smallest effect that counts is a choice, here {words.percent(n['share'])} of the"
    if n["high"] is not None:
        span = f"from {words.percent(n['low'])} to {words.percent(n['high'])}"
        text = f"{chosen} gap; with any other {span} the same candidates would be causal."
    elif n["first"] is None:
        return [
            f"{chosen} gap; whatever it were, no candidate would be causal, since each fails "
            "another question too."
        ]
    else:
        text = f"{chosen} gap; with any other above {words.percent(n['low'])} none would be causal."
    if n["first"] is not None:
        text += (
            f" Below {words.percent(n['low'])}, {n['first']} (seed {n['seed']}) would be the first "
            "to be added."
        )
    return [text]


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


def _by_seed(t: Tables) -> dict[str, Any]:
    """Return in how many seeds each candidate that is causal in one of them is causal."""
    causal = t.verdicts["causal"].astype(bool)
    names = list(dict.fromkeys(t.verdicts.loc[causal].sort_values("rank")["candidate_id"]))
    tuned = t.spike_summary[t.spike_summary["arm"] == "real"]
    return {
        "n_seeds": len(t.seeds),
        "n_with_causal": int(t.verdicts.loc[causal, "seed"].nunique()),
        "comparable": tuned["start"].nunique() == 1,
        "causal": [
            {
                "candidate_id": str(name),
                "n_causal": int((causal & (t.verdicts["candidate_id"] == name)).sum()),
                "n_judged": int((t.verdicts["candidate_id"] == name).sum()),
            }
            for name in names
        ],
        "models": [
            {"seed": seed, "n_causal": int(causal[t.verdicts["seed"] == seed].sum())}
            for seed in t.seeds
        ],
    }


def in_short(n: dict[str, Any]) -> str:
    """Say in how many of the fine-tuned models something is causal, and what seeds agree on."""
    found = n["by_seed"]
    if found["n_seeds"] < 2:
        return "There is one fine-tuned model, so no other seed to agree with it."
    text = (
        f"{words.count(found['n_with_causal'])} of {words.several(found['n_seeds'], 'model')} "
        f"{'has' if found['n_with_causal'] == 1 else 'have'} a causal candidate."
    )
    return " ".join([text, *_told_by_seed(found)])


def _told_by_seed(n: dict[str, Any]) -> list[str]:
    """Say seed by seed what is causal; a coordinate means one weight where the start is one."""
    if not n["causal"] or n["n_seeds"] < 2:
        return []
    if not n["comparable"]:
        models = [f"{words.count(m['n_causal'])} in seed {m['seed']}" for m in n["models"]]
        return [
            "The seeds began with different weights, so that one coordinate means another weight "
            f"in each; causal candidates, seed by seed: {words.listed(models)}."
        ]
    told = [
        f"{c['candidate_id']} is causal in {words.count(c['n_causal'])} of "
        f"{words.several(n['n_seeds'], 'seed')} (a candidate in {words.count(c['n_judged'])})"
        for c in n["causal"]
    ]
    return [f"Seed by seed: {words.listed(told)}."]


def _others(t: Tables) -> dict[str, Any]:
    """Return the candidates that are no single weight of linear2, and the strongest of them."""
    table = t.family_effects
    number = table["family"].str.replace(r"^norm\d_", "norm_", regex=True).value_counts()
    order = table.sort_values(["effect_nll", "seed"], ascending=[False, True], kind="stable")
    top = next(order.itertuples(), None)
    names = "seed n_controls effect_nll effect_low effect_high control_max p q".split()
    return {
        "n": len(table),
        "families": {name: int(number.get(name, 0)) for name in FAMILIES},
        "n_below": int((table["q"] <= t.config["statistics"]["alpha"]).sum()),
        "alpha": t.config["statistics"]["alpha"],
        "largest": None
        if top is None
        else {"candidate_id": str(top.candidate_id)} | {k: getattr(top, k) for k in names},
    }


def _told_of_others(n: dict[str, Any]) -> list[str]:
    others, top = n["others"], n["others"]["largest"]
    if top is None:
        return []
    kinds = [f"{words.count(k)} {FAMILIES[name]}" for name, k in others["families"].items() if k]
    said = (
        f"Beside single weights of linear2, {words.listed(kinds)} were found and zeroed. The "
        f"largest effect on the NLL is that of {top['candidate_id']} (seed {top['seed']}): "
        f"{words.effect(top['effect_nll'])} nats per cell "
        f"({words.interval(top['effect_low'], top['effect_high'])})"
    )
    if top["n_controls"]:
        said += (
            f"; the largest of {words.several(top['n_controls'], 'other')} of its kind and block "
            f"is {words.effect(top['control_max'])}"
        )
    rank = "" if words.is_missing(top["p"]) else f" (rank p = {words.amount(top['p'])})"
    return [
        f"{said}{rank}. {words.count(others['n_below'])} of {words.count(others['n'])} have q at "
        f"most {words.amount(others['alpha'])} against others of their kind. This is a secondary "
        "family of tests, and none of these has a verdict."
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
    some = 0 < n["n_neither"] < n["n_candidates"]  # of all or none the sentences before tell
    return [said] if some or n["n_unresolved"] else []


def _spiking(n: dict[str, Any]) -> list[str]:
    if not n["n_structural"]:
        return ["No candidate is structural: none carries a spike that is stable over donors."]
    return [
        f"{words.count(n['n_structural'])} of the candidates are structural (they carry a spike "
        f"that is stable over donors); {words.count(n['n_structural_causal'])} of these are "
        "causal. A weight can make a large activation and yet not matter to the prediction."
    ]
