"""One verdict per candidate, by rules fixed before any result is seen, and what it rests on.

The rules are written out in docs/verdicts.md.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from scsw.superweight.verdict.judged_run import JudgedRun
from scsw.superweight.verdict.matched_controls import RIVALS, Comparison, columns, comparisons
from scsw.superweight.verdict.pairs import pair_table, strongest_partners, with_masked
from scsw.superweight.verdict.statistics import EDIT, donor_effects, rank_p, sign_flip_p
from scsw.superweight.verdict.verdict_rules import (
    NOT_CAUSAL,
    RESTORED_SHARE,
    asks_noise,
    structural,
    verdict,
)

IDENTITY = "cohort arm seed rank candidate_id family block row column weight spike_ratio found_by"


def verdict_tables(
    candidates: pd.DataFrame, effects: pd.DataFrame, run: JudgedRun
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per candidate and one per pair.

    Parameters
    ----------
    candidates
        The frozen family; it is the family of the false discovery rate.
    effects
        Rows of ``effects.parquet``.
    run
        The model's test.

    Returns
    -------
    tuple of pandas.DataFrame
        ``verdicts.parquet`` and ``pairs.parquet`` (this one without ``cohort, arm, seed``).
    """
    by_donor = donor_effects(effects).unstack("donor_id").sort_index()
    floors = _floors(effects)
    controls = random_effects(effects, by_donor)
    matched, rows = {}, []
    for candidate in candidates.itertuples():
        found = comparisons(by_donor, candidate.candidate_id, run)
        matched[candidate.candidate_id] = found
        rows.append(
            _measured(candidate, effects, by_donor, floors, run)
            | _against_random(candidate, by_donor, controls, len(candidates), run)
            | columns(found)
            | {"structural": structural(candidate, run)}
        )
    identity = candidates[IDENTITY.split()].reset_index(drop=True)
    table = pd.concat([identity, pd.DataFrame(rows)], axis=1)
    q = false_discovery_control(table["p"]) if run.assessable and len(table) else math.nan
    table.insert(table.columns.get_loc("p") + 1, "q", q)
    judged = []
    for row in table.itertuples():
        found = matched[row.candidate_id]
        called = verdict(row, found, run)
        judged.append((_detectable(row, found, run), _causal_below(row, found, run), *called))
    names = ("detectable_effect", "causal_below", "verdict", "reason")
    for name, values in zip(names, zip(*judged, strict=True), strict=True):
        table[name] = values
    table.insert(
        table.columns.get_loc("verdict"), "causal", table["verdict"].str.startswith("causal")
    )
    pairs = with_masked(
        pair_table(by_donor, run), set(table.loc[table["causal"], "candidate_id"]), run
    )
    return _with_partners(table, pairs), pairs


def random_effects(effects: pd.DataFrame, by_donor: pd.DataFrame) -> pd.DataFrame:
    """Return ``block, row, column, effect`` of each random control, averaged over donors."""
    own = effects[effects["weight_set"] == "random"].drop_duplicates("candidate_id")
    places = own.set_index("candidate_id")[["block", "row", "column"]]
    is_random = by_donor.index.get_level_values("weight_set") == "random"
    mean = by_donor[is_random].mean(axis=1).droplevel([n for n in EDIT if n != "candidate_id"])
    return places.assign(effect=mean)


def needed_effect(null: np.ndarray, level: float) -> float:
    """Return what a lone effect must exceed for an add-one rank p of at most `level`."""
    n_above = math.floor(level * (null.size + 1) + 1e-9) - 1  # controls that may be as large
    return float(np.sort(null)[::-1][n_above]) if n_above >= 0 else math.inf


def _floors(effects: pd.DataFrame) -> pd.Series:
    """Numerical floor of each candidate's effect when zeroed; 0 where the table has none."""
    own = effects[(effects["weight_set"] == "candidate") & (effects["mode"] == "zero")]
    if "floor_nll" not in own:
        return pd.Series(0.0, index=own["candidate_id"].unique())
    return donor_effects(own, "floor_nll").groupby("candidate_id").mean()


