"""The frozen family of candidates (contract: ``candidates.parquet``)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.find import with_weights
from scsw.superweight.observe import HIDDEN, OUTPUT, Observation
from scsw.superweight.search.scale_gradients import simpson
from scsw.superweight.search.screen import PLACE, Screen
from scsw.superweight.search.spike_table import ratios

COLUMNS = (
    "rank candidate_id family module block row column weight weight_z site spike_ratio "
    "hidden_ratio contribution residual_share stability first_order first_order_reconstruction "
    "simpson mean_hidden start_ratio start_weight found_by iteration top_gene"
).split()


def freeze(
    spiking: pd.DataFrame,
    screened: Screen,
    modules: list[str],
    layers: list,
    seen: Observation,
    settings: SimpleNamespace,
) -> pd.DataFrame:
    """Return the family: spikes first, then the largest predicted rises, then the rest.

    ``stability``, ``last_on_top`` and ``share_on_top`` need passes of their own and are missing.

    Parameters
    ----------
    spiking
        Table of `find_candidates`.
    screened
        The first-order screen.
    modules, layers
        Names of the down-projections, and these.
    seen
        What the pass over the intact model saw.
    settings
        Section ``search`` of the config.
    """
    screen = screened.table[screened.table["loss"] == "nll"].set_index(PLACE)
    table = _joined(spiking, predicted_rise(screen), modules, settings)
    places = list(zip(table["block"], table["row"], table["column"], strict=True))
    table = with_weights(table, layers)
    outputs = [seen.sites[f"{block}.{OUTPUT}"] for block in range(len(layers))]
    hidden = [seen.sites[f"{block}.{HIDDEN}"] for block in range(len(layers))]
    row_ratio = [ratios(outputs[b])[r] for b, r, _ in places]
    column_ratio = [ratios(hidden[b])[c] for b, _, c in places]
    table["spike_ratio"] = table["spike_ratio"].fillna(pd.Series(row_ratio))
    table["hidden_ratio"] = table["hidden_ratio"].fillna(pd.Series(column_ratio))
    table["site"] = table["site"].fillna(OUTPUT)
    table["first_order"], table["first_order_reconstruction"] = (
        [screened.effects[loss][b][r, c] for b, r, c in places]
        for loss in ("nll", "reconstruction")
    )
    table["simpson"] = screen.loc[places, "simpson"].to_numpy()
    table["mean_hidden"] = [hidden[b].mean()[c] for b, _, c in places]
    table["candidate_id"] = [candidate_id("ffn_down", *place) for place in places]
    return table.assign(family="ffn_down", rank=np.arange(1, len(table) + 1))


def predicted_rise(screen: pd.DataFrame) -> pd.Series:
    """Return the rise of the NLL that is predicted for zeroing each weight, nats per cell.

    The verdict asks for a rise of the mean over cells, so that signs count, and types by their
    cells. The first order is that of all cells; the sample adds what Simpson's rule differs from
    its own first order by, which is little but for large weights, and so is its noise.

    Parameters
    ----------
    screen
        ``first_order_signed, g0, g_half, g1``, as in ``first_order.parquet``.
    """
    curvature = simpson(screen["g0"], screen["g_half"], screen["g1"]) + screen["g1"]
    return screen["first_order_signed"] + curvature


def with_start(
    table: pd.DataFrame, start: Observation | None, weights: list[np.ndarray] | None
) -> pd.DataFrame:
    """Fill in what each candidate was in the model that fine-tuning started from.

    Parameters
    ----------
    table
        The family.
    start, weights
        What a pass over the same cells saw in that model, and its down-projections; None if there
        is no such model.
    """
    if start is None:
        return table.assign(start_ratio=np.nan, start_weight=np.nan)
    ratio = [
        ratios(start.sites[f"{r.block}.{r.site}"])[r.row] for r in table.itertuples(index=False)
    ]
    value = [float(weights[r.block][r.row, r.column]) for r in table.itertuples(index=False)]
    return table.assign(start_ratio=ratio, start_weight=value)


def _joined(
    spiking: pd.DataFrame, predicted: pd.Series, modules: list[str], settings: SimpleNamespace
) -> pd.DataFrame:
    """Fill the reserved places with the largest predicted rises not already found.

    True spikes are never pushed out; channels below the stop rule make way.
    """
    reserved = min(settings.first_order, settings.max_candidates)
    true_spikes = int((spiking["found_by"] == "spike").sum())
    kept = spiking.head(max(true_spikes, settings.max_candidates - reserved))
    taken = set(zip(kept["block"], kept["row"], kept["column"], strict=True))
    rows = []
    for block, row, column in predicted.sort_values(ascending=False, kind="stable").index:
        if len(kept) + len(rows) >= settings.max_candidates:
            break
        if (block, row, column) not in taken:
            place = {"block": block, "row": row, "column": column, "module": modules[block]}
            rows.append(place | {"found_by": "first_order", "iteration": 0, "top_gene": ""})
    parts = [kept.iloc[:true_spikes], pd.DataFrame(rows), kept.iloc[true_spikes:]]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    # With first-order finds alone the spike columns are missing: they are then all NaN.
    table = table.reindex(columns=spiking.columns.drop(["batch", "cell", "token"]))
    numbers = ["spike_ratio", "hidden_ratio", "contribution", "residual_share"]
    return table.astype(dict.fromkeys(numbers, "float64"))
