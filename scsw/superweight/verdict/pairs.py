"""Candidates zeroed two at a time: which do more together than one by one.

One weight can stand in for another, so that neither shows alone (a masked pair).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from scsw.superweight.verdict.judged_run import JudgedRun
from scsw.superweight.verdict.statistics import EDIT, sign_flip_ps

COLUMNS = (
    "candidate_a candidate_b effect_a effect_b effect_joint joint_low joint_high excess excess_low "
    "excess_high sign_flip_p q masked"
).split()
_DIGITS = 1e-6  # relative, those of float32 over some hundred cells


def pair_table(by_donor: pd.DataFrame, run: JudgedRun) -> pd.DataFrame:
    """Return one row per pair (contract: ``pairs.parquet``), none of them `masked` yet.

    Parameters
    ----------
    by_donor
        Effect of each edit (rows, indexed by `statistics.EDIT`) on each donor (columns).
    run
        The model's test.
    """
    weight_set, mode = (by_donor.index.get_level_values(n) for n in ("weight_set", "mode"))
    alone = by_donor[(weight_set == "candidate") & (mode == "zero")].droplevel(
        [name for name in EDIT if name != "candidate_id"]
    )
    joint = by_donor[weight_set == "pair"]
    names = [joint.index.get_level_values(name) for name in ("candidate_id", "of")]
    one, other = (alone.loc[name].to_numpy() for name in names)
    both = joint.to_numpy()
    excess = both - one - other
    # Effects that add up but for their last digits have no excess: a test of digits is none.
    excess[np.abs(excess) <= _DIGITS * (np.abs(both) + np.abs(one) + np.abs(other))] = 0.0
    bounds = [
        np.array([run.interval(values) for values in x]).reshape(-1, 2) for x in (both, excess)
    ]
    table = pd.DataFrame(
        {
            "candidate_a": names[0],
            "candidate_b": names[1],
            "effect_a": one.mean(1),
            "effect_b": other.mean(1),
            "effect_joint": both.mean(1),
            "joint_low": bounds[0][:, 0],
            "joint_high": bounds[0][:, 1],
            "excess": excess.mean(1),
            "excess_low": bounds[1][:, 0],
            "excess_high": bounds[1][:, 1],
            "sign_flip_p": np.nan,
            "q": np.nan,
            "masked": False,
        },
        columns=COLUMNS,
    )
    if run.assessable and len(table):
        table["sign_flip_p"] = sign_flip_ps(excess, seed=run.statistics.seed)
        table["q"] = false_discovery_control(table["sign_flip_p"])
    return table


def with_masked(pairs: pd.DataFrame, causal: set[str], run: JudgedRun) -> pd.DataFrame:
    """Mark the masked pairs: neither causal alone, but together beyond bound and beyond their sum.

    Parameters
    ----------
    pairs
        Table of `pair_table`.
    causal
        Candidates that are causal alone.
    """
    alone = pairs["candidate_a"].isin(causal) | pairs["candidate_b"].isin(causal)
    together = (pairs["joint_low"] > run.min_effect) & (pairs["excess_low"] > run.min_effect)
    return pairs.assign(masked=~alone & together & (pairs["q"] <= run.statistics.alpha))


def strongest_partners(pairs: pd.DataFrame) -> dict[str, pd.Series]:
    """Return for each candidate of a masked pair its pair of largest joint effect."""
    found: dict[str, pd.Series] = {}
    masked = pairs[pairs["masked"]].sort_values("effect_joint", ascending=False, kind="stable")
    for _, pair in masked.iterrows():
        for name in ("candidate_a", "candidate_b"):
            found.setdefault(pair[name], pair)
    return found