def _measured(
    candidate, effects: pd.DataFrame, by_donor: pd.DataFrame, floors: pd.Series, run: JudgedRun
) -> dict[str, float]:
    """Return what the edits of one candidate did."""
    name = candidate.candidate_id
    zero = by_donor.loc[("candidate", name, "", "zero")].iloc[0]
    low, high = run.interval(zero.to_numpy())
    modes = {
        mode: by_donor.loc[("candidate", name, "", mode)].iloc[0]
        for mode in ("mean", "shuffled", "restored")
    }
    others = {f"effect_{mode}_nll": rises.mean() for mode, rises in modes.items()}
    # What the mean contribution leaves, beyond what a bias may.
    unrestored = modes["mean"] - (1 - RESTORED_SHARE) * zero
    return {
        "effect_nll": zero.mean(),
        "effect_low": low,
        "effect_high": high,
        **others,
        "unrestored_low": run.interval(unrestored.to_numpy())[0],
        **_secondary(effects, name),
        "floor_nll": floors[name],
        "unresolved": bool(abs(zero.mean()) <= floors[name] and floors[name] > 0),
        "sign_flip_p": sign_flip_p(zero.to_numpy(), seed=run.statistics.seed),
        "n_test_donors": run.n_donors,
        "min_effect": run.min_effect,
    }


def _against_random(
    candidate, by_donor: pd.DataFrame, controls: pd.DataFrame, m: int, run: JudgedRun
) -> dict[str, float | str]:
    """Return the rank p and the null behind it."""
    same = run.prune.control_scope == "same_tensor"
    own = controls[controls["block"] == candidate.block] if same else controls
    null = own["effect"].to_numpy()
    effect = by_donor.loc[("candidate", candidate.candidate_id, "", "zero")].iloc[0].mean()
    where = f"block {candidate.block}" if same else "all blocks"
    return {
        "p": rank_p(effect, null) if run.assessable else math.nan,
        "null": f"{null.size} random scalars of linear2, {where}, set to zero",
        "n_controls": null.size,
        "random_needed": needed_effect(null, run.statistics.alpha / m),
    }


def _detectable(row, matched: dict[str, Comparison], run: JudgedRun) -> float:
    """Return what a lone effect with this spread over donors must exceed to be called causal."""
    if math.isnan(row.min_effect):
        return math.nan
    half = row.effect_nll - row.effect_low if run.assessable else 0.0
    asked = [
        compared.detectable
        for name, compared in matched.items()
        if compared.n and (name in RIVALS or asks_noise(row, run))
    ]
    return max(row.random_needed, row.min_effect + half, *asked)


def _causal_below(row, matched: dict[str, Comparison], run: JudgedRun) -> float:
    """Return the smallest effect that counts up to which it would be called causal; else NaN."""
    if math.isnan(row.min_effect) or not row.effect_low > 0:
        return math.nan
    called, _ = verdict(row._replace(min_effect=0.0), matched, run)
    return row.effect_low if called.startswith("causal") else math.nan


def _secondary(effects: pd.DataFrame, candidate_id: str) -> dict[str, float]:
    """Change in accuracy (mean over donors) and relative change of the masked-expression MSE."""
    own = effects[
        (effects["weight_set"] == "candidate")
        & (effects["candidate_id"] == candidate_id)
        & (effects["mode"] == "zero")
    ]
    sums = own.groupby("donor_id")[["n_correct", "n_correct_intact", "n_cells"]].sum()
    change = (sums["n_correct"] - sums["n_correct_intact"]) / sums["n_cells"]
    intact = own["sum_sq_error_intact"].sum()
    relative = own["sum_d_sq_error"].sum() / intact if intact > 0 else math.nan
    return {"effect_accuracy": change.mean(), "effect_gep_mse": relative}


def _with_partners(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Give the members of masked pairs that verdict, and name the partner."""
    table = table.assign(partner="")
    for name, pair in strongest_partners(pairs).items():
        own = table.index[(table["candidate_id"] == name) & (table["verdict"] == NOT_CAUSAL)]
        other = pair["candidate_b" if pair["candidate_a"] == name else "candidate_a"]
        for index in own:
            reason = (
                f"alone it is not causal ({table.loc[index, 'reason']}), but zeroed together with "
                f"{other} it raises the NLL by {pair['effect_joint']:.3g} nats (lower bound "
                f"{pair['joint_low']:.3g}), {pair['excess']:.3g} more than both alone (lower bound "
                f"{pair['excess_low']:.3g})"
            )
            table.loc[index, ["verdict", "reason", "partner"]] = ["masked pair", reason, other]
    return table
