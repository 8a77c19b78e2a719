"""Fragility to quantisation: what rounding costs, and whether holding out candidates helps."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.figures.quantization import block_order, smallest_relevant
from scsw.report.names import model_label
from scsw.report.tables import Tables

WAYS = ("none", "candidates", "random", "difference")


def numbers(t: Tables) -> dict[str, Any]:
    """Return the effects at the coarsest scale, and how often the difference is clear."""
    effects = t.quantization
    coarsest = block_order(effects)[-1]
    apart = effects[(effects["hold_out"] == "difference") & (effects["arm"] == "real")]
    return {
        "coarsest": int(coarsest),
        "n_test_donors": int(effects["n_donors"].max()),
        "random_draws": t.config["quantize"]["random_draws"],
        "models": [_model(t, arm, seed, coarsest) for arm, seed in t.quantized_models],
        "difference": {
            "n_settings": len(apart),
            "n_assessable": int(apart["effect_low"].notna().sum()),
            "n_below": int((apart["effect_high"] < 0).sum()),
            "n_above": int((apart["effect_low"] > 0).sum()),
        },
    }


def _model(t: Tables, arm: str, seed: int, coarsest: int) -> dict[str, Any]:
    effects = t.quantization
    own = effects[(effects["arm"] == arm) & (effects["seed"] == seed)]
    limit = smallest_relevant(t, arm, seed)
    plain = own[own["hold_out"] == "none"]
    return {
        "arm": arm,
        "seed": seed,
        "label": model_label(arm, seed),
        "n_held_out": int(own["n_held_out"].max()),
        "min_effect": limit,
        "n_settings": len(plain),
        "n_assessable": int(plain["effect_low"].notna().sum()),
        "n_fragile": int((plain["effect_low"] > limit).sum()) if limit is not None else 0,
        "coarse": [
            {"bits": int(bits), **_ways(found)}
            for bits, found in reversed([*own[own["block_size"] == coarsest].groupby("bits")])
        ],
    }


def _ways(found: pd.DataFrame) -> dict[str, Any]:
    by_way = {row.hold_out: row for row in found.itertuples()}
    return {
        way: {
            "effect_nll": float(by_way[way].effect_nll),
            "effect_low": float(by_way[way].effect_low),
            "effect_high": float(by_way[way].effect_high),
            "effect_accuracy": float(by_way[way].effect_accuracy),
            "effect_gep_mse": float(by_way[way].effect_gep_mse),
            "n_changed": float(by_way[way].n_changed),
        }
        for way in WAYS
        if way in by_way
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say whether holding out the candidates helps, then what rounding did to each model."""
    return [_difference(n), *[_of_model(n, model) for model in n["models"]]]


def _difference(n: dict[str, Any]) -> str:
    apart = n["difference"]
    if not apart["n_settings"]:
        return "The fine-tuned models have no candidate that could be held out of the rounding."
    if not apart["n_assessable"]:
        return (
            f"With {words.several(n['n_test_donors'], 'test donor')} it cannot be told whether "
            "holding out the candidates helps more than holding out random weights."
        )
    counted = (
        "In the fine-tuned models the cost of rounding with the candidates held out, less that "
        "with as many random weights held out, has an interval below zero in "
        f"{words.count(apart['n_below'])} of {words.several(apart['n_settings'], 'setting')} and "
        f"above zero in {words.count(apart['n_above'])}, not corrected for their number."
    )
    if not apart["n_below"]:
        return (
            f"{counted} So holding out the candidates is not shown to help more than holding out "
            "random weights does."
        )
    return (
        f"{counted} Where it is below, holding out the candidates helps more. The random weights "
        "are not matched in size: any weight large enough to set a scale would help when it is "
        "held out, whether or not the model depends on it."
    )


def _of_model(n: dict[str, Any], model: dict[str, Any]) -> str:
    label = model["label"][0].upper() + model["label"][1:]
    scale = f"blocks of {words.count(n['coarsest'])} weights" if n["coarsest"] else "whole matrices"
    said = [_setting(found, model) for found in model["coarse"]]
    return " ".join([f"{label}, with one scale for {scale}:", *said, *_fragile(model)])


def _setting(found: dict[str, Any], model: dict[str, Any]) -> str:
    plain = found["none"]
    text = (
        f"INT{found['bits']} changes the cell-type NLL by {words.effect(plain['effect_nll'])} nats "
        f"per cell ({words.interval(plain['effect_low'], plain['effect_high'])}), the accuracy by "
        f"{words.effect(plain['effect_accuracy'])} and the masked-expression MSE by "
        f"{words.percent(plain['effect_gep_mse'])}"
    )
    if "difference" not in found:
        return text + "."
    spared, random, apart = (found[way] for way in WAYS[1:])
    return (
        f"{text}; with {words.several(model['n_held_out'], 'candidate')} held out the NLL changes "
        f"by {words.effect(spared['effect_nll'])} and with as many random weights by "
        f"{words.effect(random['effect_nll'])}, a difference of {words.effect(apart['effect_nll'])}"
        f" ({words.interval(apart['effect_low'], apart['effect_high'])}). {_changed(spared)}"
    )


def _changed(spared: dict[str, Any]) -> str:
    if not spared["n_changed"]:
        return "No candidate sets a scale, so that no other weight was rounded otherwise."
    changed = words.several(round(spared["n_changed"]), "other weight")
    return f"Holding the candidates out changed the rounding of {changed}."


def _fragile(model: dict[str, Any]) -> list[str]:
    if model["min_effect"] is None or not model["n_assessable"]:
        return []
    return [
        f"In {words.count(model['n_fragile'])} of its "
        f"{words.several(model['n_settings'], 'combination')} of bits and block size, rounding "
        "everything costs more than the smallest effect that counts in pruning "
        f"({words.amount(model['min_effect'])} nats), by the lower donor bound."
    ]
