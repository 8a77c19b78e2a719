"""Control arms: whether the run finds what is there, and only that."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.names import ARM_LABELS, COMPARED
from scsw.report.tables import Tables

NO_ARMS = (
    "This run has no control arms: it shows neither that a planted weight would have been found, "
    "nor that nothing is found where nothing is."
)


def numbers(t: Tables) -> dict[str, Any]:
    """Return each control arm's outcome."""
    arms = []
    for arm, seed in t.control_models:
        found = t.controls[(t.controls["arm"] == arm) & (t.controls["seed"] == seed)]
        row = found.iloc[0] if len(found) else None
        passed = None if row is None or pd.isna(row["passed"]) else bool(row["passed"])
        arms.append(
            {
                "arm": arm,
                "label": ARM_LABELS[arm],
                "seed": seed,
                "passed": passed,
                "outcome": "there is no result" if row is None else str(row["outcome"]),
            }
        )
    return {
        "arms": arms,
        "n_arms": sum(arm["arm"] not in COMPARED for arm in arms),
        "n_passed": sum(arm["passed"] is True for arm in arms),
        "failed": [arm["label"] for arm in arms if arm["passed"] is False],
        "undecided": [
            arm["label"] for arm in arms if arm["passed"] is None and arm["arm"] not in COMPARED
        ],
        "has_implant": any(arm["arm"].startswith("implanted") for arm in arms),
        "negative_could_fail": any(
            arm["arm"] in ("untrained", "shuffled") and arm["passed"] is not None for arm in arms
        ),
        "found_implant": any(
            arm["arm"].startswith("implanted") and arm["passed"] is True for arm in arms
        ),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say which controls came out as they must."""
    if not n["n_arms"]:
        return [NO_ARMS]
    outcomes = [f"{arm['label'].capitalize()}: {arm['outcome'].rstrip('.')}." for arm in n["arms"]]
    remarks = []
    if n["failed"]:
        quoted = [f"“{label}”" for label in n["failed"]]
        remarks.append(
            f"FAILED: {words.listed(quoted)}. The verdicts of this run should not be relied "
            "upon before this is understood."
        )
    return [_counted(n) + " " + " ".join(outcomes), *remarks]


def in_short(n: dict[str, Any]) -> str:
    """Say how many control arms came out as expected, and name those that did not."""
    if not n["n_arms"]:
        return NO_ARMS
    text = _counted(n)
    for word, labels in {"Failed": n["failed"], "Undecided": n["undecided"]}.items():
        if labels:
            text += f" {word}: {words.listed([f'“{label}”' for label in labels])}."
    return text


def _counted(n: dict[str, Any]) -> str:
    undecided = len(n["undecided"])
    counted = (
        f"Of {words.several(n['n_arms'], 'control arm')}, {words.count(n['n_passed'])} came out as "
        f"expected, {words.count(len(n['failed']))} did not"
    )
    return counted + (
        f", and {words.count(undecided)} could neither pass nor fail." if undecided else "."
    )
