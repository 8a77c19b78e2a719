"""One row per candidate, cell class and donor: the measures and the donor's data."""

from __future__ import annotations

import pandas as pd

from scsw.errors import ScswError

MEASURES = ("contribution", "spike", "effect_nll")
_KEYS = ["candidate_id", "cell_class", "donor_id"]


def donor_measures(donor_scores: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Join the measures of every donor that the model was not fitted on.

    Parameters
    ----------
    donor_scores
        Table ``donor_scores.parquet``. Used are its rows over a whole class
        (``cell_type == "all"``) of discovery and test donors.
    effects
        Table ``effects.parquet``. Used are its rows of candidates set to zero, which exist for
        test donors only.

    Returns
    -------
    pandas.DataFrame
        The rows of `donor_scores` used, with the columns ``effect_nll`` (nats per cell; NaN for
        donors without it) and ``effect_cells`` added. `effect_nll` is
        Σ sum_d_nll / Σ n_cells over the cell types of the class.

    Raises
    ------
    ScswError
        If `effects` names a cell type whose class `donor_scores` does not tell.
    """
    over_class = donor_scores["cell_type"].eq("all")
    held_out = donor_scores["split"].isin(["discovery", "test"])
    types = donor_scores[~over_class].drop_duplicates("cell_type")
    class_of = types.set_index("cell_type")["cell_class"]
    return donor_scores[over_class & held_out].merge(
        _effect_by_class(effects, class_of), on=_KEYS, how="left", validate="one_to_one"
    )


def _effect_by_class(effects: pd.DataFrame, class_of: pd.Series) -> pd.DataFrame:
    zeroed = effects[effects["weight_set"].eq("candidate") & effects["mode"].eq("zero")]
    if zeroed.duplicated(["candidate_id", "donor_id", "cell_type"]).any():
        zeroed = zeroed[zeroed["scale"].eq(0)]  # a scale sweep keeps part of the weight
    unknown = sorted(set(zeroed["cell_type"]) - set(class_of.index))
    if unknown:
        raise ScswError(
            f"the class of the cell types {unknown} in the pruning effects is not known",
            expected="donor scores with a row for each cell type of the effects",
            fix="give the effects and the donor scores of one model",
        )
    sums = (
        zeroed.assign(cell_class=zeroed["cell_type"].map(class_of).astype(object))
        .groupby(_KEYS)[["sum_d_nll", "n_cells"]]
        .sum()
    )
    rise = sums["sum_d_nll"] / sums["n_cells"]
    return pd.DataFrame({"effect_nll": rise, "effect_cells": sums["n_cells"]}).reset_index()
