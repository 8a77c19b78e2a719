"""Step `verdict`: one verdict per candidate, by rules fixed before any result is seen.

The rules are written out in docs/verdicts.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import read_table, require, write_table
from scsw.provenance import recorded
from scsw.superweight.prune import gather
from scsw.superweight.statistics import donor_effects, rank_p, sign_flip_p, studentised_interval

STABLE_SHARE = 0.9  # structural: the spike must be seen in this share of the discovery donors
RESTORED_SHARE = 0.8  # constant: the mean contribution must restore this share of the effect


@dataclass
class _Run:
    """What a verdict needs besides the effects."""

    search: SimpleNamespace
    prune: SimpleNamespace
    statistics: SimpleNamespace
    n_donors: int
    split_unit: str
    gaps: pd.Series  # by donor: nats from the intact NLL to that of the training frequencies
    n_cohort_donors: int = 0

    @property
    def assessable(self) -> bool:
        return self.split_unit == "donor" and self.n_donors >= self.statistics.min_test_donors

    @property
    def gap(self) -> float:
        """Mean gap over donors, 0 where the donors do not show that there is one."""
        if not self.assessable:
            return max(float(self.gaps.mean()), 0.0)
        low, _ = self.interval(self.gaps.to_numpy())
        return float(self.gaps.mean()) if low > 0 else 0.0

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Studentised interval over donors; NaN where there are too few."""
        if not self.assessable:
            return math.nan, math.nan
        return studentised_interval(
            values, n_resamples=self.statistics.bootstrap, seed=self.statistics.seed
        )


def judge(
    shards: Sequence[str | Path],
    candidates: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    search: SimpleNamespace,
    prune: SimpleNamespace,
    statistics: SimpleNamespace,
) -> None:
    """Gather the shards of one model and write ``effects.parquet`` and ``verdicts.parquet``.

    Parameters
    ----------
    shards
        Effects written by `scsw.superweight.prune.prune`.
    candidates, cohort
        The frozen family and the cohort.
    out
        Folder for both tables.
    search, prune, statistics
        Sections of the config.
    """
    cohort, out = require(cohort), Path(out)
    facts = cohort_facts(cohort)
    with recorded(
        "verdict",
        out,
        inputs={"candidates": candidates, "cohort": cohort}
        | {f"shard{i}": path for i, path in enumerate(shards)},
        parameters={**vars(search), **vars(prune), **vars(statistics)},
        seed=statistics.seed,
        simulated=facts["simulated"],
    ):
        effects = gather(shards)
        run = _Run(
            search,
            prune,
            statistics,
            n_donors=effects["donor_id"].nunique(),
            split_unit=facts["split_unit"],
            gaps=floor_gaps(effects, training_frequencies(cohort)),
            n_cohort_donors=facts["n_donors"],
        )
        family = read_table(candidates)
        check_complete(effects, family, prune)
        verdicts = verdict_table(family, effects, run)
        write_table(effects, out / "effects.parquet")
        write_table(verdicts, out / "verdicts.parquet")


def training_frequencies(cohort: Path) -> pd.Series:
    """Return the share of each cell type among the training cells."""
    return read_cohort(cohort, ["train"]).obs["cell_type"].astype(str).value_counts(normalize=True)


def check_complete(effects: pd.DataFrame, family: pd.DataFrame, prune: SimpleNamespace) -> None:
    """Raise unless the shards hold each edit of one model exactly once.

    Raises
    ------
    ScswError
        If a shard is missing, given twice, or of another model or config.
    """
    fix = "give every shard of one model and one config, each once"
    keys = ["weight_set", "candidate_id", "mode", "scale", "donor_id", "cell_type"]
    if effects.duplicated(keys).any():
        raise ScswError("the shards hold the same edit twice", fix=fix)
    model = ["cohort", "arm", "seed"]
    found = set(effects[model].itertuples(index=False, name=None))
    if found != set(family[model].itertuples(index=False, name=None)):
        raise ScswError(f"the shards are of {sorted(found)}, not of the candidates' model", fix=fix)
    edits = effects.drop_duplicates(["weight_set", "candidate_id", "mode"])
    own = edits[edits["weight_set"] == "candidate"]
    for mode in ("zero", "mean"):
        missing = set(family["candidate_id"]) - set(own.loc[own["mode"] == mode, "candidate_id"])
        if missing:
            raise ScswError(f"the shards lack {mode} of {', '.join(sorted(missing))}", fix=fix)
    same_tensor = prune.control_scope == "same_tensor"
    expected = prune.n_controls * (family["block"].nunique() if same_tensor else 1)
    n = int((edits["weight_set"] == "random").sum())
    if n != expected:
        raise ScswError(f"the shards hold {n} random controls", expected=str(expected), fix=fix)


def floor_gaps(effects: pd.DataFrame, frequencies: pd.Series) -> pd.Series:
    """Nats per cell from the intact NLL up to that of predicting the training frequencies.

    Returns
    -------
    pandas.Series
        One mean per donor.
    """
    first = effects[["weight_set", "candidate_id", "mode", "scale"]].iloc[0]
    one = effects[(effects[first.index] == first).all(axis=1)]
    floor = -np.log(one["cell_type"].map(frequencies)) * one["n_cells"]
    sums = pd.DataFrame({"floor": floor, "intact": one["sum_nll_intact"], "n": one["n_cells"]})
    by_donor = sums.groupby(one["donor_id"]).sum()
    return (by_donor["floor"] - by_donor["intact"]) / by_donor["n"]


