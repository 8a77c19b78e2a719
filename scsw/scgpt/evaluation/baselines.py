"""What a fine-tuned model has to beat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from scsw.cohort.sampling import generator
from scsw.scgpt.evaluation.inference import embeddings
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.tokenizer import Tokenizer

# Cells whose counts or embeddings are held at once while test cells are predicted.
_BLOCK = 10_000
_COMPONENTS = 50


def sample_cells(obs: pd.DataFrame, rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw cells, each type in proportion and none left out.

    Which cells are drawn depends on their names, their types and the seed, not on their order.

    Parameters
    ----------
    obs
        ``cell_id, cell_type``.
    rows
        Rows of `obs` to draw from, int.
    n
        Most cells to draw; if it is less than the number of types, some types are left out.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Rows, ascending.
    """
    if len(rows) <= n:
        return rows
    names = obs["cell_id"].to_numpy(str)[rows]
    drawn = generator(seed, "baselines").permutation(rows[np.argsort(names, kind="stable")])
    types = pd.Series(obs["cell_type"].astype(str).to_numpy()[drawn])
    of_type = types.groupby(types)
    # A type's first cell comes before any second one, and then all in step.
    place = of_type.cumcount() / of_type.transform("size")
    return np.sort(drawn[np.argsort(place.to_numpy(), kind="stable")[:n]])


def majority(train_truth: np.ndarray, n: int, n_cls: int) -> np.ndarray:
    """Predict the training frequencies for every cell (add-one, so that no type is impossible)."""
    counts = np.bincount(train_truth, minlength=n_cls) + 1.0
    return np.tile(counts / counts.sum(), (n, 1))


def pca_logistic(
    tokenizer: Tokenizer, train: np.ndarray, test: np.ndarray, train_truth: np.ndarray, n_cls: int
) -> np.ndarray:
    """Return the probabilities of logistic regression on principal components of expression.

    50 components of log-normalised counts, of the training cells alone.

    Parameters
    ----------
    tokenizer
        Its counts are used, not its tokens.
    train, test
        Rows to fit on and to predict, int.
    train_truth
        Type of each training cell, int, shape (train cells,).
    n_cls
        Number of types.

    Returns
    -------
    numpy.ndarray
        Shape (test cells, types).
    """
    fit = log_normalised(tokenizer, train)
    model = make_pipeline(
        PCA(min(_COMPONENTS, min(fit.shape) - 1), svd_solver="arpack", random_state=0),
        LogisticRegression(max_iter=1000),
    ).fit(fit, train_truth)
    return _by_block(model, lambda rows: log_normalised(tokenizer, rows), test, n_cls)


def frozen_encoder(
    start: str | Path,
    tokenizer: Tokenizer,
    train: np.ndarray,
    test: np.ndarray,
    train_truth: np.ndarray,
    n_cls: int,
    compute: SimpleNamespace,
    device: torch.device,
) -> np.ndarray:
    """Return the probabilities of logistic regression on the starting model's cell embeddings.

    What pre-training alone knows of cell types: the model in `start` is not trained. Embeddings
    are standardised by the training cells. Otherwise as `pca_logistic`.
    """
    model = load_model(start).to(device)

    def embedded(rows: np.ndarray) -> np.ndarray:
        return embeddings(model, tokenizer, rows, compute, device)

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(embedded(train), train_truth)
    return _by_block(classifier, embedded, test, n_cls)


def log_normalised(tokenizer: Tokenizer, rows: np.ndarray) -> sparse.csr_matrix:
    """Return log(1 + counts per 10,000), float64, shape (cells, genes)."""
    # Not scanpy's normalize_total: its numba code sets the process's threads to all cores, which
    # changes torch's results from then on.
    bounds, columns, counts = tokenizer.rows.rows(rows)
    shape = (len(rows), tokenizer.token_ids.size)
    counts = sparse.csr_matrix((counts.astype(float), columns, bounds), shape)
    return np.log1p(normalize(counts, "l1") * 1e4)


def _by_block(
    model: Pipeline, features: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, n_cls: int
) -> np.ndarray:
    probabilities = np.zeros((len(rows), n_cls))
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        probabilities[block, model.classes_] = model.predict_proba(features(rows[block]))
    return probabilities
