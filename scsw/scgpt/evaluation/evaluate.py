"""Performance on test donors, by donor and cell type, beside baselines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.cohort.sampling import cap_at_random
from scsw.errors import ScswError
from scsw.scgpt.evaluation.baselines import frozen_encoder, majority, pca_logistic, sample_cells
from scsw.scgpt.evaluation.inference import hidden_values, type_probabilities
from scsw.scgpt.evaluation.scores import classification, one_type, reconstruction
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.verdict.statistics import studentised_interval

GEP_MASK_RATIO = 0.4  # hidden share when reconstruction is scored
_RESAMPLES, _SEED = 10_000, 0  # of the intervals over donors; the seed is that of the draws too
ALL = "all"
_KEYS = ["predictor", "split", "metric", "donor_id", "cell_type"]


def evaluate(
    model: nn.Module,
    cells: AnnData,
    tokenizer: Tokenizer,
    labels: list[str],
    compute: SimpleNamespace,
    device: torch.device,
    *,
    start: str | Path,
    baseline_cells: int,
    gep_cells_per_donor: int,
) -> pd.DataFrame:
    """Score the model and the baselines on the test donors.

    Cells of a type that the training donors do not hold are left out and so counted nowhere.

    Parameters
    ----------
    model
        The fine-tuned model, on its device.
    cells
        Training and test cells, others may be among them. Only ``obs`` is looked at: counts come
        from the tokenizer, a block of cells at a time.
    tokenizer
        Tokenizer of `cells`.
    labels
        Cell types in the order of the classifier.
    compute
        Section ``compute`` of the config.
    device
        Where `model` is.
    start
        scGPT folder of the model before fine-tuning, for the baseline of a frozen encoder.
    baseline_cells
        Most training cells that the baselines are fitted on (`sample_cells`).
    gep_cells_per_donor
        Most test cells of a donor whose expression is reconstructed, drawn at random.

    Returns
    -------
    pandas.DataFrame
        ``predictor, split, metric, donor_id, cell_type, value, n_cells, n_donors, donor_mean,
        donor_low, donor_high`` (contract: ``performance.parquet``).

    Raises
    ------
    ScswError
        If no test cell can be scored.
    """
    obs = cells.obs[["cell_id", "donor_id", "cell_type", "split"]].astype(str)
    known = obs["cell_type"].isin(labels).to_numpy()
    split = obs["split"].to_numpy(str)
    train = np.flatnonzero((split == "train") & known)
    test = np.flatnonzero((split == "test") & known)
    if not test.size:
        raise ScswError(
            f"no test donor of {cells.uns.get('scsw', {}).get('cohort', 'the cohort')} holds a "
            "cell of a type that the training donors hold",
            fix="give preprocess.test a larger share, or check the cell-type column",
        )
    truth = pd.Categorical(obs["cell_type"], categories=labels).codes.astype(np.int64)
    fit = sample_cells(obs, train, baseline_cells, _SEED)

    given = (tokenizer, fit, test, truth[fit], len(labels))
    predictions = {
        "scgpt": type_probabilities(model, tokenizer, test, compute, device),
        "majority": majority(truth[train], len(test), len(labels)),
        "pca_logistic": pca_logistic(*given),
        "frozen_encoder": frozen_encoder(start, *given, compute, device),
    }
    shown = test[cap_at_random(obs.iloc[test], gep_cells_per_donor, _SEED)]

    rows = list(_classification_rows(obs.iloc[test], truth[test], predictions, labels))
    rows += _reconstruction_rows(model, tokenizer, obs, fit, shown, labels, compute, device)
    table = pd.DataFrame(rows).assign(split="test")
    table = with_donor_means(table)
    columns = [*_KEYS, "value", "n_cells", "n_donors", "donor_mean", "donor_low", "donor_high"]
    return table[columns]


def with_donor_means(table: pd.DataFrame) -> pd.DataFrame:
    """Add the mean over donors, who are the unit, and its 95 % studentised bootstrap interval.

    They stand in the rows of all donors and cell types, NaN in others; donors without a value
    are left out, and with a single one there is no interval.
    """
    overall = table["cell_type"] == ALL
    donors = table[overall & (table["donor_id"] != ALL)].dropna(subset="value")
    found = {}
    for keys, values in donors.groupby(["predictor", "metric"])["value"]:
        values = values.to_numpy()
        low, high = studentised_interval(values, n_resamples=_RESAMPLES, seed=_SEED)
        found[keys] = (values.mean(), *((low, high) if len(values) > 1 else (np.nan, np.nan)))
    nothing = (np.nan,) * 3
    means = [
        found.get((row.predictor, row.metric), nothing)
        if row.donor_id == ALL and row.cell_type == ALL
        else nothing
        for row in table.itertuples()
    ]
    names = ["donor_mean", "donor_low", "donor_high"]
    return table.join(pd.DataFrame(means, columns=names, index=table.index))


def _classification_rows(
    obs: pd.DataFrame, truth: np.ndarray, predictions: dict[str, np.ndarray], labels: list[str]
) -> Iterator[dict]:
    for donor, own in _donors(obs):
        keys = {"donor_id": donor}
        for predictor, probabilities in predictions.items():
            keys["predictor"] = predictor
            given = truth[own], probabilities[own]
            yield from _rows(classification(*given), obs[own], keys | {"cell_type": ALL})
            for index in np.unique(truth[own]):
                of_type = obs[own & (truth == index)]
                keys["cell_type"] = labels[index]
                yield from _rows(one_type(*given, index), of_type, keys)


def _reconstruction_rows(
    model: nn.Module,
    tokenizer: Tokenizer,
    obs: pd.DataFrame,
    train: np.ndarray,
    test: np.ndarray,
    labels: list[str],
    compute: SimpleNamespace,
    device: torch.device,
) -> Iterator[dict]:
    """Yield rows of the model, and of the mean bin that a gene has in the training cells."""
    cell, gene, truth, predicted = hidden_values(
        model, tokenizer, test, compute, device, GEP_MASK_RATIO
    )
    means = mean_bins(tokenizer, train, compute.batch_size)
    predictions = {"scgpt": predicted, "majority": means[gene]}
    obs = obs.iloc[test]
    for donor, own in _donors(obs):
        for name in (ALL, *labels):
            cells = own if name == ALL else own & (obs["cell_type"] == name).to_numpy()
            values = cells[cell]
            if not values.any():
                continue
            for predictor, by in predictions.items():
                keys = {"donor_id": donor, "predictor": predictor, "cell_type": name}
                yield from _rows(reconstruction(truth[values], by[values]), obs[cells], keys)


def mean_bins(tokenizer: Tokenizer, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Return each token's mean bin in some cells, float64, shape (tokens,).

    A gene that none of them holds has the mean of all.
    """
    n_tokens = int(max(tokenizer.token_ids.max(), tokenizer.cls_id)) + 1
    sums, counts = np.zeros(n_tokens), np.zeros(n_tokens)
    for batch in tokenizer.packed_batches(rows, batch_size):
        real = batch.genes != tokenizer.cls_id
        genes, bins = batch.genes[real].numpy(), batch.target[real].numpy()
        sums += np.bincount(genes, bins, n_tokens)
        counts += np.bincount(genes, minlength=n_tokens)
    return np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())


def _donors(obs: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all donors together, then each alone, with a mask of their cells."""
    names = obs["donor_id"].to_numpy(str)
    yield ALL, np.ones(len(obs), bool)
    for donor in np.unique(names):
        yield donor, names == donor


def _rows(scores: dict[str, float], cells: pd.DataFrame, keys: dict) -> Iterator[dict]:
    counts = {"n_cells": len(cells), "n_donors": cells["donor_id"].nunique()}
    for metric, value in scores.items():
        yield {**keys, "metric": metric, "value": value, **counts}
