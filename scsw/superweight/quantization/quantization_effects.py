"""What rounding costs, over donors, from the additive statistics in ``quantization.parquet``."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.superweight.verdict.statistics import studentised_interval

MODEL = ["arm", "seed"]
PLACE = [*MODEL, "bits", "block_size"]
HOLD_OUTS = ("none", "candidates", "random")
SUMS = ["n_cells", "sum_nll", "sum_nll_intact", "n_correct", "n_correct_intact"]
SUMS += ["sum_sq_error", "sum_sq_error_intact"]
COLUMNS = [*PLACE, "hold_out", "effect_nll", "effect_low", "effect_high", "lowest", "highest"]
COLUMNS += ["effect_accuracy", "effect_gep_mse", "n_donors", "n_held_out", "n_changed"]


def quantization_effects(
    table: pd.DataFrame, *, statistics: SimpleNamespace, donors_are_units: bool = True
) -> pd.DataFrame:
    """Return the effect of each setting, averaged over donors, with its interval over them.

    Parameters
    ----------
    table
        Rows of ``quantization.parquet`` of one or more models.
    statistics
        Section ``statistics`` of the config.
    donors_are_units
        False where cells were divided and not donors; then there are no intervals.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row per model, bits, block size and `hold_out`: ``none``, ``candidates``,
        ``random`` (the mean of the draws) and, where candidates were held out, ``difference``
        (candidates − random, paired by donor). ``effect_nll`` is the rise in mean NLL (nats per
        cell), ``effect_accuracy`` the change of accuracy and ``effect_gep_mse`` the relative change
        of the masked-expression MSE. ``lowest`` and ``highest`` are over the draws' own
        ``effect_nll``.
    """
    rows = []
    for place, every in donor_changes(table).groupby(PLACE, sort=True):
        own = _over_draws(every)
        by_way = {way: own[own["hold_out"] == way].set_index("donor_id") for way in HOLD_OUTS}
        changes = {way: part for way, part in by_way.items() if len(part)}
        draws = every[every["hold_out"] == "random"].groupby("draw")["nll"].mean()
        if "candidates" in changes and "random" in changes:
            measured = ["nll", "accuracy", "gep_mse"]
            apart = changes["candidates"][measured] - changes["random"][measured]
            counted = changes["candidates"][["n_held_out", "n_changed"]]
            changes["difference"] = apart.join(counted)
        for way, part in changes.items():
            low, high = _interval(part["nll"].to_numpy(), statistics, donors_are_units)
            rows.append(
                (
                    *place,
                    way,
                    part["nll"].mean(),
                    low,
                    high,
                    draws.min() if way == "random" else math.nan,
                    draws.max() if way == "random" else math.nan,
                    part["accuracy"].mean(),
                    part["gep_mse"].mean(),
                    len(part),
                    part["n_held_out"].iloc[0],
                    part["n_changed"].iloc[0],
                )
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def donor_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Return each donor's change of NLL, accuracy and MSE in each setting.

    Returns
    -------
    pandas.DataFrame
        `PLACE`, ``hold_out, draw, n_held_out, n_changed, donor_id, nll, accuracy, gep_mse``.
    """
    setting = [*PLACE, "hold_out", "draw", "n_held_out", "n_changed", "donor_id"]
    sums = table.groupby(setting, sort=True)[SUMS].sum().reset_index()
    return sums[setting].assign(
        nll=(sums["sum_nll"] - sums["sum_nll_intact"]) / sums["n_cells"],
        accuracy=(sums["n_correct"] - sums["n_correct_intact"]) / sums["n_cells"],
        gep_mse=sums["sum_sq_error"] / sums["sum_sq_error_intact"] - 1,
    )


def _over_draws(changes: pd.DataFrame) -> pd.DataFrame:
    by_donor = changes.groupby([*PLACE, "hold_out", "donor_id"], sort=True)
    return by_donor.mean().drop(columns="draw").reset_index()


def _interval(
    values: np.ndarray, statistics: SimpleNamespace, donors_are_units: bool
) -> tuple[float, float]:
    """Studentised interval over donors; NaN where there are too few."""
    if not donors_are_units or values.size < statistics.min_test_donors:
        return math.nan, math.nan
    return studentised_interval(values, n_resamples=statistics.bootstrap, seed=statistics.seed)
