"""One regression: a donor-level measure on a disease stage, donors as units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.stages.mixed_slope import Slope, mixed_slope, ols_slope
from scsw.biology.stages.stage_design import design

FEWEST_OTHERS = 3  # donors off the commonest stage; with fewer, one or two make the slope
NULL = "OLS t-test of the stage slope, larger of classical and HC3 error, donors as units"
MIXED_NULL = (
    "mixed-model t-test of the stage slope, random intercept per donor, larger of its error and "
    "HC3 over donors' means"
)
_UNTESTED = dict.fromkeys(
    "beta beta_low beta_high se df p beta_unadjusted p_unadjusted".split(), float("nan")
)


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

    `stage_design.design` says which covariates are left out. With several rows per donor, one
    for each region, a linear mixed model with a random intercept per donor and the regions as
    fixed effects takes the place of ordinary least squares; with regions but one row per donor
    the region is the first covariate.

    Parameters
    ----------
    donors
        One row per donor, or per donor and region, with columns `measure`, `stage` (−1 or NaN
        where missing) and the covariates (``sex`` as text, ``assay_shares`` as JSON for
        ``assay``, the rest as numbers). Several rows per donor need ``donor_id`` and ``region``.
    measure, stage
        Column names.
    covariates
        Names, most needed first.
    donors_per_term
        Fewest donors per term.
    min_donors
        Fewest donors of any regression.

    Returns
    -------
    dict
        ``n_donors, n_regions, n_age_censored, covariates, beta, beta_low, beta_high, se, df, p,
        beta_unadjusted, p_unadjusted, null, status, reason``. ``beta`` is the slope
        (statsmodels) in standard deviations of the measure per stage unit, with its 95 % t
        interval; ``_unadjusted`` the same without covariates. NaN where ``status`` is
        ``not tested`` or ``not converged``.
    """
    included = donors[np.isfinite(donors[measure].astype(float)) & donors[stage].ge(0)]
    names = included["donor_id"] if "donor_id" in included else pd.Series(included.index)
    n_donors, repeated = names.nunique(), bool(names.duplicated().any())
    n_regions = included["region"].nunique() if "region" in included else 1
    result = {"n_donors": n_donors, "n_regions": n_regions, "covariates": ""}
    result |= {"n_age_censored": _censored(included, names), "null": NULL}
    problem = _why_not(included, names, measure, stage, max(donors_per_term, min_donors))
    if problem:
        return {**result, **_UNTESTED, "status": "not tested", "reason": problem}
    if n_regions > 1 and not repeated:
        covariates = ["region", *covariates]
    terms, used, left_out = design(included, stage, covariates, donors_per_term, n_donors=n_donors)
    values = included[measure].to_numpy(float)
    values = values / values.std(ddof=1)
    regions = _regions(included) if repeated else pd.DataFrame(index=included.index)

    def slope(x: pd.DataFrame) -> Slope | str:
        if not repeated:
            return ols_slope(values, x)
        return mixed_slope(values, x.join(regions), names.to_numpy(), x.shape[1])

    result |= {"null": MIXED_NULL if repeated else NULL, "covariates": "+".join(used)}
    adjusted = slope(terms)
    alone = slope(terms.iloc[:, :1]) if used else adjusted
    return {**result, **_told(adjusted, alone, left_out)}


def _told(adjusted: Slope | str, alone: Slope | str, left_out: str) -> dict[str, Any]:
    if isinstance(adjusted, str):
        reason = "; ".join(filter(None, [adjusted, left_out]))
        return {**_UNTESTED, "status": "not converged", "reason": reason}
    low, high = adjusted.interval
    found = {"beta": adjusted.beta, "beta_low": low, "beta_high": high, "se": adjusted.se}
    found |= {"df": adjusted.df, "p": adjusted.p, "status": "tested", "reason": left_out}
    known = isinstance(alone, Slope)
    return {
        **found,
        "beta_unadjusted": alone.beta if known else float("nan"),
        "p_unadjusted": alone.p if known else float("nan"),
    }


def _regions(included: pd.DataFrame) -> pd.DataFrame:
    """Return one 0/1 column per region but the first; none where all rows are of one."""
    columns = pd.get_dummies(included["region"].astype(str)).astype(float).iloc[:, 1:]
    return columns.add_prefix("region ")


def _censored(included: pd.DataFrame, names: pd.Series) -> int:
    if "age_censored" not in included:
        return 0
    return int(names[included["age_censored"].astype(bool).to_numpy()].nunique())


def _why_not(
    included: pd.DataFrame, names: pd.Series, measure: str, stage: str, needed: int
) -> str:
    """Return the reason why the stage cannot be tested, or an empty text."""
    n_donors = names.nunique()
    if included.empty:
        return f"no held-out donor has both {measure} and {stage}"
    if n_donors < needed:
        return f"{n_donors} donors have both {measure} and {stage}; {needed} are needed"
    values = included.groupby(names.to_numpy())[stage].first()
    if included[stage].nunique() == 1:
        return f"all {n_donors} donors have {stage} {included[stage].iloc[0]:g}"
    others = n_donors - int(values.value_counts().iloc[0])
    if others < FEWEST_OTHERS:
        return f"{others} of {n_donors} donors have another {stage} than the commonest"
    if np.ptp(included[measure].to_numpy(float)) == 0:
        return f"{measure} is the same in all {n_donors} donors"
    return ""
