"""What zeroing the candidates of the other families does, beside others of their own kind.

A secondary family of tests, apart from that of the verdicts: it makes none.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from scsw.superweight.pruning.family_edits import FAMILY, FAMILY_RANDOM
from scsw.superweight.verdict.judged_run import JudgedRun
from scsw.superweight.verdict.statistics import EDIT, donor_effects, rank_p

COLUMNS = (
    "candidate_id family module block row column effect_nll effect_low effect_high floor_nll "
    "unresolved n_controls control_mean control_max p q null"
).split()
KINDS = {
    "attn_out": "weights of the attention's out_proj",
    "row": "rows of linear2",
    "column": "columns of linear2",
    "norm1_gamma": "channels' γ of norm1",
    "norm1_beta": "channels' β of norm1",
    "norm2_gamma": "channels' γ of norm2",
    "norm2_beta": "channels' β of norm2",
}


def family_effects(effects: pd.DataFrame, run: JudgedRun) -> pd.DataFrame:
    """Return one row per candidate of the other families (contract: ``family_effects.parquet``).

    p is the add-one rank of the effect among the controls of the same kind and block, one-sided; q
    is Benjamini–Hochberg over all rows. With n controls p is at least 1/(n + 1), so that with few
    of them no q can be small: the table describes.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet`` of one model.
    run
        Gives the donor intervals.
    """
    own = effects[effects["weight_set"].isin([FAMILY, FAMILY_RANDOM])]
    if not (own["weight_set"] == FAMILY).any():
        return pd.DataFrame(columns=COLUMNS)
    by_donor = donor_effects(own).unstack("donor_id")
    floors = donor_effects(own, "floor_nll").groupby(EDIT, sort=False).mean()
    places = own.drop_duplicates(EDIT).set_index(EDIT)[["family", "block", "row", "column"]]
    places = places.loc[by_donor.index]
    is_control = places.index.get_level_values("weight_set") == FAMILY_RANDOM
    mean = by_donor.mean(axis=1).to_numpy()
    rows = []
    for number in np.flatnonzero(~is_control):
        place = places.iloc[number]
        alike = (places["family"] == place["family"]) & (places["block"] == place["block"])
        key = dict(zip(EDIT, places.index[number], strict=True))
        rows.append(
            {"candidate_id": key["candidate_id"], "module": key["of"], **place}
            | _measured(by_donor.iloc[number].to_numpy(), floors[places.index[number]], run)
            | _beside(mean[number], mean[is_control & alike.to_numpy()], run)
            | {"null": _null(place, int((is_control & alike).sum()))}
        )
    table = pd.DataFrame(rows).assign(q=math.nan)
    known = table["p"].notna()
    if known.any():
        table.loc[known, "q"] = false_discovery_control(table.loc[known, "p"])
    order = ["effect_nll", "family", "candidate_id", "module"]
    table = table.sort_values(order, ascending=[False, True, True, True], ignore_index=True)
    return table[COLUMNS]


def _measured(rises: np.ndarray, floor: float, run: JudgedRun) -> dict[str, float | bool]:
    low, high = run.interval(rises)
    effect = float(rises.mean())
    bounds = {"effect_nll": effect, "effect_low": low, "effect_high": high}
    return bounds | {"floor_nll": floor, "unresolved": bool(0 < abs(effect) <= floor)}


def _beside(effect: float, controls: np.ndarray, run: JudgedRun) -> dict[str, float]:
    told = {"n_controls": controls.size, "control_mean": math.nan, "control_max": math.nan}
    if not controls.size:
        return told | {"p": math.nan}
    told |= {"control_mean": float(controls.mean()), "control_max": float(controls.max())}
    return told | {"p": rank_p(effect, controls) if run.assessable else math.nan}


def _null(place: pd.Series, n: int) -> str:
    return f"{n} other {KINDS[place['family']]}, block {place['block']}, set to zero" if n else ""
