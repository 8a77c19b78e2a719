"""Fine-tuning: whether the models know cell types, which is what a pruned weight could destroy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.tables import Tables

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "nll")
PREDICTORS = ("scgpt", "majority", "pca_logistic", "frozen_encoder")


def numbers(t: Tables) -> dict[str, Any]:
    """Return the range of test scores over the fine-tuned models; a score is a mean of donors."""
    scored = t.performance[(t.performance["cell_type"] == "all") & (t.performance["arm"] == "real")]
    test = {}
    for metric in METRICS:
        test[metric] = {}
        for predictor in PREDICTORS:
            kept = (scored["metric"] == metric) & (scored["predictor"] == predictor)
            test[metric][predictor] = _range(scored[kept])
    by_seed = scored.pivot_table(index="seed", columns=["predictor", "metric"], values="donor_mean")
    own = scored[(scored["metric"] == "accuracy") & (scored["predictor"] == "scgpt")]
    above = _compared(by_seed, "majority", lower=True)
    beaten = _compared(by_seed, "pca_logistic", lower=False)
    untuned = _compared(by_seed, "frozen_encoder", lower=False)
    return {
        "n_models": len(t.seeds),
        "n_cells": int(scored["n_cells"].max()) if len(scored) else 0,
        "n_donors": int(scored["n_donors"].max()) if len(scored) else 0,
        "test": test,
        "accuracy_low": float(own["donor_low"].min()),
        "accuracy_high": float(own["donor_high"].max()),
        "n_above_majority": above,
        "n_below_logistic": beaten,
        "n_below_untuned": untuned,
        "steps": int(t.history["step"].max()) if len(t.history) else 0,
    }


def _compared(by_seed: pd.DataFrame, baseline: str, *, lower: bool) -> int:
    """Count the models whose accuracy a baseline is lower than, or higher than."""
    if ("scgpt", "accuracy") not in by_seed or (baseline, "accuracy") not in by_seed:
        return 0
    model, other = by_seed["scgpt", "accuracy"], by_seed[baseline, "accuracy"]
    return int(((other < model) if lower else (other > model)).sum())


def _range(rows: pd.DataFrame) -> dict[str, float | None]:
    values = rows["donor_mean"].astype(float).dropna()
    return (
        {"low": float(values.min()), "high": float(values.max())}
        if len(values)
        else {
            "low": None,
            "high": None,
        }
    )


def reading(n: dict[str, Any]) -> list[str]:
    """Say how well the models do beside the baselines."""
    accuracy, balanced, f1 = (_span(n, name) for name in METRICS[:3])
    scores = (
        f"On {words.count(n['n_cells'])} cells of {words.several(n['n_donors'], 'test donor')} the "
        f"{words.several(n['n_models'], 'fine-tuned model')} reached an accuracy of {accuracy} "
        f"({_over_donors(n)}), a balanced accuracy of {balanced} and a macro F1 of {f1}, as means "
        "over donors. Always naming the most common type gives an accuracy of "
        f"{_span(n, 'accuracy', 'majority')}, "
        f"logistic regression on principal components {_span(n, 'accuracy', 'pca_logistic')}, "
        f"logistic regression on the cell embeddings of the model before fine-tuning "
        f"{_span(n, 'accuracy', 'frozen_encoder')}."
    )
    remarks = []
    below = n["n_models"] - n["n_above_majority"]
    if below:
        remarks.append(_no_better(below))
    if n["n_below_logistic"]:
        remarks.append(
            f"{words.several(n['n_below_logistic'], 'model')} stayed below logistic regression: "
            "this run does not show that scGPT is needed to tell these cell types apart."
        )
    if n["n_below_untuned"]:
        remarks.append(
            f"{words.several(n['n_below_untuned'], 'model')} stayed below logistic regression on "
            "the embeddings of the model before fine-tuning: fine-tuning did not help there."
        )
    return [scores, *remarks]


def _over_donors(n: dict[str, Any]) -> str:
    low, high = n["accuracy_low"], n["accuracy_high"]
    if words.is_missing(low) or words.is_missing(high):
        return "no interval over donors"
    which = "interval over donors" if n["n_models"] == 1 else "intervals over donors within"
    return f"95 % {which} {words.amount(low)} to {words.amount(high)}"


def in_short(n: dict[str, Any]) -> str:
    """Give the models' accuracy beside that of two baselines."""
    text = (
        f"Accuracy on test donors {_span(n, 'accuracy')}; always naming the most common type "
        f"gives {_span(n, 'accuracy', 'majority')}, logistic regression on principal components "
        f"{_span(n, 'accuracy', 'pca_logistic')}."
    )
    below = n["n_models"] - n["n_above_majority"]
    return text + (f" {_no_better(below)}" if below else "")


def _no_better(n_models: int) -> str:
    return (
        f"{words.several(n_models, 'model')} did no better than the most common type, so there is "
        "little that pruning could destroy."
    )


def _span(n: dict[str, Any], metric: str, predictor: str = "scgpt") -> str:
    values = n["test"][metric][predictor]
    return words.span(values["low"], values["high"])
