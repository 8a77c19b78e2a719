"""One row per candidate, group of cells, donor and region: the measures and the donor's data."""

from __future__ import annotations

import pandas as pd

from scsw.biology.stages.donor_facts import UNKNOWN_REGION
from scsw.errors import ScswError

MEASURES = ("contribution", "spike", "effect_nll")
_KEYS = ["candidate_id", "cell_class", "cell_type", "region", "donor_id"]


def donor_measures(donor_scores: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Join the measures of every donor that the model was not fitted on.

    Parameters
    ----------
    donor_scores
        Table ``donor_scores.parquet`` at one depth. Used are its rows of discovery and test
        donors that are no reference donors: for each region where there are several, else over
        all cells.
    effects
        Rise in NLL of candidates set to zero, which exist for test donors only:
        ``candidate_id, donor_id, cell_type, region, n_cells, sum_d_nll``.

    Returns
    -------
    pandas.DataFrame
        The rows of `donor_scores` used, with the columns ``effect_nll`` (nats per cell; NaN for
        donors without it) and ``effect_cells`` added. `effect_nll` is Σ sum_d_nll / Σ n_cells;
        over a class (``cell_type`` is ``all``) the sums run over its cell types.

    Raises
    ------
    ScswError
        If `effects` names a cell type whose class `donor_scores` does not tell.
    """
    types = donor_scores[donor_scores["cell_type"].ne("all")].drop_duplicates("cell_type")
    class_of = types.set_index("cell_type")["cell_class"]
    by_region = donor_scores["region"].ne("all").any()
    return held_out(donor_scores).merge(
        _effects(effects, class_of, by_region), on=_KEYS, how="left", validate="one_to_one"
    )


def held_out(donor_scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that regressions use: of donors not fitted on, by region where there are.

    Parameters
    ----------
    donor_scores
        Table ``donor_scores.parquet`` at one depth, with ``split, is_reference, region``.
    """
    by_region = donor_scores["region"].ne("all").any()
    used = (
        donor_scores["split"].isin(["discovery", "test"])
        & ~donor_scores["is_reference"].astype(bool)
        & donor_scores["region"].ne("all").eq(by_region)
    )
    return donor_scores[used]


def _effects(effects: pd.DataFrame, class_of: pd.Series, by_region: bool) -> pd.DataFrame:
    unknown = sorted(set(effects["cell_type"]) - set(class_of.index))
    if unknown:
        raise ScswError(
            f"the class of the cell types {unknown} in the pruning effects is not known",
            expected="donor scores with a row for each cell type of the effects",
            fix="give the effects and the donor scores of one model",
        )
    known = effects.assign(
        cell_class=effects["cell_type"].map(class_of).astype(object),
        region=effects["region"].replace("", UNKNOWN_REGION) if by_region else "all",
    )
    # A type is summed once by itself and once within its class.
    both = pd.concat([known, known.assign(cell_type="all")])
    sums = both.groupby(_KEYS)[["sum_d_nll", "n_cells"]].sum()
    rise = sums["sum_d_nll"] / sums["n_cells"]
    return pd.DataFrame({"effect_nll": rise, "effect_cells": sums["n_cells"]}).reset_index()
