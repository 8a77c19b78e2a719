"""Means over donors and their tests: a donor's number is one number, however many cells it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

MEAN_NULL = "one-sample t-test over donors"
_NOTHING = dict.fromkeys(["value", "low", "high", "p"], np.nan)


def mean_over_donors(
    values: np.ndarray, min_donors: int, *, tested: bool, what: str = "donors"
) -> dict[str, Any]:
    """Return the mean of one number per donor, its 95 % t interval, and whether it differs from 0.

    Parameters
    ----------
    values
        One number per donor; those that are not finite are left out.
    min_donors
        Fewest donors.
    tested
        Whether 0 is a null worth testing, as it is for a change or a slope.
    what
        The donors, in words, for the reason.

    Returns
    -------
    dict
        ``value, low, high, p, n_donors, null, status, reason``; p is two-sided.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    about = {"n_donors": len(values), "null": MEAN_NULL if tested else "", "reason": ""}
    if len(values) < max(min_donors, 3):
        reason = f"{len(values)} {what}; {max(min_donors, 3)} are needed"
        return about | _NOTHING | {"status": "not tested", "reason": reason}
    if tested and np.ptp(values) == 0:
        reason = f"it is {values[0]:g} in all {len(values)} donors"
        return about | _NOTHING | {"status": "not tested", "reason": reason}
    mean, error = values.mean(), stats.sem(values)
    reach = stats.t.ppf(0.975, len(values) - 1) * error
    p = float(stats.ttest_1samp(values, 0).pvalue) if tested else np.nan
    return about | {
        **{"value": float(mean), "low": float(mean - reach), "high": float(mean + reach)},
        **{"p": p, "status": "tested" if tested else "measured"},
    }


def slope_by_donor(values: np.ndarray, obs: pd.DataFrame, min_cells: int) -> pd.Series:
    """Return each donor's least-squares slope of a cell's number on its position.

    Slopes are taken within each section of at least `min_cells` cells whose position is known and
    varies, and averaged over a donor's sections.

    Parameters
    ----------
    values
        Shape (cells,).
    obs
        ``donor_id, section, position`` of the same cells.
    """
    table = pd.DataFrame(
        {
            "donor": obs["donor_id"].astype(str).to_numpy(),
            "section": obs["section"].astype(str).to_numpy(),
            "x": obs["position"].to_numpy(float),
            "y": values,
        }
    ).dropna(subset=["x"])
    slopes = {
        key: np.polyfit(rows["x"], rows["y"], 1)[0]
        for key, rows in table.groupby(["donor", "section"])
        if len(rows) >= min_cells and np.ptp(rows["x"]) > 0
    }
    index = pd.MultiIndex.from_tuples(slopes, names=["donor", "section"]) if slopes else []
    return pd.Series(list(slopes.values()), index=index, dtype=float).groupby(level=0).mean()
