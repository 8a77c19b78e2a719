"""Step `stages`: whether a candidate's activity or effect follows the stage of disease."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from scsw.biology.donor_measures import MEASURES, donor_measures
from scsw.biology.stage_slope import stage_slope
from scsw.biology.tables import STAGES, benjamini_hochberg, one_model, read_columns, typed
from scsw.files import write_table
from scsw.provenance import recorded

STAGE_VARIABLES = ("adnc", "braak", "thal", "cerad", "cognition", "cps")
_SCORE_COLUMNS = (
    "cohort arm seed candidate_id donor_id cell_class cell_type n_cells contribution spike split "
    "median_genes adnc braak thal cerad cognition cps age_death sex pmi pct_mito"
).split()
_EFFECT_COLUMNS = (
    "cohort arm seed weight_set candidate_id mode scale donor_id cell_type n_cells sum_d_nll"
).split()


def stages(
    donor_scores: str | Path,
    effects: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    min_test_donors: int = 10,
    simulated: bool = False,
) -> None:
    """Write ``stages.parquet``: one regression per candidate, cell class, measure and stage.

    Donors are the units: those of the discovery and test splits (for ``effect_nll`` the test
    split) with a stage and at least `settings.min_cells` cells of the class. Reference donors
    have no stage and so take no part. The primary tests are those of ``contribution`` on
    ``adnc``, or on ``braak`` where no donor has ``adnc``. q is Benjamini–Hochberg over all
    candidates and cell classes of one stage and measure; the primary tests are one such family.

    Parameters
    ----------
    donor_scores
        ``map/donor_scores.parquet`` of one model.
    effects
        ``prune/effects.parquet`` of the same model.
    candidates
        ``candidates.parquet`` or ``verdicts.parquet`` of the same model.
    out
        Folder for ``stages.parquet`` and the provenance.
    settings
        Section ``stages`` of the config.
    min_test_donors
        Fewest donors of a regression (``statistics.min_test_donors``).
    simulated
        Whether the cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a table is not as described. Missing stages or donors are no error: such rows read
        ``not tested`` and say why.
    """
    with recorded(
        "stages",
        out,
        inputs={"donor_scores": donor_scores, "effects": effects, "candidates": candidates},
        parameters={**vars(settings), "min_test_donors": min_test_donors},
        simulated=simulated,
    ):
        scores = read_columns(donor_scores, _SCORE_COLUMNS)
        pruned = read_columns(effects, _EFFECT_COLUMNS, weight_set="candidate", mode="zero")
        listed = read_columns(candidates, ["cohort", "arm", "seed", "rank", "candidate_id"])
        model = one_model(scores, pruned, listed)
        donors = donor_measures(scores, pruned)
        order = listed.sort_values("rank")["candidate_id"]
        table = pd.DataFrame(_rows(donors, list(order), settings, min_test_donors))
        if len(table):
            table["q"] = table.groupby(["stage", "measure"])["p"].transform(benjamini_hochberg)
        write_table(typed(table.assign(**model), STAGES), Path(out) / "stages.parquet")


def _rows(
    donors: pd.DataFrame, order: list[str], settings: SimpleNamespace, min_donors: int
) -> Iterator[dict[str, Any]]:
    primary_stage = "adnc" if donors["adnc"].ge(0).any() else "braak"
    # With no donor at all there is still a row, which says so.
    classes = sorted(donors["cell_class"].astype(str).unique()) or [""]
    groups = dict(list(donors.groupby(["candidate_id", "cell_class"], observed=True)))
    for candidate, cell_class, measure, stage in product(order, classes, MEASURES, STAGE_VARIABLES):
        group = groups.get((candidate, cell_class), donors.iloc[:0])
        cells = group["effect_cells" if measure == "effect_nll" else "n_cells"]
        yield {
            **{"candidate_id": candidate, "cell_class": cell_class, "measure": measure},
            **{"stage": stage, "primary": (measure, stage) == ("contribution", primary_stage)},
            **stage_slope(
                group[cells.ge(settings.min_cells)],
                measure,
                stage,
                settings.covariates,
                donors_per_term=settings.donors_per_term,
                min_donors=min_donors,
            ),
        }
