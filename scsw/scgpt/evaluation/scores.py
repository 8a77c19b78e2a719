"""Scores of predicted cell types and of predicted expression."""

from __future__ import annotations

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import precision_recall_fscore_support

# Bins of confidence in the calibration error.
CALIBRATION_BINS = 15


def classification(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Score predicted probabilities over cells of all types.

    Parameters
    ----------
    truth
        Index of each cell's type, int, shape (cells,).
    probabilities
        Shape (cells, types); rows sum to 1.

    Returns
    -------
    dict
        ``accuracy``; ``balanced_accuracy``, the mean recall of the types that occur;
        ``macro_f1``, the mean F1 of the types that occur or are predicted; ``nll``, ``ece`` and
        ``brier``, as the functions of this module.
    """
    predicted = probabilities.argmax(1)
    _, recall, f1, n = precision_recall_fscore_support(truth, predicted, zero_division=0)
    return {
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": float(recall[n > 0].mean()),
        "macro_f1": float(f1.mean()),
        **_of_probabilities(truth, probabilities),
    }


def one_type(truth: np.ndarray, probabilities: np.ndarray, index: int) -> dict[str, float]:
    """Score the cells of one type: ``accuracy`` (its recall), ``f1`` and as `classification`.

    `truth` and `probabilities` are of all cells: F1 counts those that are wrongly given the type.
    """
    own, given = truth == index, probabilities.argmax(1) == index
    return {
        "accuracy": float(given[own].mean()),
        "f1": float(2 * (own & given).sum() / (own.sum() + given.sum())),
        **_of_probabilities(truth[own], probabilities[own]),
    }


def nll(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean −log probability of the true type, nats; no probability is below 1e-12."""
    clipped = np.clip(probabilities, 1e-12, None)
    clipped /= clipped.sum(1, keepdims=True)
    return float(-np.log(clipped[np.arange(len(truth)), truth]).mean())


def expected_calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return by how much confidence and accuracy differ.

    Cells are put in 15 bins of equal width by their largest probability; the error is the mean
    over cells of |accuracy − mean confidence| of the cell's bin (Guo et al. 2017).
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, None)
    gaps = np.bincount(bins, confidence - right, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(truth))


def brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over cells of Σ over types of (probability − truth)², between 0 and 2."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return float((np.square(probabilities).sum(1) - 2 * of_truth + 1).mean())


def reconstruction(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Score predicted bins of hidden values: ``gep_mse``, ``gep_pearson``, ``gep_spearman``.

    A correlation is NaN where truth or prediction does not vary.
    """
    truth, predicted = truth.astype(float), predicted.astype(float)
    found = {"gep_mse": float(np.square(predicted - truth).mean())}
    varies = len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(predicted) > 0
    for name, correlation in (("gep_pearson", pearsonr), ("gep_spearman", spearmanr)):
        found[name] = float(correlation(predicted, truth).statistic) if varies else np.nan
    return found


def _of_probabilities(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return {
        "nll": nll(truth, probabilities),
        "ece": expected_calibration_error(truth, probabilities),
        "brier": brier(truth, probabilities),
    }
