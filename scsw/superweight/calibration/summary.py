"""What the tables of a calibration amount to: false verdicts, and power against strength."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.superweight.calibration.uniformity import share_with_bounds

ALPHA = 0.05
# Questions of a verdict, each with those before it; of a family any candidate counts.
QUESTIONS = {
    "q": "q ≤ 0.05",
    "lower": "… and the lower donor bound is above 0",
    "lenient": "called causal, if every effect above 0 counts",
    "least": "q ≤ 0.05 and the lower donor bound is above the smallest effect that counts",
    "causal": "called causal or masked, by the rules as they are",
}
# Smallest effects that count, as shares of the gap; and the default of prune.min_effect.
DEFAULT_LEAST = 0.05
LEASTS = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1)
# Upper ends of the bins of effect / gap; the third begins at the default of prune.min_effect.
EFFECT_BINS = (0.01, 0.05, 0.1, 0.2, 0.5, np.inf)


def called(verdicts: pd.Series) -> pd.Series:
    """Tell which verdicts claim an effect: a causal grade, or membership in a masked pair."""
    return verdicts.str.startswith("causal") | (verdicts == "masked pair")


def false_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Count the families with a candidate that passes each question.

    Parameters
    ----------
    table
        One row per blind candidate: the columns of ``null.parquet``.

    Returns
    -------
    pandas.DataFrame
        ``question, families, passed, share, low, high`` (95 % Wilson)``, most_of_one_model``.
    """
    beyond = table["q"] <= ALPHA
    passed = pd.DataFrame(
        {
            "q": beyond,
            "lower": beyond & (table["effect_low"] > 0),
            "lenient": table["verdict_without_least"].str.startswith("causal"),
            "least": beyond & (table["effect_low"] > table["min_effect"]),
            "causal": called(table["verdict"]),
        }
    )
    families = passed.groupby([table["model"], table["family"]]).any()
    rows = []
    for name in QUESTIONS:
        n = int(families[name].sum())
        share, low, high = share_with_bounds(n, len(families))
        most = families[name].groupby("model").mean().max()
        rows.append(
            {"question": name, "families": len(families), "passed": n, "share": share}
            | {"low": low, "high": high, "most_of_one_model": most}
        )
    return pd.DataFrame(rows)


def by_least(null: pd.DataFrame, power: pd.DataFrame) -> pd.DataFrame:
    """Count what would pass with other smallest effects that count.

    Parameters
    ----------
    null, power
        The columns of ``null.parquet`` and ``power.parquet``.

    Returns
    -------
    pandas.DataFrame
        ``least`` (share of the gap)``, families, called`` (families with a random weight that
        passes every question)``, implants``, and of each kind of implant how many have q ≤ 0.05
        and a lower donor bound above it.
    """
    gap = null["min_effect"] / DEFAULT_LEAST
    lenient = null["verdict_without_least"].str.startswith("causal")
    rows = []
    for least in LEASTS:
        passed = lenient & (null["effect_low"] > least * gap)
        families = passed.groupby([null["model"], null["family"]]).any()
        row = {"least": least, "families": len(families), "called": int(families.sum())}
        found = (power["q"] <= ALPHA) & (power["effect_low"] > least * power["gap"])
        row["implants"] = int(power["kind"].value_counts().iloc[0])
        rows.append(row | found.groupby(power["kind"]).sum().to_dict())
    return pd.DataFrame(rows)


def power_by_strength(table: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of implants that are found, called causal, and given their grade.

    Parameters
    ----------
    table
        One row per implant: the columns of ``power.parquet``.

    Returns
    -------
    pandas.DataFrame
        One row per kind, strength and `outcome` (``found, causal, grade``): ``n, passed, share,
        low, high`` (95 % Wilson) and the median effect as a share of the gap.
    """
    return _shares(table, table["strength"], "strength")


def power_by_effect(table: pd.DataFrame) -> pd.DataFrame:
    """Return the same by what zeroing the implant does, as a share of the gap (upper end of bin).

    Implants whose pruning lowers the NLL are in the first bin.
    """
    share = table["effect_nll"] / table["gap"]
    upper = np.array(EFFECT_BINS)
    return _shares(table, pd.Series(upper[np.searchsorted(upper, share)], table.index), "below")


def _shares(table: pd.DataFrame, by: pd.Series, name: str) -> pd.DataFrame:
    outcomes = {
        "found": table["found_rank"] > 0,
        "causal": table["verdict"].str.startswith("causal"),
        "grade": table["verdict"] == "causal, " + table["kind"].str.removeprefix("implanted_"),
    }
    rows = []
    for (kind, value), own in table.groupby(["kind", by]):
        effect = float((own["effect_nll"] / own["gap"]).median())
        for outcome, passed in outcomes.items():
            n = int(passed[own.index].sum())
            share, low, high = share_with_bounds(n, len(own))
            rows.append(
                {"kind": kind, name: value, "outcome": outcome, "n": len(own), "passed": n}
                | {"share": share, "low": low, "high": high, "median_effect": effect}
            )
    return pd.DataFrame(rows)
