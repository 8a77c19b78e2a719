"""Disease stages: whether a candidate's activity or effect follows them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.biology.tables import POWER, measured_unit
from scsw.report import words
from scsw.report.donors import stage_name
from scsw.report.tables import Tables

MEASURES = {"contribution": "contribution", "spike": "spike", "effect_nll": "rise in NLL"}
AS_MEASURED = "as measured"
NAMED = 3


def numbers(t: Tables) -> dict[str, Any]:
    """Count tests by status, list the primary ones that pass, and what could have been seen."""
    alpha = t.config["statistics"]["alpha"]
    table = t.stages[t.stages["depth"] == AS_MEASURED]
    tested = table[table["status"] == "tested"]
    primary = table[table["primary"].astype(bool)]
    primary_tested = primary[primary["status"] == "tested"]
    untested = table[table["status"] == "not tested"]
    passed = primary_tested[primary_tested["q"] < alpha].sort_values(["q", "seed"], kind="stable")
    other = tested[~tested["primary"].astype(bool)]
    lost = other[(other["q"] < alpha) & (other["survives_thinning"] != "yes")]
    adjusted = primary_tested[["covariates", "reason"]].value_counts()
    return {
        "alpha": alpha,
        "n_rows": len(table),
        "n_tested": len(tested),
        "n_primary": len(primary),
        "primary": sorted(
            {f"{MEASURES[r.measure]} on {stage_name(r.stage)}" for r in primary.itertuples()}
        ),
        "n_primary_tested": len(primary_tested),
        "n_primary_distinct": _n_distinct(primary_tested),
        "n_primary_passed": len(passed),
        "n_primary_survive": int((passed["survives_thinning"] == "yes").sum()),
        "n_other_tested": len(other),
        "n_other_passed": int((other["q"] < alpha).sum()),
        "n_other_lost": len(lost),
        "n_untested": len(untested),
        "n_not_converged": int((table["status"] == "not converged").sum()),
        "reasons": [str(text) for text in untested["reason"].value_counts().index[:NAMED]],
        "adjustments": [
            {"covariates": str(names), "reason": str(reason), "n": int(n)}
            for (names, reason), n in adjusted.head(1).items()
        ],
        "power": POWER,
        "n_age_censored": int(primary["n_age_censored"].max()) if len(primary) else 0,
        "detectable_low": _quantile(primary_tested, 0),
        "detectable_median": _quantile(primary_tested, 0.5),
        "detectable_high": _quantile(primary_tested, 1),
        "detectable_explains": _explained(primary_tested),
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
                "survives_thinning": str(row.survives_thinning),
            }
            for row in passed.head(NAMED).itertuples()
        ],
    }


def _n_distinct(rows: pd.DataFrame) -> int:
    unit = measured_unit(rows["candidate_id"], rows["measure"])
    return len(rows.assign(unit=unit).drop_duplicates(["seed", "unit", "cell_class"]))


def _quantile(rows: pd.DataFrame, share: float) -> float | None:
    return float(rows["detectable"].quantile(share)) if len(rows) else None


def _explained(rows: pd.DataFrame) -> float | None:
    """Return the share of the variance left by covariates that a detectable slope explains."""
    t2 = (rows["detectable"] / rows["se"]) ** 2
    return float((t2 / (t2 + rows["df"])).median()) if len(rows) else None


def reading(n: dict[str, Any]) -> list[str]:
    """Say whether any slope stands out, and whether it is one of depth."""
    if not n["n_rows"]:
        return ["No candidate was tested against the stages of disease."]
    if not n["n_tested"]:
        reasons = n["reasons"] or ["no mixed model converged"]
        return [f"Nothing could be tested: {'; '.join(reasons)}."]
    sentences = [_primary(n), _power(n), *map(_passed, n["passed"])]
    sentences.append(
        f"Of {words.several(n['n_other_tested'], 'further test')} (other stages, measures, APOE "
        f"and cell types), {words.count(n['n_other_passed'])} pass q < {words.amount(n['alpha'])}"
        f"{_lost(n)}; all of them are exploratory."
    )
    if n["n_untested"]:
        sentences.append(
            f"{words.several(n['n_untested'], 'combination')} could not be tested; the commonest "
            f"reasons: {'; '.join(n['reasons'])}."
        )
    if n["n_not_converged"]:
        sentences.append(f"{words.several(n['n_not_converged'], 'mixed model')} did not converge.")
    sentences.append(
        "A slope across donors is an association, not a cause: what goes with stage and is not "
        "adjusted for, such as sequencing batch and cell loss, may be behind it."
    )
    return [" ".join(filter(None, sentences)), *filter(None, [_adjusted(n)])]


def _lost(n: dict[str, Any]) -> str:
    if not n["n_other_passed"]:
        return ""
    lost = words.count(n["n_other_lost"])
    return f", of which {lost} do not pass again on cells thinned to one depth"


def _primary(n: dict[str, Any]) -> str:
    if not n["n_primary_tested"]:
        return "None of the primary tests could be made."
    shared = ""
    if n["n_primary_distinct"] < n["n_primary_tested"]:
        shared = (
            f"; {words.count(n['n_primary_distinct'])} distinct, since weights of one hidden unit "
            "share their contribution"
        )
    text = (
        f"Of {words.several(n['n_primary_tested'], 'primary test')} ({words.listed(n['primary'])}"
        f"{shared}), {words.count(n['n_primary_passed'])} pass q < {words.amount(n['alpha'])}"
    )
    if n["n_primary_passed"]:
        text += f", of which {words.count(n['n_primary_survive'])} pass again on thinned cells"
    return text + "."


def _power(n: dict[str, Any]) -> str:
    if not n["n_primary_tested"]:
        return ""
    span = words.span(n["detectable_low"], n["detectable_high"])
    return (
        f"With about {words.percent(n['power'])} power the primary tests would have found a slope "
        f"of {words.amount(n['detectable_median'])} standard deviations per stage (median; "
        f"{span}), which would explain {words.percent(n['detectable_explains'])} of the variance "
        "that the covariates leave (median); a smaller one may be there and was not seen."
    )


def _passed(row: dict[str, Any]) -> str:
    again = {
        "yes": "it passes again on cells thinned to one depth",
        "no": "it does not pass on cells thinned to one depth, so that depth may be behind it",
    }
    return (
        f"{row['candidate_id']} (seed {row['seed']}) in {row['cell_class']} cells changes by "
        f"{words.effect(row['beta'])} standard deviations per unit of {stage_name(row['stage'])} "
        f"({words.interval(row['beta_low'], row['beta_high'])}; q {words.amount(row['q'])}; "
        f"{words.several(row['n_donors'], 'donor')}); "
        f"{again.get(row['survives_thinning'], 'on thinned cells it could not be tested')}."
    )


def _adjusted(n: dict[str, Any]) -> str:
    if not n["adjustments"]:
        return ""
    used = n["adjustments"][0]
    names = used["covariates"].replace("+", ", ").replace("_", " ") or "nothing"
    text = f"Primary slopes are adjusted for {names}"
    if used["reason"]:
        text += f" ({_left_out(used['reason'])})"
    if used["n"] < n["n_primary_tested"]:
        text += f" in {words.count(used['n'])} of the tests, and the rest as their rows say"
    if n["n_age_censored"]:
        text += (
            f"; of {words.several(n['n_age_censored'], 'donor')} the age is known as a lower bound "
            "alone and enters as that"
        )
    return text + "."


def _left_out(reason: str) -> str:
    """Name the covariates that are left out for one reason together."""
    names: dict[str, list[str]] = {}
    for part in reason.removeprefix("left out: ").split("; "):
        name, _, why = part.partition(" (")
        names.setdefault(why, []).append(name.replace("_", " "))
    return "left out: " + "; ".join(f"{words.listed(x)} ({why}" for why, x in names.items())
