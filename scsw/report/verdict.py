"""The sentence that a report begins with: what was found, or how small an effect was excluded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from scsw.report import words

CAUSAL, NONE, UNABLE = "causal", "none causal", "not assessable"
NOTHING_TO_LOSE, NO_CANDIDATE = "nothing to collapse", "no candidate"
MEANING = {
    "causal, constant": "acts as a constant",
    "causal, informative": "carries information",
}


def verdict_sentence(
    verdicts: pd.DataFrame,
    *,
    cohort: str,
    simulated: bool,
    seeds: Sequence[int],
    min_effect_share: float,
    failed_controls: Sequence[str] = (),
) -> str:
    """Say in words what the verdicts of a cohort's fine-tuned models amount to.

    Parameters
    ----------
    verdicts
        Rows of ``verdicts.parquet``; those of other arms than `real` are left out.
    cohort
        Name of the cohort.
    simulated
        Whether its data are simulated.
    seeds
        Seeds of all fine-tuned models, also of those without any candidate.
    min_effect_share
        ``prune.min_effect`` of the config: `min_effect` as a share of the gap in NLL between the
        intact model and the training frequencies (the majority floor).
    failed_controls
        Labels of the control arms that did not come out as they must.
    """
    facts = verdict_numbers(verdicts, seeds=seeds, min_effect_share=min_effect_share)
    name = f"{cohort} (simulated)" if simulated else cohort
    return say(facts, name=name, failed_controls=failed_controls)


def verdict_numbers(
    verdicts: pd.DataFrame, *, seeds: Sequence[int], min_effect_share: float
) -> dict[str, Any]:
    """Return the numbers behind the sentence, model by model.

    Returns
    -------
    dict
        ``n_models``; ``models``, one dictionary per seed with ``seed, state, n_candidates,
        n_causal, reason, best`` (its largest effect) and the ``detectable_low`` and ``..._high``
        of its candidates; ``causal`` (the causal candidates);
        ``masked`` (masked pairs, ``seed`` and both ``candidates``);
        ``largest`` (the causal candidate of largest effect, or None); ``detectable_low`` and
        ``detectable_high`` in nats and ``detectable_share_low`` and ``..._high`` of the gap to the
        majority floor, over the models in which nothing was causal.
    """
    real = verdicts[verdicts["arm"] == "real"]
    models = [_model(real[real["seed"] == seed], seed) for seed in seeds]
    causal = real[real["causal"].astype(bool) & real["seed"].isin(list(seeds))]
    causal = causal.sort_values(["seed", "rank"], kind="stable")
    unseen = real[real["seed"].isin([m["seed"] for m in models if m["state"] == NONE])]
    share = unseen["detectable_effect"] * min_effect_share / unseen["min_effect"]
    ordered = [_row(row) for row in causal.itertuples()]
    return {
        "n_models": len(models),
        "states": {name: sum(m["state"] == name for m in models) for name in _STATES},
        "models": models,
        "causal": ordered,
        "masked": _masked(real, seeds),
        "largest": max(ordered, key=lambda row: row["effect_nll"], default=None),
        "detectable_low": _or_none(unseen["detectable_effect"].min()),
        "detectable_high": _or_none(unseen["detectable_effect"].max()),
        "detectable_share_low": _or_none(share.min()),
        "detectable_share_high": _or_none(share.max()),
    }


_STATES = (CAUSAL, NONE, UNABLE, NOTHING_TO_LOSE, NO_CANDIDATE)


def say(facts: dict[str, Any], *, name: str, failed_controls: Sequence[str] = ()) -> str:
    """Put the numbers of `verdict_numbers` into one to three sentences."""
    states, n = facts["states"], facts["n_models"]
    if states[CAUSAL]:
        parts = [_found(facts, name)]
        if states[NONE]:
            parts.append(f"In {_of(states[NONE], n)} no candidate was judged causal.")
    elif states[NONE]:
        parts = [_nothing(facts, name)]
    elif states[UNABLE] == n:
        return f"Not assessable in {name}: {_reasons(facts)}."
    else:
        parts = [f"No statement is possible for {name}."]
    parts += _together(facts)
    parts += _rest(facts)
    if failed_controls:
        arms = words.listed([f"“{arm}”" for arm in failed_controls])
        noun = "control" if len(failed_controls) == 1 else "controls"
        parts.append(f"Read this with caution: the {noun} {arms} did not come out as expected.")
    return " ".join(parts)


def _model(rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    judged = rows.dropna(subset=["effect_nll"]).sort_values(
        ["effect_nll", "rank"], ascending=[False, True], kind="stable"
    )
    best = next(judged.itertuples(), None)
    state = _state(rows)
    return {
        "seed": int(seed),
        "state": state,
        "n_candidates": len(rows),
        "n_causal": int(rows["causal"].astype(bool).sum()),
        "reason": _clause(rows["reason"].iloc[0]) if state == UNABLE else "",
        "best": None if best is None else _row(best),
        "detectable_low": _or_none(rows["detectable_effect"].min()),
        "detectable_high": _or_none(rows["detectable_effect"].max()),
    }


def _state(rows: pd.DataFrame) -> str:
    if rows.empty:
        return NO_CANDIDATE
    if rows["causal"].astype(bool).any():
        return CAUSAL
    if (rows["verdict"] == "not assessable").all():
        return UNABLE
    return NONE if rows["min_effect"].gt(0).all() else NOTHING_TO_LOSE


def _row(row: Any) -> dict[str, Any]:
    names = "candidate_id verdict effect_nll effect_low effect_high q min_effect detectable_effect"
    return {"seed": int(row.seed)} | {name: getattr(row, name) for name in names.split()}


def _or_none(value: float) -> float | None:
    return None if words.is_missing(value) else float(value)


def _clause(reason: str) -> str:
    return str(reason).removeprefix("not assessable:").strip().rstrip(".")


def _reasons(facts: dict[str, Any]) -> str:
    reasons = [model["reason"] for model in facts["models"] if model["state"] == UNABLE]
    return "; ".join(dict.fromkeys(reasons))


def _of(k: int, n: int, noun: str = "models") -> str:
    if n == 1:
        return f"the one {noun.removesuffix('s')}"
    return (
        f"all {words.count(n)} {noun}" if k == n else f"{words.count(k)} of {words.count(n)} {noun}"
    )


def _found(facts: dict[str, Any], name: str) -> str:
    each = [
        f"{row['candidate_id']} (seed {row['seed']}, {MEANING[row['verdict']]})"
        for row in facts["causal"]
    ]
    best = facts["largest"]
    bounds = words.interval(best["effect_low"], best["effect_high"])
    models = _of(facts["states"][CAUSAL], facts["n_models"], "fine-tuned models")
    return (
        f"In {models} of {name}, at least one candidate weight was judged causal: "
        f"{words.listed(each)}; the largest effect of zeroing one was "
        f"{words.effect(best['effect_nll'])} nats per cell ({bounds}; "
        f"{best['candidate_id']}, seed {best['seed']})."
    )


def _nothing(facts: dict[str, Any], name: str) -> str:
    n = facts["states"][NONE]
    all_of_them = n == facts["n_models"]
    those = "" if all_of_them else " that could be assessed"
    models = f"the one fine-tuned model{those}" if n == 1 else f"any of the {n} fine-tuned models"
    models += "" if n == 1 else those
    nats = words.span(facts["detectable_low"], facts["detectable_high"])
    gap = words.span(
        facts["detectable_share_low"], facts["detectable_share_high"], write=words.percent
    )
    return (
        f"No candidate weight was judged causal in {models} of {name}; an effect below {nats} nats "
        f"per cell ({gap} of the gap to the majority floor) could not have been called causal, and "
        "a larger one only as far as the donors agree on it."
    )


def _masked(real: pd.DataFrame, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the masked pairs, each once, in the order of their better candidate."""
    members = real[(real["verdict"] == "masked pair") & real["seed"].isin(list(seeds))]
    found: dict[tuple, dict[str, Any]] = {}
    for row in members.sort_values(["seed", "rank"], kind="stable").itertuples():
        key = (row.seed, *sorted([row.candidate_id, row.partner]))
        pair = {"seed": int(row.seed), "candidates": [row.candidate_id, row.partner]}
        found.setdefault(key, pair)
    return list(found.values())


def _together(facts: dict[str, Any]) -> list[str]:
    """Name the weights that matter only together."""
    if not facts["masked"]:
        return []
    named = [f"{' with '.join(p['candidates'])} (seed {p['seed']})" for p in facts["masked"]]
    noun = "this pair did" if len(named) == 1 else "these pairs did"
    return [
        f"Zeroed together, {noun} what neither weight does alone (masked): {words.listed(named)}."
    ]


def _rest(facts: dict[str, Any]) -> list[str]:
    """Name the models that the main sentence is not about."""
    states, n, parts = facts["states"], facts["n_models"], []
    if states[UNABLE]:
        parts.append(f"Not assessable in {_of(states[UNABLE], n)}: {_reasons(facts)}.")
    if states[NOTHING_TO_LOSE]:
        parts.append(
            f"In {_of(states[NOTHING_TO_LOSE], n)} nothing could collapse: the intact "
            "model is no better than the training frequencies of the cell types."
        )
    if states[NO_CANDIDATE]:
        parts.append(f"In {_of(states[NO_CANDIDATE], n)} the search found no candidate.")
    return parts
