"""Scores against scikit-learn and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import binned_statistic, pearsonr, spearmanr
from sklearn import metrics

from scsw.scgpt.evaluation.scores import brier, classification, nll, one_type, reconstruction


@pytest.fixture(scope="module")
def cells():
    """Return types and probabilities of 400 cells; type 4 never occurs, type 3 is rare."""
    rng = np.random.default_rng(0)
    truth = rng.choice(4, 400, p=[0.5, 0.3, 0.18, 0.02])
    logits = rng.normal(size=(400, 5)) + 1.5 * np.eye(5)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return truth, probabilities


def test_scores_of_all_types(cells):
    truth, probabilities = cells
    predicted, labels = probabilities.argmax(1), range(5)
    found = classification(truth, probabilities)
    assert found["accuracy"] == metrics.accuracy_score(truth, predicted)
    balanced = metrics.recall_score(truth, predicted, labels=range(4), average="macro")
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found["balanced_accuracy"] == pytest.approx(
            metrics.balanced_accuracy_score(truth, predicted)
        )
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert found["nll"] == pytest.approx(metrics.log_loss(truth, probabilities, labels=labels))
    by_type = metrics.mean_squared_error(np.eye(5)[truth], probabilities, multioutput="raw_values")
    assert found["brier"] == pytest.approx(by_type.sum())


def test_a_type_of_one_cell_counts_as_much_as_another():
    found = classification(np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 0]])
    assert found["balanced_accuracy"] == 0.5 and found["accuracy"] == 0.75


def test_the_calibration_error_is_that_of_fifteen_bins(cells):
    _, probabilities = cells
    # Too certain in one bin and too modest in the next, so that other bins give another error.
    confidence, given = probabilities.max(1), probabilities.argmax(1)
    truth = np.where((confidence * 15).astype(int) % 2, given, (given + 1) % 5)
    right = given == truth
    n, edges, _ = binned_statistic(confidence, right, "count", bins=15, range=(0, 1))
    assert len(edges) == 16
    sums = [
        binned_statistic(confidence, values, "sum", bins=15, range=(0, 1)).statistic
        for values in (confidence, right)
    ]
    gaps = np.abs(sums[0] - sums[1])[n > 0]
    assert classification(truth, probabilities)["ece"] == pytest.approx(gaps.sum() / 400)


def test_a_calibrated_and_a_wrongly_certain_model():
    truth = np.repeat([0, 1], [70, 30])
    honest = np.tile([0.7, 0.3], (100, 1))
    assert classification(truth, honest)["ece"] == pytest.approx(0)
    certain = np.tile([1.0, 0.0], (100, 1))
    found = classification(truth, certain)
    assert found["ece"] == pytest.approx(0.3) and found["brier"] == pytest.approx(0.6)
    # No probability counts as less than 1e-12, so that one cell cannot be infinitely wrong.
    assert found["nll"] == pytest.approx(-0.3 * math.log(1e-12))
    assert brier(truth, np.eye(2)[truth]) == 0 and nll(truth, np.eye(2)[truth]) < 1e-9


def test_scores_of_one_type(cells):
    truth, probabilities = cells
    predicted = probabilities.argmax(1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(4)
    )
    for index in range(4):
        found, own = one_type(truth, probabilities, index), truth == index
        assert found["accuracy"] == pytest.approx(recall[index])
        assert found["f1"] == pytest.approx(f1[index])
        assert found["nll"] == pytest.approx(
            metrics.log_loss(truth[own], probabilities[own], labels=range(5))
        )
    assert precision[0] != recall[0]  # F1 is no recall


def test_scores_of_hidden_values():
    rng = np.random.default_rng(1)
    truth = rng.integers(1, 51, 500).astype(np.float32)
    predicted = (truth + rng.normal(0, 9, 500)).astype(np.float32) ** 2
    found = reconstruction(truth, predicted)
    assert found["gep_mse"] == pytest.approx(metrics.mean_squared_error(truth, predicted))
    assert found["gep_pearson"] == pytest.approx(pearsonr(predicted, truth).statistic)
    assert found["gep_spearman"] == pytest.approx(spearmanr(predicted, truth).statistic)
    assert abs(found["gep_pearson"] - found["gep_spearman"]) > 0.01
    constant = reconstruction(truth, np.full_like(truth, 7))
    assert math.isnan(constant["gep_pearson"]) and math.isnan(constant["gep_spearman"])
    assert constant["gep_mse"] == pytest.approx(np.square(truth - 7).mean())
