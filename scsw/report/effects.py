"""Effects per edit and per cell type, from the additive statistics in ``effects.parquet``."""

from __future__ import annotations

import pandas as pd

EDIT = ["arm", "seed", "weight_set", "candidate_id", "family", "block", "row", "column"]


def mean_effect(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the rise in mean NLL of each edit, averaged over donors.

    Cells are pooled within a donor and donors count alike, as in ``verdicts.parquet``.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet`` of one mode and scale.

    Returns
    -------
    pandas.DataFrame
        The columns of `EDIT` and ``effect_nll`` (nats per cell).
    """
    return _averaged(effects, EDIT)


def donor_effect(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the rise in mean NLL of each edit in the cells of each donor.

    Returns
    -------
    pandas.DataFrame
        The columns of `EDIT`, ``donor_id`` and ``effect_nll`` (nats per cell).
    """
    return _by_donor(effects, EDIT).rename("effect_nll").reset_index()


def cell_type_effect(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the rise in mean NLL of each edit and cell type, averaged over donors.

    A donor without cells of a type does not enter that type's mean.

    Returns
    -------
    pandas.DataFrame
        The columns of `EDIT`, ``cell_type``, ``effect_nll`` (nats per cell), ``n_donors`` and
        ``n_cells`` (those of the type).
    """
    by = [*EDIT, "cell_type"]
    measured = effects[effects["n_cells"] > 0].groupby(by, observed=True, sort=True, dropna=False)
    sizes = measured.agg(n_donors=("donor_id", "nunique"), n_cells=("n_cells", "sum"))
    return _averaged(effects, by).join(sizes, on=by)


def _averaged(effects: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    rise = _by_donor(effects, by)
    averaged = rise.groupby(level=by, observed=True, sort=True, dropna=False).mean()
    return averaged.rename("effect_nll").reset_index()


def _by_donor(effects: pd.DataFrame, by: list[str]) -> pd.Series:
    measured = effects[effects["n_cells"] > 0]
    sums = measured.groupby([*by, "donor_id"], observed=True, sort=True, dropna=False)[
        ["n_cells", "sum_d_nll"]
    ].sum()
    return sums["sum_d_nll"] / sums["n_cells"]
