"""Replication: what agrees with the run's other cohorts."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

WHAT = {"genes": "gene-score", "pathways": "gene-set", "stages": "stage-slope"}


def numbers(t: Tables) -> dict[str, Any]:
    """Return how many comparisons were made and passed."""
    alpha = t.config["statistics"]["alpha"]
    cohorts = [entry["name"] for entry in t.config["cohorts"]]
    compared = {}
    for name, table in t.replication.items():
        tested = table.dropna(subset=["q"])
        passed = tested[tested["q"] < alpha]
        positive = passed["spearman"] > 0 if "spearman" in table else passed["same_sign"]
        compared[name] = {
            "n_tested": len(tested),
            "n_passed": len(passed),
            "n_positive": int(positive.astype(bool).sum()),
        }
    stages = t.replication["stages"]
    return {
        "alpha": alpha,
        "others": [name for name in cohorts if name != t.cohort],
        "compared": compared,
        "shared_donors": _shared_donors(t),
        "n_same_sign": int(stages["same_sign"].astype(bool).sum()),
        "n_slopes": len(stages),
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say what was found again."""
    if not n["others"]:
        return ["This run has one cohort, so nothing could be replicated."]
    made = {name: found for name, found in n["compared"].items() if found["n_tested"]}
    if not made:
        return [f"Nothing could be compared with {words.listed(n['others'])}."]
    parts = [
        f"{words.count(found['n_passed'])} of "
        f"{words.several(found['n_tested'], WHAT[name] + ' comparison')}{_direction(found)}"
        for name, found in made.items()
    ]
    text = f"Against {words.listed(n['others'])}, {words.listed(parts)} pass q < "
    text += f"{words.amount(n['alpha'])}."
    if n["n_slopes"]:
        text += (
            f" {words.count(n['n_same_sign'])} of {words.several(n['n_slopes'], 'stage slope')} "
            "have the same sign in both cohorts."
        )
    for other, n_shared in n["shared_donors"].items():
        text += (
            f" {words.several(n_shared, 'donor')} of this cohort {'is' if n_shared == 1 else 'are'}"
            f" in {other} as well, so agreement with it is no independent evidence."
        )
    return [text]


def _shared_donors(t: Tables) -> dict[str, int]:
    """Return the cohorts that have donors of this one, and how many."""
    shared = {}
    for table in t.replication.values():
        for row in table[["cohort_a", "cohort_b", "n_shared_donors"]].itertuples(index=False):
            other = row.cohort_b if row.cohort_a == t.cohort else row.cohort_a
            if row.n_shared_donors:
                shared[str(other)] = int(row.n_shared_donors)
    return shared


def _direction(found: dict[str, Any]) -> str:
    if not found["n_passed"]:
        return ""
    return f" ({words.count(found['n_positive'])} in the same direction)"
