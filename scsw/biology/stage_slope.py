"""One regression: a donor-level measure on a disease stage, donors as units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

NULL = "OLS t-test of the stage slope, donors as units"
_UNTESTED = dict.fromkeys(["beta", "beta_low", "beta_high", "p"], float("nan"))


def stage_slope(
    donors: pd.DataFrame,
    measure: str,
    stage: str,
    covariates: Sequence[str],
    *,
    donors_per_term: int,
    min_donors: int,
) -> dict[str, Any]:
    """Regress a measure on a stage and as many covariates as the donors allow.

    Covariates that are missing for an included donor, constant, or linear combinations of the
    terms before them are left out first; then covariates are dropped from the end of the list
    until there are `donors_per_term` donors for each of stage and covariates.

    Parameters
    ----------
    donors
        One row per donor, with columns `measure`, `stage` (−1 or NaN where missing) and the
        covariates (``sex`` as text, the rest as numbers).
    measure, stage
        Column names.
    covariates
        Column names, most needed first.
    donors_per_term
        Fewest donors per term.
    min_donors
        Fewest donors of any regression.

    Returns
    -------
    dict
        ``n_donors, covariates, beta, beta_low, beta_high, p, null, status, reason``. ``beta`` is
        the ordinary least-squares slope (statsmodels) in standard deviations of the measure per
        stage unit, with its 95 % t interval; NaN where ``status`` is ``not tested``.
    """
    included = donors[np.isfinite(donors[measure].astype(float)) & donors[stage].ge(0)]
    result = {"n_donors": len(included), "covariates": "", "null": NULL}
    problem = _why_not(included, measure, stage, max(donors_per_term, min_donors))
    if problem:
        return {**result, **_UNTESTED, "status": "not tested", "reason": problem}
    terms, left_out = design(included, stage, covariates, donors_per_term)
    values = included[measure].to_numpy(float)
    fit = sm.OLS(values / values.std(ddof=1), sm.add_constant(terms, has_constant="add")).fit()
    low, high = fit.conf_int(alpha=0.05).loc[stage]
    return {
        **result,
        **{"covariates": "+".join(terms.columns[1:]), "beta": float(fit.params[stage])},
        **{"beta_low": float(low), "beta_high": float(high), "p": float(fit.pvalues[stage])},
        **{"status": "tested", "reason": left_out},
    }


def _why_not(included: pd.DataFrame, measure: str, stage: str, needed: int) -> str:
    """Return the reason why the stage cannot be tested, or an empty text."""
    if included.empty:
        return f"no held-out donor has both {measure} and {stage}"
    if len(included) < needed:
        return f"{len(included)} donors have both {measure} and {stage}; {needed} are needed"
    if included[stage].nunique() == 1:
        return f"all {len(included)} donors have {stage} {included[stage].iloc[0]:g}"
    if np.ptp(included[measure].to_numpy(float)) == 0:
        return f"{measure} is the same in all {len(included)} donors"
    return ""


def design(
    included: pd.DataFrame, stage: str, covariates: Sequence[str], donors_per_term: int
) -> tuple[pd.DataFrame, str]:
    """Return the regressors (stage first) and a sentence on the covariates left out.

    The rule is that of `stage_slope`.
    """
    terms = included[[stage]].astype(float)
    allowed = max(1, len(terms) // donors_per_term)
    left_out = []
    for name in covariates:
        values = _numeric(included[name])
        missing = int(values.isna().sum())
        if missing:
            left_out.append(f"{name} (missing for {missing} donors)")
        elif values.nunique() == 1:
            left_out.append(f"{name} (the same in all donors)")
        elif len(terms.columns) == allowed:
            left_out.append(f"{name} (fewer than {donors_per_term} donors per term)")
        elif _is_combination(values, terms):
            left_out.append(f"{name} (a linear combination of the terms before it)")
        else:
            terms[name] = values
    return terms, "left out: " + "; ".join(left_out) if left_out else ""


def _numeric(values: pd.Series) -> pd.Series:
    """Return a covariate as numbers; sex becomes 0 (female), 1 (male) or missing."""
    if values.name == "sex":
        return values.astype(str).map({"female": 0.0, "male": 1.0})
    return values.astype(float).where(np.isfinite(values.astype(float)))


def _is_combination(values: pd.Series, terms: pd.DataFrame) -> bool:
    columns = np.column_stack([terms.to_numpy(float), values])
    centred = columns - columns.mean(axis=0)
    # Each column to unit length, so that the rank does not depend on units.
    return bool(np.linalg.matrix_rank(centred / np.linalg.norm(centred, axis=0)) < columns.shape[1])
