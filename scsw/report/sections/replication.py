"""Replication: what agrees with the run's other cohorts."""

from __future__ import annotations

from typing import Any

from scsw.biology.replicate.replication_summary import against_both_nulls, judged
from scsw.report import words
from scsw.report.tables import Tables

LEVELS = {
    "candidates": "spikes or hidden units",
    "genes": "gene scores of matched candidates",
    "pathways": "gene-set scores of matched candidates",
    "stages": "stage slopes over cell classes",
}


def numbers(t: Tables) -> dict[str, Any]:
    """Return the summary by pair of cohorts, the tests of each pair of models, and the slopes."""
    alpha = t.config["statistics"]["alpha"]
    cohorts = [entry["name"] for entry in t.config["cohorts"]]
    stages, genes = t.replication["stages"], t.replication["genes"]
    pairs = genes[genes["view"] == "read_in"]
    both = pairs["causal_a"].astype(bool) & pairs["causal_b"].astype(bool)
    slopes = stages.dropna(subset=["q"])
    return {
        "alpha": alpha,
        "others": [name for name in cohorts if name != t.cohort],
        "levels": [_summary(row) for row in t.replication["summary"].itertuples()],
        "models": _models(t, alpha),
        "shared_donors": _shared_donors(t),
        "n_pairs": len(pairs),
        "n_causal_pairs": int(both.sum()),
        "n_gene_tests": len(genes),
        "n_gene_level": int((genes["q"] <= alpha).sum()),
        "n_both_levels": int((against_both_nulls(genes)["q"] <= alpha).sum()),
        "n_unit_tested": int(genes["unit_q"].notna().sum()),
        "n_slopes": len(stages),
        "n_same_sign": int(stages["same_sign"].astype(bool).sum()),
        "n_slopes_passed": int(((slopes["q"] <= alpha) & slopes["same_sign"].astype(bool)).sum()),
    }


def _summary(row) -> dict[str, Any]:
    return {
        "cohort_a": str(row.cohort_a),
        "cohort_b": str(row.cohort_b),
        "level": str(row.level),
        "statistic_is": str(row.statistic_is),
        "statistic": float(row.statistic),
        "n": int(row.n),
        "n_models": int(row.n_models),
        "n_models_agree": int(row.n_models_agree),
        "q": float(row.q),
        "independent": bool(row.independent),
        "outcome": str(row.outcome),
    }


def _models(t: Tables, alpha: float) -> list[dict[str, Any]]:
    """Return how many tests of each level pass, model by model."""
    found: dict[tuple, dict[str, Any]] = {}
    for level in LEVELS:
        table = judged(t.replication, level).dropna(subset=["q"])
        for key, own in table.groupby(["cohort_a", "seed_a", "cohort_b", "seed_b"]):
            names = dict(zip(("cohort_a", "seed_a", "cohort_b", "seed_b"), key, strict=True))
            entry = found.setdefault(key, names | {"tests": {}})
            passed = int((own["q"] <= alpha).sum())
            entry["tests"][level] = {"n": len(own), "n_passed": passed}
    return [found[key] for key in sorted(found)]


def reading(n: dict[str, Any]) -> list[str]:
    """Say what was found again, level by level, then model by model."""
    if not n["others"]:
        return ["This run has one cohort, so nothing could be replicated."]
    if not n["levels"]:
        return [f"Nothing could be compared with {words.listed(n['others'])}."]
    said = []
    for pair in dict.fromkeys((row["cohort_a"], row["cohort_b"]) for row in n["levels"]):
        own = [row for row in n["levels"] if (row["cohort_a"], row["cohort_b"]) == pair]
        said.append(f"{pair[0]} and {pair[1]}: " + " ".join(_level(row) for row in own))
    said.append(_caution(n))
    if n["models"]:
        said.append("Model by model: " + "; ".join(_model(entry) for entry in n["models"]) + ".")
    return said


def in_short(n: dict[str, Any]) -> str:
    """Say for each pair of cohorts which levels agree."""
    if not n["others"] or not n["levels"]:
        return reading(n)[0]
    pairs: dict[tuple, dict[str, list[str]]] = {}
    for row in n["levels"]:
        own = pairs.setdefault((row["cohort_a"], row["cohort_b"]), {})
        own.setdefault(_kind(row, n["alpha"]), []).append(row["level"])
    told = [
        f"{a} and {b}: " + ", ".join(f"{kind} ({words.listed(x)})" for kind, x in own.items())
        for (a, b), own in pairs.items()
    ]
    return "; ".join(told) + "."


def _kind(row: dict[str, Any], alpha: float) -> str:
    if words.is_missing(row["q"]):
        return "not testable"
    if row["q"] > alpha:
        return "no agreement shown"
    return "agreement" if row["independent"] else "agreement, but no independent evidence"


def _level(row: dict[str, Any]) -> str:
    text = f"{LEVELS[row['level']]}: "
    if row["n"]:
        text += f"{row['statistic_is']} {words.amount(row['statistic'])}. "
    return text[:1].upper() + text[1:] + row["outcome"]


def _model(entry: dict[str, Any]) -> str:
    tests = [
        f"{words.count(found['n_passed'])} of {words.count(found['n'])} ({level})"
        for level, found in entry["tests"].items()
    ]
    return (
        f"{entry['cohort_a']} seed {entry['seed_a']} and {entry['cohort_b']} seed "
        f"{entry['seed_b']} pass {words.listed(tests)}"
    )


def _caution(n: dict[str, Any]) -> str:
    text = ""
    if n["n_pairs"]:
        text = (
            f"Of {words.several(n['n_pairs'], 'matched pair')} of candidates, "
            f"{words.count(n['n_causal_pairs'])} are causal in both cohorts; agreement of the "
            "others is agreement of weights that were not shown to matter. "
        )
    if n["n_unit_tested"]:
        text += (
            f"Of {words.several(n['n_gene_tests'], 'comparison')} of gene scores, "
            f"{words.count(n['n_gene_level'])} agree beyond relabelled genes and "
            f"{words.count(n['n_both_levels'])} also beyond hidden units, or edits, like the "
            "candidates; only the latter say something of the candidates. "
        )
    if n["n_slopes"]:
        text += (
            f"{words.count(n['n_same_sign'])} of {words.several(n['n_slopes'], 'stage slope')} "
            "have the same sign in both cohorts (chance alone gives half, and weights of one "
            f"hidden unit share a slope); {words.count(n['n_slopes_passed'])} of these pass q ≤ "
            f"{words.amount(n['alpha'])}. "
        )
    for other, n_shared in n["shared_donors"].items():
        text += (
            f"{words.several(n_shared, 'donor')} of this cohort {'is' if n_shared == 1 else 'are'} "
            f"in {other} as well, so agreement with it is no independent evidence. "
        )
    return text + "Agreement says that a result recurs, not that it is about Alzheimer's disease."


def _shared_donors(t: Tables) -> dict[str, int]:
    """Return the cohorts that have donors of this one, and how many."""
    shared = {}
    for row in t.replication["summary"].itertuples(index=False):
        other = row.cohort_b if row.cohort_a == t.cohort else row.cohort_a
        if row.n_shared_donors:
            shared[str(other)] = int(row.n_shared_donors)
    return shared
