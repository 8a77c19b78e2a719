"""Metrics of the predicted cell types, read from additive statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scsw.superweight.pruning.metrics import ROUNDING

_LISTS = (
    "predicted_counts predicted_counts_intact sum_d_probabilities sum_probabilities_intact "
    "bin_counts bin_confidence bin_correct bin_counts_intact bin_confidence_intact "
    "bin_correct_intact"
).split()


def prediction_metrics(
    effects: pd.DataFrame,
    sums: pd.DataFrame,
    unit: np.ndarray,
    types: Sequence[str],
    *,
    one_type: bool,
) -> dict[str, tuple]:
    """Return what needs the distribution of predictions.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet`` that hold cells.
    sums
        ``n_cells, floor_probability`` by unit.
    unit
        Place of each row's unit in `sums`, shape (rows,).
    types
        Cell types in the classifier's order.
    one_type
        Whether each unit holds cells of one type.

    Returns
    -------
    dict
        ``(intact, effect, floor)`` by metric, of shape (units,); NaN where not measured.
    """
    own = effects["predicted_counts"].notna().to_numpy()
    kept, place = np.unique(unit[own], return_inverse=True)
    lists = {name: np.stack(effects.loc[own, name].to_numpy()).astype(float) for name in _LISTS}
    code, n = type_codes(effects[own], types), np.zeros(len(kept))
    np.add.at(n, place, effects.loc[own, "n_cells"].to_numpy(float))

    def total(values: np.ndarray) -> np.ndarray:
        found = np.zeros((len(kept), values.shape[1]))
        np.add.at(found, place, values)
        return found

    def confusion(name: str) -> np.ndarray:
        found = np.zeros((len(kept), len(types), len(types)))
        np.add.at(found, (place, code), lists[name])
        return found

    by_bin = {name: total(lists[name]) for name in _LISTS if name.startswith("bin_")}
    soft = total(lists["sum_probabilities_intact"]) / n[:, None]
    moved = total(lists["sum_d_probabilities"]) / n[:, None]
    before = confusion("predicted_counts_intact")
    after = confusion("predicted_counts")
    one_cell = 1 / n
    of_soft = (sums["floor_probability"] / sums["n_cells"]).to_numpy()[kept]
    pairs = {
        "ece": (_ece(by_bin, "_intact", n), _ece(by_bin, "", n), one_cell),
        "prediction_entropy": (
            *(_entropy(c.sum(1) / n[:, None]) for c in (before, after)),
            one_cell,
        ),
        "top_share": (*(c.sum(1).max(1) / n for c in (before, after)), one_cell),
    }
    if not one_type:
        pairs["balanced_accuracy"] = (_balanced(before), _balanced(after), one_cell)
        pairs["macro_f1"] = (_macro_f1(before), _macro_f1(after), one_cell)
    found = {name: (a, b - a, floor) for name, (a, b, floor) in pairs.items()}
    logs = -np.log(np.clip(np.minimum(soft, soft + moved), 1e-300, None)).max(1)
    found["soft_entropy"] = (
        _entropy(soft),
        _entropy_change(soft, moved),
        of_soft * (1 + logs) + ROUNDING,
    )
    largest = soft.max(1)
    found["soft_top_share"] = (largest, (soft + moved).max(1) - largest, of_soft + ROUNDING)
    return {
        name: tuple(_spread(values, kept, len(sums)) for values in three)
        for name, three in found.items()
    }


def majority_metrics(
    true: np.ndarray, frequencies: pd.Series, types: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the metrics of a predictor that gives every cell the training frequencies.

    Parameters
    ----------
    true
        Cells of each type, shape (units, types).
    frequencies
        Share of each type among the training cells.
    types
        Names of the types.

    Returns
    -------
    dict
        By metric, shape (units,). The NLL is inf where a type has no training cell.
    """
    f = frequencies.reindex(types).fillna(0).to_numpy(float)
    n, top, one = true.sum(1), int(f.argmax()), np.ones(len(true))
    share = true[:, top] / n
    occur = true > 0
    with np.errstate(divide="ignore"):
        rise = np.where(occur, true * -np.log(f), 0.0).sum(1)
    n_types = occur.sum(1)
    asked = n_types + ~occur[:, top]  # the predicted type counts even where no cell has it
    return {
        "nll": rise / n,
        "accuracy": share,
        "balanced_accuracy": occur[:, top] / n_types,
        "macro_f1": 2 * share / (1 + share) / asked,
        "ece": np.abs(f.max() - share),
        "brier": np.square(f).sum() + 1 - 2 * (true @ f) / n,
        "prediction_entropy": 0 * one,
        "top_share": one,
        "soft_entropy": _entropy(f) * one,
        "soft_top_share": f.max() * one,
    }


def type_codes(effects: pd.DataFrame, types: Sequence[str]) -> np.ndarray:
    """Return the index among `types` of each row's cell type, int64, shape (rows,)."""
    return pd.Index(types).get_indexer(effects["cell_type"].astype(str))


def _balanced(confusion: np.ndarray) -> np.ndarray:
    """Return the mean recall of the types that occur; shape (units, true, predicted)."""
    n = confusion.sum(2)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return np.divide(hits, n, out=np.zeros_like(hits, float), where=n > 0).sum(1) / (n > 0).sum(1)


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the types that occur or are predicted."""
    asked = confusion.sum(1) + confusion.sum(2)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    f1 = np.divide(2 * hits, asked, out=np.full_like(asked, np.nan), where=asked > 0)
    return np.nanmean(f1, axis=1)


def _ece(by_bin: dict[str, np.ndarray], end: str, n: np.ndarray) -> np.ndarray:
    return np.abs(by_bin["bin_confidence" + end] - by_bin["bin_correct" + end]).sum(1) / n


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy in nats along the last axis."""
    return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1)


def _entropy_change(shares: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return the rise of the entropy: −Σ [Δq·log q + (q + Δq)·log(1 + Δq/q)]."""
    after = np.clip(shares + change, 0, None)
    known = (shares > 0) & (after > 0)
    safe = np.where(known, shares, 1.0)
    ratio = np.where(known, np.maximum(change / safe, -1 + 1e-16), 0.0)
    terms = np.where(known, change * np.log(safe) + after * np.log1p(ratio), 0.0)
    gone = np.where(~known, _xlogx(after) - _xlogx(shares), 0.0)
    return -(terms + gone).sum(-1)


def _xlogx(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.where(x > 0, x, 1.0))


def _spread(values: np.ndarray, kept: np.ndarray, n: int) -> np.ndarray:
    """Put values of some units among all; the others get NaN."""
    found = np.full(n, np.nan)
    found[kept] = values
    return found
