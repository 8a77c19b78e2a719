"""Disease stages: whether a candidate's activity or effect follows them."""

from __future__ import annotations

from typing import Any

from scsw.report import words
from scsw.report.tables import Tables

MEASURES = {"contribution": "contribution", "spike": "spike", "effect_nll": "rise in NLL"}
NAMED = 3


def numbers(t: Tables) -> dict[str, Any]:
    """Count tests by status, and list the primary ones that pass."""
    alpha = t.config["statistics"]["alpha"]
    tested = t.stages[t.stages["status"] == "tested"]
    primary = t.stages[t.stages["primary"].astype(bool)]
    primary_tested = primary[primary["status"] == "tested"]
    untested = t.stages[t.stages["status"] != "tested"]
    passed = primary_tested[primary_tested["q"] < alpha].sort_values(["q", "seed"], kind="stable")
    other = tested[~tested["primary"].astype(bool)]
    return {
        "alpha": alpha,
        "n_rows": len(t.stages),
        "n_tested": len(tested),
        "n_primary": len(primary),
        "primary": sorted({f"{MEASURES[r.measure]} on {r.stage}" for r in primary.itertuples()}),
        "n_primary_tested": len(primary_tested),
        "n_primary_passed": len(passed),
        "n_other_tested": len(other),
        "n_other_passed": int((other["q"] < alpha).sum()),
        "n_untested": len(untested),
        "reasons": [str(text) for text in untested["reason"].value_counts().index[:NAMED]],
        "passed": [
            {
                "seed": int(row.seed),
                "candidate_id": str(row.candidate_id),
                "cell_class": str(row.cell_class),
                "stage": str(row.stage),
                "beta": float(row.beta),
                "beta_low": float(row.beta_low),
                "beta_high": float(row.beta_high),
                "q": float(row.q),
                "n_donors": int(row.n_donors),
            }
            for row in passed.head(NAMED).itertuples()
        ],
    }


def reading(n: dict[str, Any]) -> list[str]:
    """Say whether any slope stands out."""
    if not n["n_rows"]:
        return ["No candidate was tested against the stages of disease."]
    if not n["n_tested"]:
        return [f"Nothing could be tested: {'; '.join(n['reasons'])}."]
    sentences = [_primary(n)]
    for row in n["passed"]:
        sentences.append(
            f"{row['candidate_id']} (seed {row['seed']}) in {row['cell_class']} cells changes by "
            f"{words.effect(row['beta'])} standard deviations per unit of {row['stage']} "
            f"({words.interval(row['beta_low'], row['beta_high'])}; q {words.amount(row['q'])}; "
            f"{words.several(row['n_donors'], 'donor')})."
        )
    sentences.append(
        f"Of {words.several(n['n_other_tested'], 'further test')}, "
        f"{words.count(n['n_other_passed'])} pass q < {words.amount(n['alpha'])}; they are "
        "exploratory."
    )
    if n["n_untested"]:
        sentences.append(
            f"{words.several(n['n_untested'], 'combination')} could not be tested; the commonest "
            f"reasons: {'; '.join(n['reasons'])}."
        )
    sentences.append("A slope across donors is an association, not a cause.")
    return [" ".join(sentences)]


def _primary(n: dict[str, Any]) -> str:
    if not n["n_primary_tested"]:
        return "None of the primary tests could be made."
    return (
        f"Of {words.several(n['n_primary_tested'], 'primary test')} ({words.listed(n['primary'])}),"
        f" {words.count(n['n_primary_passed'])} pass q < {words.amount(n['alpha'])}."
    )
