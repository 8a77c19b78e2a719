"""Metrics of hidden expression, read from additive statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.superweight.pruning.metrics import EXPRESSION, ROUNDING


def expression_metrics(sums: pd.DataFrame) -> dict[str, tuple]:
    """Return the metrics of hidden expression.

    A relative error of the change moves a metric by at most that error times the norm of its
    gradient times the norm of the change (Cauchy and Schwarz).

    Parameters
    ----------
    sums
        `EXPRESSION` and ``relative_error`` by unit.

    Returns
    -------
    dict
        ``(intact, effect, floor)`` by metric, each of shape (units,) or one number for all; NaN
        where no value was hidden.
    """
    s = sums[EXPRESSION].astype(float).rename(columns=lambda name: name.removeprefix("sum_"))
    n = s["n_masked"].where(s["n_masked"] > 0)
    error = sums["relative_error"] * np.sqrt(s["sq_d_predicted"])
    wrong = np.sqrt((s["sq_error_intact"] + s["d_sq_error"]).clip(lower=0))
    before, _ = _pearson(n, s["predicted_intact"], s["sq_predicted_intact"], s, "intact")
    total = s["predicted_intact"] + s["d_predicted"]
    squares = s["sq_predicted_intact"] + 2 * s["predicted_d_predicted"] + s["sq_d_predicted"]
    after, spread = _pearson(n, total, squares, s, "pruned")
    steep = np.sqrt((1 - after**2).clip(lower=0)) / spread
    within = s["sq_rate_within"].where(s["sq_rate_within"] > 0)
    return {
        "gep_mse": (s["sq_error_intact"] / n, s["d_sq_error"] / n, 2 * error * wrong / n),
        "gep_pearson": (before, after - before, error * steep + ROUNDING),
        "expression_shift": (0.0, s["d_predicted"] / n, error / np.sqrt(n)),
        "rate_shift": (0.0, s["rate_d_predicted"] / n, error / np.sqrt(n)),
        "rate_slope": (0.0, s["rate_within_d_predicted"] / within, error / np.sqrt(within)),
    }


def mean_bin_metrics(sums: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the metrics of predicting the unit's mean bin at every hidden value of expression.

    It is what knowing nothing of gene and cell gives, as the training frequencies are for cell
    types: the error is the variance of the hidden bins, and a constant has no correlation.

    Parameters
    ----------
    sums
        ``n_masked, sum_target, sum_sq_target`` by unit.

    Returns
    -------
    dict
        By metric, shape (units,); NaN where no value was hidden.
    """
    n = sums["n_masked"].astype(float).where(sums["n_masked"] > 0)
    variance = sums["sum_sq_target"] / n - (sums["sum_target"] / n) ** 2
    return {"gep_mse": variance.to_numpy(float), "gep_pearson": (0.0 / n).to_numpy(float)}


def _pearson(
    n: pd.Series, total: pd.Series, squares: pd.Series, s: pd.DataFrame, which: str
) -> tuple[pd.Series, pd.Series]:
    """Return a correlation with the truth, NaN where nothing varies, and √Σ(p − mean p)²."""
    products = s["predicted_target_intact"]
    if which == "pruned":
        products = products + s["target_d_predicted"]
    spread = squares - total**2 / n
    of_truth = s["sq_target"] - s["target"] ** 2 / n
    varies = (spread > ROUNDING * squares) & (of_truth > ROUNDING * s["sq_target"])
    spread = np.sqrt(spread.where(varies))
    shared = products - total * s["target"] / n
    return shared / (spread * np.sqrt(of_truth.where(varies))), spread
