"""A candidate against controls that are alike in one respect, and against noise of equal size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scsw.superweight.verdict.judged_run import JudgedRun

# The sets that a causal verdict is asked about, and how a reader is told of them.
RIVALS = {
    "wanda": "weights of the same tensor with the nearest |w|·mean |h|",
    "row_neighbour": "other columns of the same row",
}
NOISE = "noise"
SETS = (*RIVALS, NOISE)


@dataclass(frozen=True)
class Comparison:
    """One candidate's effect against those of a set, nats per cell.

    Attributes
    ----------
    n
        Edits in the set; without any the rest is NaN.
    mean, max
        Mean and largest effect of the set, each a mean over donors.
    low
        Lower donor bound of (effect − mean of the set), paired by donor; NaN if not assessable.
    detectable
        What the effect would have had to exceed with this spread over donors.
    """

    n: int
    mean: float
    max: float
    low: float
    detectable: float


def compare(effect: np.ndarray, others: np.ndarray, run: JudgedRun, name: str) -> Comparison:
    """Compare a candidate with a set.

    Parameters
    ----------
    effect
        Effect on each donor, shape (donors,).
    others
        Effects of the set, shape (edits, donors).
    run
        Gives the donor interval.
    name
        The set. Rivals must each be exceeded; noise draws measure one thing several times, so
        that their mean must be.
    """
    if not len(others):
        return Comparison(0, math.nan, math.nan, math.nan, math.nan)
    lead = effect - others.mean(0)
    low, _ = run.interval(lead)
    half = lead.mean() - low if run.assessable else 0.0
    mean, largest = float(others.mean()), float(others.mean(1).max())
    detectable = mean + half if name == NOISE else max(mean + half, largest)
    return Comparison(len(others), mean, largest, low, detectable)


def comparisons(by_donor: pd.DataFrame, candidate_id: str, run: JudgedRun) -> dict[str, Comparison]:
    """Compare a candidate with each of its sets.

    Parameters
    ----------
    by_donor
        Effect of each edit (rows, indexed by `statistics.EDIT`) on each donor (columns).
    candidate_id
        The candidate.

    Returns
    -------
    dict
        `Comparison` by the names of `SETS`.
    """
    index = by_donor.index
    weight_set, mode = (index.get_level_values(name) for name in ("weight_set", "mode"))
    own = (weight_set == "candidate") & (index.get_level_values("candidate_id") == candidate_id)
    of = index.get_level_values("of") == candidate_id
    effect = by_donor.to_numpy()[own & (mode == "zero")][0]
    chosen = {name: of & (weight_set == name) & (mode == "zero") for name in RIVALS}
    chosen[NOISE] = own & (mode == NOISE)
    values = by_donor.to_numpy()
    return {name: compare(effect, values[rows], run, name) for name, rows in chosen.items()}


def columns(found: dict[str, Comparison]) -> dict[str, float]:
    """Return the comparisons as columns of ``verdicts.parquet``."""
    return {
        f"{name}_{part}": getattr(comparison, part)
        for name, comparison in found.items()
        for part in ("n", "mean", "max", "low")
    }
