"""The statistics of a verdict. Donors are the unit; every p-value names its null."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

# What tells the edits of ``effects.parquet`` apart.
EDIT = ["weight_set", "candidate_id", "of", "mode", "scale", "draw"]
_EXACT_FLIPS = 15  # up to this many donors every sign pattern is tried
_RESAMPLED = 2**21  # numbers that are in memory together
_TAILS = ((1 - 0.95) / 2, (1 + 0.95) / 2)  # of a 95 % interval


def donor_effects(effects: pd.DataFrame, column: str = "sum_d_nll") -> pd.Series:
    """Rise in mean cell-type NLL per edit and donor, nats per cell.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet``.
    column
        Sum over cells to take instead: ``floor_nll``, the numerical floor of the rise.

    Returns
    -------
    pandas.Series
        Indexed by `EDIT` and ``donor_id``.
    """
    sums = effects.groupby([*EDIT, "donor_id"], sort=False)[[column, "n_cells"]].sum()
    return sums[column] / sums["n_cells"]


def rank_p(effect: float, controls: np.ndarray) -> float:
    """Share of random controls with at least this effect, with add-one (one-sided)."""
    return (1 + int((controls >= effect).sum())) / (controls.size + 1)


def studentised_interval(values: np.ndarray, *, n_resamples: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap-t interval of a mean over donors (Efron & Tibshirani 1993, chapter 12).

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
    low, high = np.quantile(t, _TAILS)
    return mean - high * error, mean - low * error


def studentised_intervals(
    values: np.ndarray, *, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return `studentised_interval` of each row; all rows of as many donors share the resamples.

    Parameters
    ----------
    values
        Float, shape (tests, donors); NaN for a donor that a test has no value of.

    Returns
    -------
    tuple of numpy.ndarray
        Lower and upper bounds, shape (tests,); NaN for a test without donors.
    """
    present = ~np.isnan(values)
    packed = np.take_along_axis(values, np.argsort(~present, axis=1, kind="stable"), axis=1)
    n_donors = present.sum(1)
    bounds = np.full((2, len(values)), np.nan)
    for n in set(n_donors.tolist()) - {0}:
        own = np.flatnonzero(n_donors == n)
        index = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
        times = np.stack([(index == donor).sum(1) for donor in range(n)]).astype(float)
        times = times[:, times.max(0) < n]  # a resample of one donor alone has no spread
        for rows in np.array_split(own, -(-own.size * n_resamples // _RESAMPLED)):
            bounds[:, rows] = _bounds(packed[rows, :n], times)
        for row in own[np.isnan(bounds[0, own])]:  # donors alike, in full or in a resample
            bounds[:, row] = studentised_interval(
                packed[row, :n], n_resamples=n_resamples, seed=seed
            )
    return bounds[0], bounds[1]


def _bounds(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return both bounds of each row; NaN where a resample has no spread.

    Parameters
    ----------
    values
        Shape (tests, n).
    times
        How often each donor is in each resample, shape (n, resamples).
    """
    n = values.shape[1]
    mean = values.mean(1, keepdims=True)
    off = values - mean
    error = off.std(1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(values))
    shift = off @ times / n
    spread = (np.square(off) @ times - n * np.square(shift)) / (n - 1) if n > 1 else shift
    errors = np.sqrt(np.maximum(spread, 0) / n)
    good = (error > 0) & (errors > 1e-6 * error[:, None]).all(1)
    found = np.full((2, len(values)), np.nan)
    if good.any():
        t = shift[good] / errors[good]
        low, high = np.quantile(t, _TAILS, axis=1)
        found[:, good] = mean[good, 0] - np.stack([high, low]) * error[good]
    return found


def sign_flip_p(values: np.ndarray, *, seed: int) -> float:
    """One-sided sign-flip test that the donors' mean rise is above zero.

    Null: each donor's rise is symmetric about zero. Exact up to 15 donors, otherwise 9,999 draws.
    NaN for a single donor.
    """
    values = np.asarray(values, float)
    return math.nan if values.size < 2 else float(sign_flip_ps(values[None], seed=seed)[0])


def sign_flip_ps(values: np.ndarray, *, seed: int) -> np.ndarray:
    """Return the one-sided sign-flip p of each row, as `sign_flip_p` does of one.

    Parameters
    ----------
    values
        Shape (tests, donors). All rows are given the same flips, which makes many tests fast.
    seed
        Draws the flips where there are too many patterns to try all.
    """
    n = values.shape[1]
    if n <= _EXACT_FLIPS:
        signs = 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(9999, n))
    sums = values.sum(1)
    tolerance = 1e-9 * np.abs(values).sum(1)  # of sums that are equal but for the last digits
    as_large = np.array(
        [(signs @ v >= s - t).sum() for v, s, t in zip(values, sums, tolerance, strict=True)]
    )
    return as_large / len(signs) if n <= _EXACT_FLIPS else (as_large + 1) / (len(signs) + 1)
