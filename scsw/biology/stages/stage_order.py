"""In which order the Alzheimer's axes begin to change along the pseudo-progression score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.stages.axes import AXES, EXPRESSION
from scsw.biology.stages.change_point import NULL, Series, fit, order_probability, resampled
from scsw.biology.stages.stage_design import design
from scsw.biology.tables import (
    AS_MEASURED,
    THINNED,
    benjamini_hochberg_once,
    measured_unit,
)

# The order that is asked about, and its parts.
ORDERS = (
    ("synapse", "tau"),
    ("tau", "microglia"),
    ("tau", "astrocytes"),
    ("synapse", "microglia"),
    ("synapse", "astrocytes"),
    ("synapse", "tau", "microglia"),
    ("synapse", "tau", "astrocytes"),
)
SURE = 0.95
FOUND, FLAT = "change point", "no change point"
_STAGE_TERMS = 2  # the change point and the slope beyond it
_NOTHING = dict.fromkeys(
    "change_point change_low change_high slope slope_low slope_high p".split(), float("nan")
)
Resamples = dict[tuple[str, str, str], np.ndarray]


def change_points(
    axes: pd.DataFrame, order: list[str], settings: SimpleNamespace, statistics: SimpleNamespace
) -> tuple[pd.DataFrame, Resamples]:
    """Find the change point of each axis, as expressed and in each candidate.

    Parameters
    ----------
    axes
        Table ``axis_scores.parquet``. Expression is that of all donors with a CPS; candidates
        are scored in discovery and test donors. Reference donors are left out.
    order
        Candidates, best first.
    settings, statistics
        Sections ``stages`` and ``statistics``.

    Returns
    -------
    tuple
        ``change_points.parquet`` without the model's columns, and the change points of every
        series that has one in the same `statistics.bootstrap` resamples of donors. q is over
        the axes of one depth as expressed, and over axes × candidates.
    """
    fits: dict[tuple[str, str, str], tuple[Series | None, list[str]]] = {}
    rows = []
    staged = axes[axes["cps"].ge(0) & axes["score"].notna() & ~axes["is_reference"].astype(bool)]
    groups = dict(list(staged.groupby(["depth", "source", "axis"])))
    for depth in (AS_MEASURED, THINNED):
        for source in (EXPRESSION, *order):
            for axis in AXES:
                own = groups.get((depth, source, axis), staged.iloc[:0])
                if source != EXPRESSION:
                    own = own[own["split"].isin(["discovery", "test"])]
                own = own[own["n_cells"].ge(settings.min_cells)].sort_values("donor_id")
                row, series = _change_point(own, staged.empty, settings, statistics)
                row |= {"depth": depth, "source": source, "axis": axis}
                rows.append(row | dict(zip(("gene_set", "cell_class"), AXES[axis], strict=False)))
                fits[depth, source, axis] = series, list(own["donor_id"].astype(str))
    table = pd.DataFrame(rows)
    family = [table["depth"], table["source"].eq(EXPRESSION)]
    test = measured_unit(table["source"], "contribution").str.cat(table["axis"], sep="|")
    families = table["p"].groupby(family)
    table["q"] = pd.concat([benjamini_hochberg_once(p, test[p.index]) for _, p in families])
    found = table["q"] < statistics.alpha
    table.loc[table["status"].eq("tested"), "status"] = FLAT
    table.loc[found, "status"] = FOUND
    table.loc[~found, ["change_point", "slope"]] = np.nan
    kept: Resamples = {}
    for place, row in table[found].iterrows():
        series, donors = fits[row["depth"], row["source"], row["axis"]]
        points, slopes = resampled(series, _weights(donors, staged, statistics))
        kept[row["depth"], row["source"], row["axis"]] = points
        bounds = [*np.nanpercentile(points, [2.5, 97.5]), *np.nanpercentile(slopes, [2.5, 97.5])]
        table.loc[place, ["change_low", "change_high", "slope_low", "slope_high"]] = bounds
    return table, kept


def stage_order(points: pd.DataFrame, kept: Resamples) -> pd.DataFrame:
    """Say in which share of resamples the axes begin to change in the order expected.

    Parameters
    ----------
    points, kept
        From `change_points`.

    Returns
    -------
    pandas.DataFrame
        ``stage_order.parquet`` without the model's columns. An order is asked about only where
        each of its axes has a change point.
    """
    status = points.set_index(["depth", "source", "axis"])
    rows = []
    for depth, source in points[["depth", "source"]].drop_duplicates().itertuples(index=False):
        for order in ORDERS:
            own = status.loc[[(depth, source, axis) for axis in order]]
            row = {"depth": depth, "source": source, "order": " → ".join(order)}
            row |= {"chance": 1 / 2 if len(order) == 2 else 1 / 6}
            row |= {"n_donors": int(own["n_donors"].min()), "probability": float("nan")}
            without = own[own["status"].ne(FOUND)]
            if len(without):
                reasons = [
                    f"{r.Index[-1]}: {FLAT if r.status == FLAT else r.reason}"
                    for r in without.itertuples()
                ]
                said = {"status": "not testable", "reason": "; ".join(dict.fromkeys(reasons))}
            else:
                share = order_probability([kept[depth, source, axis] for axis in order])
                said = {"probability": share, "status": _called(share), "reason": ""}
            rows.append(row | said)
    return pd.DataFrame(rows)


def _called(share: float) -> str:
    if share >= SURE:
        return "supported"
    return "contradicted" if share <= 1 - SURE else "not resolved"


def _change_point(
    own: pd.DataFrame, no_score: bool, settings: SimpleNamespace, statistics: SimpleNamespace
) -> tuple[dict[str, Any], Series | None]:
    n_genes = int(own["n_genes"].iloc[0]) if len(own) else 0
    row = {**_NOTHING, "n_genes": n_genes, "n_donors": len(own), "covariates": "", "null": NULL}
    row["at_start"] = False
    needed = max(statistics.min_test_donors, _STAGE_TERMS * settings.donors_per_term)
    if no_score:
        return {**row, "status": "not testable", "reason": "no donor has a CPS"}, None
    if len(own) < needed:
        reason = f"{len(own)} donors with a CPS have cells of this axis; {needed} are needed"
        return {**row, "status": "not tested", "reason": reason}, None
    if own["cps"].nunique() < 3 or np.ptp(own["score"].to_numpy(float)) == 0:
        return {**row, "status": "not tested", "reason": "CPS or score does not vary"}, None
    terms, used, left_out = design(
        own, "cps", settings.covariates, settings.donors_per_term, stage_terms=_STAGE_TERMS
    )
    values, place = own["score"].to_numpy(float), own["cps"].to_numpy(float)
    series = Series(values, place, terms.to_numpy(float)[:, 1:])
    rng = np.random.default_rng(statistics.seed)
    found = fit(series, n_draws=statistics.bootstrap, rng=rng)
    row |= {"change_point": found.point, "slope": found.slope, "p": found.p}
    row |= {"at_start": bool(found.point == series.points[0]), "covariates": "+".join(used)}
    return {**row, "status": "tested", "reason": left_out}, series


def _weights(donors: list[str], staged: pd.DataFrame, statistics: SimpleNamespace) -> np.ndarray:
    """Return how often each donor is drawn, the same in all series that they are in."""
    everyone = sorted(staged["donor_id"].astype(str).unique())
    place = {name: index for index, name in enumerate(everyone)}
    rng = np.random.default_rng([statistics.seed, 1])
    drawn = rng.multinomial(
        len(everyone), np.full(len(everyone), 1 / len(everyone)), statistics.bootstrap
    )
    return drawn[:, [place[name] for name in donors]].astype(float)
