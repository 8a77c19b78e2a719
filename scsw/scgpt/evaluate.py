"""Performance on test donors, against a majority and a PCA + logistic-regression baseline."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from torch import nn

from scsw.scgpt.device import autocast
from scsw.scgpt.objectives import forward
from scsw.scgpt.tokens import Tokenizer

GEP_MASK_RATIO = 0.4  # hidden share when reconstruction is scored


def evaluate(
    model: nn.Module,
    cells: AnnData,
    tokenizer: Tokenizer,
    labels: list[str],
    compute: SimpleNamespace,
    device: torch.device,
) -> pd.DataFrame:
    """Score the model and both baselines on the test donors, overall and per cell type.

    Cells of a type that the training donors do not hold are left out and so counted nowhere.

    Returns
    -------
    pandas.DataFrame
        ``predictor, split, metric, cell_type, value, n_cells, n_donors``.
    """
    split = cells.obs["split"].to_numpy(str)
    known = cells.obs["cell_type"].astype(str).isin(labels).to_numpy()
    train, test = (
        np.flatnonzero((split == "train") & known),
        np.flatnonzero((split == "test") & known),
    )
    truth = cells.obs["cell_type"].astype(str).map({n: i for i, n in enumerate(labels)}).to_numpy()
    donors = cells.obs["donor_id"].to_numpy(str)
    predictions = {
        "scgpt": predict(model, tokenizer, test, compute, device),
        "majority": majority(truth[train].astype(int), len(test), len(labels)),
        "pca_logistic": pca_logistic(cells, train, test, truth[train].astype(int), len(labels)),
    }
    rows = []
    for predictor, probabilities in predictions.items():
        for metric, cell_type, value, n in classification_scores(
            truth[test].astype(int), probabilities, labels
        ):
            rows.append((predictor, metric, cell_type, value, n))
    for predictor, metric, value in reconstruction_scores(
        model, tokenizer, train, test, compute, device
    ):
        rows.append((predictor, metric, "all", value, len(test)))
    table = pd.DataFrame(rows, columns=["predictor", "metric", "cell_type", "value", "n_cells"])
    return table.assign(split="test", n_donors=len(np.unique(donors[test])))


@torch.no_grad()
def predict(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
) -> np.ndarray:
    """Return cell-type probabilities, float64, shape (cells, types), from unhidden cells."""
    model.eval()
    found = []
    for batch in tokenizer.batches(rows, compute.batch_size):
        with autocast(device):
            logits = forward(model, batch.to(device))["cls_output"]
        found.append(torch.softmax(logits.double(), 1).cpu().numpy())
    return np.concatenate(found)


def majority(train_truth: np.ndarray, n: int, n_cls: int) -> np.ndarray:
    """Predict the training frequencies for every cell (add-one, so that no type is impossible)."""
    counts = np.bincount(train_truth, minlength=n_cls) + 1.0
    return np.tile(counts / counts.sum(), (n, 1))


def pca_logistic(
    cells: AnnData, train: np.ndarray, test: np.ndarray, train_truth: np.ndarray, n_cls: int
) -> np.ndarray:
    """Logistic regression on 50 principal components of log-normalised counts.

    The components are fitted on the training donors alone.
    """
    # Not scanpy's normalize_total: its numba code sets the process's threads to all cores, which
    # changes torch's results from then on.
    fit, new = (
        np.log1p(normalize(cells.X[rows].astype(float), "l1") * 1e4) for rows in (train, test)
    )
    model = make_pipeline(
        PCA(min(50, min(fit.shape) - 1), svd_solver="arpack", random_state=0),
        LogisticRegression(max_iter=1000),
    ).fit(fit, train_truth)
    probabilities = np.zeros((len(test), n_cls))
    probabilities[:, model.classes_] = model.predict_proba(new)
    return probabilities


def classification_scores(truth: np.ndarray, probabilities: np.ndarray, labels: list[str]):
    """Yield ``(metric, cell_type, value, n_cells)``, overall and per type."""
    predicted, every = probabilities.argmax(1), range(len(labels))
    clipped = np.clip(probabilities, 1e-12, None)
    clipped /= clipped.sum(1, keepdims=True)
    yield "accuracy", "all", accuracy_score(truth, predicted), len(truth)
    yield "balanced_accuracy", "all", balanced_accuracy_score(truth, predicted), len(truth)
    yield "macro_f1", "all", f1_score(truth, predicted, average="macro"), len(truth)
    yield "nll", "all", log_loss(truth, clipped, labels=list(every)), len(truth)
    for index in every:
        own = truth == index
        if own.any():
            yield "accuracy", labels[index], float((predicted[own] == index).mean()), int(own.sum())
            nll = float(-np.log(clipped[own, index]).mean())
            yield "nll", labels[index], nll, int(own.sum())


@torch.no_grad()
def reconstruction_scores(
    model: nn.Module,
    tokenizer: Tokenizer,
    train: np.ndarray,
    test: np.ndarray,
    compute: SimpleNamespace,
    device: torch.device,
):
    """Yield ``(predictor, metric, value)`` of the hidden bins of the test donors.

    The baseline predicts each gene's mean bin in the training donors.
    """
    n_tokens = int(tokenizer.token_ids.max()) + 1
    sums, counts = np.zeros(n_tokens), np.zeros(n_tokens)
    for batch in tokenizer.batches(train, compute.batch_size):
        real = batch.real.numpy()
        genes, bins = batch.genes.numpy()[real], batch.target.numpy()[real]
        inside = genes < n_tokens
        sums += np.bincount(genes[inside], bins[inside], n_tokens)
        counts += np.bincount(genes[inside], minlength=n_tokens)
    overall = sums.sum() / counts.sum()
    mean_bin = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
    truth, by_model, by_mean = [], [], []
    for batch in tokenizer.batches(test, compute.batch_size, mask_ratio=GEP_MASK_RATIO):
        hidden = batch.hidden
        with autocast(device):
            predicted = forward(model, batch.to(device))["mlm_output"].float().cpu()
        truth.append(batch.target[hidden].numpy())
        by_model.append(predicted[hidden].numpy())
        by_mean.append(mean_bin[batch.genes[hidden].numpy()])
    truth, by_model, by_mean = (np.concatenate(x).astype(float) for x in (truth, by_model, by_mean))
    yield "scgpt", "gep_mse", float(((by_model - truth) ** 2).mean())
    yield "scgpt", "gep_pearson", float(pearsonr(by_model, truth).statistic)
    yield "majority", "gep_mse", float(((by_mean - truth) ** 2).mean())
