"""Step `stages`: whether a candidate's activity or effect follows the stage of disease."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scsw.biology.stages.axes import AXIS_SCORES
from scsw.biology.stages.donor_facts import FACTS, STAGING
from scsw.biology.stages.donor_measures import MEASURES, donor_measures
from scsw.biology.stages.stage_order import change_points, stage_order
from scsw.biology.stages.stage_slope import stage_slope
from scsw.biology.tables import (
    AS_MEASURED,
    CHANGE_POINTS,
    POWER,
    STAGE_ORDER,
    STAGES,
    THINNED,
    benjamini_hochberg_once,
    measured_unit,
    one_model,
    typed,
)
from scsw.files import read_columns, write_table
from scsw.provenance import recorded

STAGE_VARIABLES = (*STAGING, "apoe_e4", "apoe_e2")
_MODEL = ["cohort", "arm", "seed"]
_SCORE_COLUMNS = [
    *_MODEL,
    *"depth candidate_id donor_id cell_class cell_type region n_cells contribution spike".split(),
    *"split median_genes pct_mito assay_shares".split(),
    *FACTS,
]
_EFFECT_COLUMNS = [
    *_MODEL,
    *"candidate_id donor_id cell_type region n_cells sum_d_nll".split(),
]
_FAMILY = ["depth", "stage", "measure", "_by_type"]


def stages(
    donor_scores: str | Path,
    effects: str | Path,
    thinned_effects: str | Path,
    axis_scores: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    simulated: bool = False,
) -> None:
    """Write ``stages.parquet``, ``change_points.parquet`` and ``stage_order.parquet``.

    ``stages.parquet`` has one regression per depth, candidate, cell class, measure and stage,
    and one per cell type on the primary stage. Donors are the units: those of the discovery and
    test splits (for ``effect_nll`` the test split) with a stage and at least
    `settings.min_cells` cells; reference donors are left out. The primary tests are those of
    ``contribution`` as measured, by class, on ``adnc``, or on ``braak`` where no donor has
    ``adnc``. q is Benjamini–Hochberg over all candidates and cell classes of one depth, stage
    and measure (cell types are a family of their own); the primary tests are one such family.
    Candidates that share what is measured (`tables.measured_unit`) are one test.

    Parameters
    ----------
    donor_scores, thinned_effects, axis_scores
        Tables of the folder ``map/`` of one model.
    effects
        ``prune/effects.parquet`` of the same model.
    candidates
        ``candidates.parquet`` or ``verdicts.parquet`` of the same model.
    out
        Folder for the tables and the provenance.
    settings, statistics
        Sections ``stages`` and ``statistics`` of the config.
    simulated
        Whether the cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a table is not as described. Missing stages or donors are no error: such rows read
        ``not tested`` and say why.
    """
    inputs = {"donor_scores": donor_scores, "effects": effects, "candidates": candidates}
    inputs |= {"thinned_effects": thinned_effects, "axis_scores": axis_scores}
    with recorded(
        "stages",
        out,
        inputs=inputs,
        parameters={**vars(settings), **vars(statistics)},
        seed=statistics.seed,
        simulated=simulated,
    ):
        scores = read_columns(donor_scores, _SCORE_COLUMNS)
        pruned = read_columns(
            effects, [*_EFFECT_COLUMNS, "scale"], weight_set="candidate", mode="zero"
        )
        pruned = pruned[pruned["scale"].eq(0)]  # a scale sweep keeps part of the weight
        thin = read_columns(thinned_effects, _EFFECT_COLUMNS)
        axes = read_columns(axis_scores, [*_MODEL, *AXIS_SCORES])
        listed = read_columns(candidates, [*_MODEL, "rank", "candidate_id"])
        model = one_model(scores, pruned, thin, axes, listed)
        order = list(listed.sort_values("rank")["candidate_id"])
        donors = {
            AS_MEASURED: donor_measures(scores[scores["depth"].eq(AS_MEASURED)], pruned),
            THINNED: donor_measures(scores[scores["depth"].eq(THINNED)], thin),
        }
        table = stage_tests(donors, order, settings, statistics)
        points, resampled = change_points(axes, order, settings, statistics)
        tables = {
            "stages": typed(table.assign(**model), STAGES),
            "change_points": typed(points.assign(**model), CHANGE_POINTS),
            "stage_order": typed(stage_order(points, resampled).assign(**model), STAGE_ORDER),
        }
        for name, written in tables.items():
            write_table(written, Path(out) / f"{name}.parquet")


def stage_tests(
    donors: dict[str, pd.DataFrame],
    order: list[str],
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    measures: Sequence[str] = MEASURES,
) -> pd.DataFrame:
    """Return ``stages.parquet`` without the model's columns.

    Parameters
    ----------
    donors
        Depth → `donor_measures`.
    order
        Candidates, best first.
    settings, statistics
        Sections of the config.
    measures
        Columns of `donors` that are tested; those of candidates by default.
    """
    measured = donors[AS_MEASURED]
    primary_stage = "adnc" if measured["adnc"].ge(0).any() else "braak"
    rows = [
        row
        for depth, own in donors.items()
        for row in _rows(own, depth, primary_stage, order, settings, statistics, measures)
    ]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["_by_type"] = table["cell_type"].ne("all")
    table["_test"] = measured_unit(table["candidate_id"], table["measure"]).str.cat(
        [table["cell_class"], table["cell_type"]], sep="|"
    )
    families = [own for _, own in table.groupby(_FAMILY)]
    table["q"] = pd.concat([benjamini_hochberg_once(own["p"], own["_test"]) for own in families])
    of_tested = table["_test"].where(table["p"].notna())
    n_tests = of_tested.groupby([table[name] for name in _FAMILY]).transform("nunique")
    n_tests = n_tests.clip(lower=1)
    table["detectable"] = _detectable(table, statistics.alpha / n_tests)
    return _with_survival(table, statistics.alpha)


def _rows(
    donors: pd.DataFrame,
    depth: str,
    primary_stage: str,
    order: list[str],
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    measures: Sequence[str],
) -> Iterator[dict[str, Any]]:
    keys = ["candidate_id", "cell_class", "cell_type"]
    # With no donor at all there is still a row, which says so.
    places = donors[keys[1:]].astype(str).drop_duplicates().sort_values(keys[1:])
    places = list(places.itertuples(index=False, name=None)) or [("", "all")]
    groups = dict(list(donors.groupby(keys, observed=True)))
    for candidate, (cell_class, cell_type), measure in product(order, places, measures):
        group = groups.get((candidate, cell_class, cell_type), donors.iloc[:0])
        cells = group["effect_cells" if measure == "effect_nll" else "n_cells"]
        enough = group[cells.ge(settings.min_cells)]
        for stage in STAGE_VARIABLES if cell_type == "all" else (primary_stage,):
            is_primary = (measure, stage, cell_type) == ("contribution", primary_stage, "all")
            yield {
                **{"candidate_id": candidate, "cell_class": cell_class, "cell_type": cell_type},
                **{"measure": measure, "stage": stage, "depth": depth},
                "primary": is_primary and depth == AS_MEASURED,
                **stage_slope(
                    enough,
                    measure,
                    stage,
                    settings.covariates,
                    donors_per_term=settings.donors_per_term,
                    min_donors=statistics.min_test_donors,
                ),
            }


def _detectable(table: pd.DataFrame, alpha: pd.Series) -> np.ndarray:
    """Return the slope that a two-sided t-test at `alpha` would find with `POWER`.

    `alpha` is that of the family's Bonferroni correction: what a lone effect has to pass in
    Benjamini–Hochberg.
    """
    df = table["df"].to_numpy(float)
    needed = stats.t.isf(alpha.to_numpy(float) / 2, df) + stats.t.ppf(POWER, df)
    return table["se"].to_numpy(float) * needed


def _with_survival(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Say of each test as measured that passes whether it passes again on thinned cells."""
    keys = "candidate_id cell_class cell_type measure stage".split()
    thin = table[table["depth"].eq(THINNED)].set_index(keys)
    told = []
    for row in table.itertuples():
        key = tuple(getattr(row, name) for name in keys)
        if row.depth != AS_MEASURED or not row.q < alpha:
            told.append("")
        elif key not in thin.index or thin.loc[key, "status"] != "tested":
            told.append("not tested")
        else:
            again = thin.loc[key]
            same = np.sign(again["beta"]) == np.sign(row.beta)
            told.append("yes" if same and again["q"] < alpha else "no")
    return table.assign(survives_thinning=told)
