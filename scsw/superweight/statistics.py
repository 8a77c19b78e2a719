"""The statistics of a verdict. Donors are the unit; every p-value names its null."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

RANDOM_NULL = "random scalars of the down-projections"
_EXACT_FLIPS = 15  # up to this many donors every sign pattern is tried


def donor_effects(effects: pd.DataFrame) -> pd.Series:
    """Rise in mean cell-type NLL per edit and donor, nats per cell.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet``.

    Returns
    -------
    pandas.Series
        Indexed by ``(weight_set, candidate_id, mode, scale, donor_id)``.
    """
    keys = ["weight_set", "candidate_id", "mode", "scale", "donor_id"]
    sums = effects.groupby(keys)[["sum_nll", "sum_nll_intact", "n_cells"]].sum()
    return (sums["sum_nll"] - sums["sum_nll_intact"]) / sums["n_cells"]


def rank_p(effect: float, controls: np.ndarray) -> float:
    """Share of random controls with at least this effect, with add-one (one-sided)."""
    return (1 + int((controls >= effect).sum())) / (controls.size + 1)


def studentised_interval(
    values: np.ndarray, *, n_resamples: int, seed: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Bootstrap-t interval of a mean over donors (Efron & Tibshirani 1993, chapter 12).

    A percentile bootstrap of few donors is too narrow; dividing each resampled mean by its own
    standard error mends most of that.

    Parameters
    ----------
    values
        One value per donor, float, shape (donors,).

    Returns
    -------
    tuple of float
        Lower and upper bound; both the mean where the donors do not differ at all.
    """
    values = np.asarray(values, float)
    n, mean = values.size, values.mean()
    error = values.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
    if error == 0:
        return mean, mean
    rng = np.random.default_rng(seed)
    sample = values[rng.integers(n, size=(n_resamples, n))]
    errors = sample.std(axis=1, ddof=1) / np.sqrt(n)
    usable = errors > 1e-12 * error  # a resample of one donor alone has no spread
    t = (sample.mean(axis=1)[usable] - mean) / errors[usable]
    low, high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean - high * error, mean - low * error


def sign_flip_p(values: np.ndarray, *, seed: int) -> float:
    """One-sided sign-flip test that the donors' mean rise is above zero.

    Null: each donor's rise is symmetric about zero. Exact up to 15 donors, otherwise 9,999 draws.
    NaN for a single donor.
    """
    values = np.asarray(values, float)
    if values.size < 2:
        return math.nan
    if not np.any(values):
        return 1.0
    result = permutation_test(
        (values,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf if values.size <= _EXACT_FLIPS else 9999,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