def verdict_table(candidates: pd.DataFrame, effects: pd.DataFrame, run: _Run) -> pd.DataFrame:
    """Return one row per candidate (contract: ``verdicts.parquet``)."""
    by_donor = donor_effects(effects)
    controls = control_effects(effects, by_donor)
    # Without a gap to the floor there is nothing to collapse, and no smallest effect to name.
    gap = run.gap
    min_effect = run.prune.min_effect * gap if gap > 0 else math.nan
    rows = []
    for candidate in candidates.itertuples():
        zero = by_donor["candidate", candidate.candidate_id, "zero", 0.0].to_numpy()
        mean = by_donor["candidate", candidate.candidate_id, "mean", 0.0].to_numpy()
        null = _null(controls, candidate.block, run.prune.control_scope)
        low, high = run.interval(zero)
        beyond_controls = needed_effect(null, run.statistics.alpha / len(candidates))
        beyond_floor = min_effect + (zero.mean() - low if run.assessable else 0.0)
        rows.append(
            {
                "effect_nll": zero.mean(),
                "effect_low": low,
                "effect_high": high,
                "effect_mean_nll": mean.mean(),
                **_secondary(effects, candidate.candidate_id),
                "p": rank_p(zero.mean(), null) if run.assessable else math.nan,
                "null": _null_name(candidate.block, run.prune.control_scope, null.size),
                "sign_flip_p": sign_flip_p(zero, seed=run.statistics.seed),
                "n_test_donors": run.n_donors,
                "n_controls": null.size,
                "min_effect": min_effect,
                "detectable_effect": max(beyond_controls, beyond_floor) if gap > 0 else math.nan,
                # A find of a later round was seen in a model without the earlier ones, so that its
                # stability in the intact model is another weight's.
                "structural": bool(
                    candidate.iteration <= 1
                    and candidate.spike_ratio >= run.search.spike_ratio
                    and abs(candidate.contribution) >= run.search.min_share
                    and candidate.stability >= STABLE_SHARE
                ),
            }
        )
    identity = (
        "cohort arm seed rank candidate_id family block row column weight spike_ratio found_by"
    )
    table = pd.concat([candidates[identity.split()], pd.DataFrame(rows)], axis=1)
    q = false_discovery_control(table["p"]) if run.assessable else math.nan
    table.insert(table.columns.get_loc("p") + 1, "q", q)
    judged = [_verdict(row, run) for row in table.itertuples()]
    table["causal"] = [verdict.startswith("causal") for verdict, _ in judged]
    table["verdict"] = [verdict for verdict, _ in judged]
    table["reason"] = [reason for _, reason in judged]
    return table


def control_effects(effects: pd.DataFrame, by_donor: pd.Series) -> pd.DataFrame:
    """Return ``block, effect`` of each random control, averaged over donors."""
    mean = by_donor["random"].groupby("candidate_id").mean().rename("effect")
    random = effects[effects["weight_set"] == "random"]
    blocks = random.drop_duplicates("candidate_id").set_index("candidate_id")["block"]
    return pd.concat([blocks, mean], axis=1)


def _null(controls: pd.DataFrame, block: int, scope: str) -> np.ndarray:
    own = controls[controls["block"] == block] if scope == "same_tensor" else controls
    return own["effect"].to_numpy()


def _null_name(block: int, scope: str, n: int) -> str:
    where = f"block {block}" if scope == "same_tensor" else "all blocks"
    return f"{n} random scalars of linear2, {where}, set to zero"


def needed_effect(null: np.ndarray, level: float) -> float:
    """Return what a lone effect must exceed for an add-one rank p of at most `level`."""
    n_above = math.floor(level * (null.size + 1) + 1e-9) - 1  # controls that may be as large
    return float(np.sort(null)[::-1][n_above]) if n_above >= 0 else math.inf


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
    relative = own["sum_sq_error"].sum() / intact - 1 if intact > 0 else math.nan
    return {"effect_accuracy": change.mean(), "effect_gep_mse": relative}


def _verdict(row, run: _Run) -> tuple[str, str]:
    """Return the verdict of one candidate and one sentence that says why."""
    if run.n_cohort_donors == 1 or run.n_donors == 1:
        return "not assessable", "not assessable: one donor"
    if run.split_unit != "donor":
        return (
            "not assessable",
            f"not assessable: the cohort's {run.n_cohort_donors} donors are too few to keep test "
            "donors apart, so cells were split",
        )
    if run.n_donors < run.statistics.min_test_donors:
        return (
            "not assessable",
            f"not assessable: {run.n_donors} test donors, at least "
            f"{run.statistics.min_test_donors} are needed",
        )
    if math.isnan(row.min_effect):
        return (
            "not causal",
            "the intact model is not shown to be better than the training frequencies, "
            "so there is nothing that could collapse",
        )
    if row.q > run.statistics.alpha:
        return "not causal", f"its effect is within that of random weights (q = {row.q:.3g})"
    if not row.effect_low > row.min_effect:
        return (
            "not causal",
            f"beyond random weights (q = {row.q:.3g}), but the lower donor bound "
            f"{row.effect_low:.3g} is not above the smallest effect that counts, "
            f"{row.min_effect:.3g} nats",
        )
    restored = 1 - row.effect_mean_nll / row.effect_nll
    base = f"q = {row.q:.3g}, lower donor bound {row.effect_low:.3g} nats"
    if restored >= RESTORED_SHARE:
        return (
            "causal, constant",
            f"{base}; its mean contribution restores {restored:.0%}: it acts as a bias",
        )
    return (
        "causal, informative",
        f"{base}; its mean contribution restores only {restored:.0%}",
    )
