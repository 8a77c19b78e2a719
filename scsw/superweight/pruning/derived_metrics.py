"""Metrics of edits, read from the additive statistics of ``effects.parquet``.

All but the NLL are secondary: they make no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.superweight.pruning.metrics import EXPRESSION
from scsw.superweight.verdict.statistics import EDIT

# What each metric is rounded to where it is not read from changes: its sums have 16 digits.
ROUNDING = 1e-12
_LISTS = (
    "predicted_counts predicted_counts_intact sum_d_probabilities sum_probabilities_intact "
    "bin_counts bin_confidence bin_correct bin_counts_intact bin_confidence_intact "
    "bin_correct_intact"
).split()
_OF_CELLS = (
    "sum_nll_intact sum_d_nll floor_nll n_correct n_correct_intact sum_d_brier sum_brier_intact "
    "floor_brier floor_probability sum_cosine_distance sum_relative_drift sum_neighbours_kept"
).split()
# Need the cells of all types: within one type they say nothing that its recall does not.
_OF_ALL_TYPES = ["balanced_accuracy", "macro_f1"]


def metric_table(
    effects: pd.DataFrame,
    types: Sequence[str],
    *,
    by: Sequence[str] = ("donor_id",),
    frequencies: pd.Series | None = None,
    one_type: bool | None = None,
) -> pd.DataFrame:
    """Return every metric of every edit, intact and pruned.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet``, of one model. Random controls have the NLL and accuracy alone.
    types
        Cell types in the classifier's order (``labels.json``).
    by
        Columns whose values are told apart: ``donor_id``, ``cell_type``, ``region``, or what
        `with_donors` joined.
    frequencies
        Share of each cell type among the training cells, for the column ``majority``.
    one_type
        Whether each unit holds cells of one type; by default where ``cell_type`` is in `by`.

    Returns
    -------
    pandas.DataFrame
        `EDIT`, the columns of `by`, ``metric, intact, pruned, effect`` (pruned − intact)``, floor``
        (numerical floor of the effect)``, unresolved`` (bool: an effect within it, but for an exact
        0)``, majority`` (the metric of predicting the training frequencies, of hidden expression
        the unit's mean bin; NaN where it has none) and ``n_cells``. Metrics that an edit was not
        measured in have no row.

    Raises
    ------
    ScswError
        If a column of `by` or a cell type is unknown.
    """
    by = list(by)
    one_type = "cell_type" in by if one_type is None else one_type
    _check(effects, types, by)
    effects = effects[effects["n_cells"] > 0]
    keys = [*EDIT, *by]
    grouped = effects.groupby(keys, sort=False, observed=True, dropna=False)
    unit = grouped.ngroup().to_numpy()
    sums = grouped[_present(effects, ["n_cells", *_OF_CELLS, *EXPRESSION])].sum(min_count=1)
    sums = sums.reindex(columns=["n_cells", *_OF_CELLS, *EXPRESSION])
    sums["relative_error"] = grouped["relative_error"].max() if "relative_error" in effects else 0.0
    true = _true_counts(effects, unit, len(sums), types)
    found = _of_cells(sums) | _of_expression(sums)
    if "predicted_counts" in effects and effects["predicted_counts"].notna().any():
        found |= _of_predictions(effects, sums, unit, types, one_type=one_type)
    floors = {}
    if frequencies is not None:
        floors = majority_metrics(true, frequencies, types) | mean_bin_metrics(sums)
    tables = []
    for name, (intact, effect, floor) in found.items():
        values = {"metric": name, "intact": intact, "pruned": intact + effect, "effect": effect}
        table = pd.DataFrame(values | {"floor": floor}, index=sums.index)
        table["unresolved"] = (table["effect"] != 0) & (table["effect"].abs() < table["floor"])
        table["majority"] = np.nan
        if name in floors and not (one_type and name in _OF_ALL_TYPES):
            table["majority"] = floors[name]
        tables.append(table.assign(n_cells=sums["n_cells"]).dropna(subset="effect").reset_index())
    return pd.concat(tables, ignore_index=True)


def over_donors(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over donors of every metric, each donor counting alike.

    Parameters
    ----------
    table
        What `metric_table` returned, with ``donor_id`` among its `by`.

    Returns
    -------
    pandas.DataFrame
        The same without ``donor_id``, with ``n_donors``; ``n_cells`` is their sum. The floor is the
        mean of the donors' floors, as if their errors had one direction.
    """
    values = ["intact", "pruned", "effect", "floor", "majority"]
    keys = [c for c in table.columns if c not in {*values, "donor_id", "unresolved", "n_cells"}]
    grouped = table.groupby(keys, sort=False, observed=True, dropna=False)
    found = grouped[values].mean()
    found["unresolved"] = (found["effect"] != 0) & (found["effect"].abs() < found["floor"])
    found["n_cells"], found["n_donors"] = grouped["n_cells"].sum(), grouped["donor_id"].nunique()
    return found.reset_index()


def with_donors(
    effects: pd.DataFrame, donors: pd.DataFrame, columns: Sequence[str]
) -> pd.DataFrame:
    """Join facts about the donors, such as ``adnc`` and ``braak``.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet``.
    donors
        ``donors.tsv``, or the ``obs`` of the cohort.
    columns
        Columns of `donors` to join; constant within a donor.

    Raises
    ------
    ScswError
        If a donor has two values of a column, or is not in the table.
    """
    facts = donors[["donor_id", *columns]].astype({"donor_id": str}).drop_duplicates()
    twice = facts.loc[facts["donor_id"].duplicated(), "donor_id"]
    lost = set(effects["donor_id"].astype(str)) - set(facts["donor_id"])
    if len(twice) or lost:
        raise ScswError(
            f"{twice.nunique()} donors have two values of {', '.join(columns)}, {len(lost)} none",
            expected="one value per test donor",
            fix="give the donors.tsv of the cohort that was pruned",
        )
    joined = facts.set_index("donor_id").loc[effects["donor_id"].astype(str)]
    return effects.assign(**{name: joined[name].to_numpy() for name in columns})


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


def _check(effects: pd.DataFrame, types: Sequence[str], by: list[str]) -> None:
    lacking = [name for name in by if name not in effects]
    unknown = set(effects["cell_type"].astype(str)) - set(types)
    if lacking or unknown:
        raise ScswError(
            f"the effects lack the columns {lacking} and have unknown cell types {sorted(unknown)}",
            expected="columns of effects.parquet, and the types of the model's labels.json",
            fix="join donor facts with with_donors, and give the labels.json of the same model",
        )


def _present(effects: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in effects]


def _true_counts(
    effects: pd.DataFrame, unit: np.ndarray, n: int, types: Sequence[str]
) -> np.ndarray:
    true = np.zeros((n, len(types)))
    np.add.at(true, (unit, _type_codes(effects, types)), effects["n_cells"].to_numpy())
    return true


def _type_codes(effects: pd.DataFrame, types: Sequence[str]) -> np.ndarray:
    return pd.Index(types).get_indexer(effects["cell_type"].astype(str))


def _of_cells(sums: pd.DataFrame) -> dict[str, tuple]:
    """Return ``(intact, effect, floor)`` of the metrics that are means over cells."""
    mean = sums[_OF_CELLS].div(sums["n_cells"], axis=0)
    one_cell, error = 1 / sums["n_cells"], sums["relative_error"]
    drift, turned = mean["sum_relative_drift"], mean["sum_cosine_distance"]
    kept = mean["sum_neighbours_kept"]
    return {
        "nll": (mean["sum_nll_intact"], mean["sum_d_nll"], mean["floor_nll"]),
        "accuracy": (
            mean["n_correct_intact"],
            (sums["n_correct"] - sums["n_correct_intact"]) / sums["n_cells"],
            one_cell,
        ),
        "brier": (mean["sum_brier_intact"], mean["sum_d_brier"], mean["floor_brier"]),
        "relative_drift": (0.0, drift, error * drift),
        "cosine_distance": (0.0, turned, 2 * error * turned),
        "neighbours_kept": (1.0, kept - 1, one_cell),
    }


def _of_expression(sums: pd.DataFrame) -> dict[str, tuple]:
    """Return ``(intact, effect, floor)`` of the metrics of hidden expression.

    A relative error of the change moves a metric by at most that error times the norm of its
    gradient times the norm of the change (Cauchy and Schwarz).
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


def _of_predictions(
    effects: pd.DataFrame,
    sums: pd.DataFrame,
    unit: np.ndarray,
    types: Sequence[str],
    *,
    one_type: bool,
) -> dict[str, tuple]:
    """Return ``(intact, effect, floor)`` of what needs the distribution of predictions."""
    own = effects["predicted_counts"].notna().to_numpy()
    kept, place = np.unique(unit[own], return_inverse=True)
    lists = {name: np.stack(effects.loc[own, name].to_numpy()).astype(float) for name in _LISTS}
    code, n = _type_codes(effects[own], types), np.zeros(len(kept))
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
        pairs["balanced_accuracy"] = (balanced(before), balanced(after), one_cell)
        pairs["macro_f1"] = (macro_f1(before), macro_f1(after), one_cell)
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


def type_f1(
    effects: pd.DataFrame, types: Sequence[str], *, by: Sequence[str] = ("donor_id",)
) -> pd.DataFrame:
    """Return the F1 of every cell type that occurs or is predicted, per edit and unit.

    Parameters
    ----------
    effects, types, by
        As for `metric_table`; `by` without ``cell_type``, since F1 counts other types' cells too.

    Returns
    -------
    pandas.DataFrame
        `EDIT`, the columns of `by`, ``cell_type, metric`` (``f1``)``, intact, pruned, effect,
        floor, unresolved``. An F1 is missing where the type neither occurs nor is predicted.
    """
    _check(effects, types, list(by))
    own = effects[(effects["n_cells"] > 0) & effects["predicted_counts"].notna()]
    grouped = own.groupby([*EDIT, *by], sort=False, observed=True, dropna=False)
    cells = grouped["n_cells"].sum()
    place, code = grouped.ngroup().to_numpy(), _type_codes(own, types)
    scores = {}
    for end in ("_intact", ""):
        counts = np.zeros((len(cells), len(types), len(types)))
        np.add.at(counts, (place, code), np.stack(own["predicted_counts" + end].to_numpy()))
        scores[end] = _f1(counts)
    index = cells.index.to_frame(index=False)
    table = index.loc[index.index.repeat(len(types))].reset_index(drop=True)
    table["cell_type"], table["metric"] = np.tile(np.asarray(types), len(cells)), "f1"
    table["intact"], table["pruned"] = scores["_intact"].ravel(), scores[""].ravel()
    table["effect"] = table["pruned"] - table["intact"]
    table["floor"] = np.repeat(1 / cells.to_numpy(float), len(types))
    table["unresolved"] = (table["effect"] != 0) & (table["effect"].abs() < table["floor"])
    return table


def balanced(confusion: np.ndarray) -> np.ndarray:
    """Return the mean recall of the types that occur; shape (units, true, predicted)."""
    n = confusion.sum(2)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return np.divide(hits, n, out=np.zeros_like(hits, float), where=n > 0).sum(1) / (n > 0).sum(1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the mean F1 of the types that occur or are predicted."""
    return np.nanmean(_f1(confusion), axis=1)


def _f1(confusion: np.ndarray) -> np.ndarray:
    """Return the F1 of each type, NaN where it neither occurs nor is predicted."""
    asked = confusion.sum(1) + confusion.sum(2)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return np.divide(2 * hits, asked, out=np.full_like(asked, np.nan), where=asked > 0)


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
