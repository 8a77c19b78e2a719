"""Metrics of edits, read from the additive statistics of ``effects.parquet``.

All but the NLL are secondary: they make no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.superweight.pruning.expression_metrics import expression_metrics, mean_bin_metrics
from scsw.superweight.pruning.metrics import EXPRESSION
from scsw.superweight.pruning.prediction_metrics import (
    majority_metrics,
    prediction_metrics,
    type_codes,
)
from scsw.superweight.verdict.statistics import EDIT

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
    found = _of_cells(sums) | expression_metrics(sums)
    if "predicted_counts" in effects and effects["predicted_counts"].notna().any():
        found |= prediction_metrics(effects, sums, unit, types, one_type=one_type)
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
    np.add.at(true, (unit, type_codes(effects, types)), effects["n_cells"].to_numpy())
    return true


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
