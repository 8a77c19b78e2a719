"""Families of random scalars of a model without an implant, submitted as blind candidates.

Each family is measured against random controls of its own, drawn anew. Candidates and controls are
then draws from one population of weights, so that the rank p is uniform if pruning, ranks and
verdicts do what they say; and given the model, families are independent.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.files import read_table, write_table
from scsw.superweight.calibration.models import (
    judge_shard,
    performance,
    prune_and_judge,
    start,
    train_and_search,
)
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.pruning.control_sets import mean_hidden_sizes
from scsw.superweight.verdict.statistics import donor_effects
from scsw.superweight.verdict.verdict_tables import random_effects

ARM = "real"  # models as a run would train them
SCOPES = ("same_tensor", "all_blocks")  # families take turns
FIRST_SEED = 1000  # cohort and weights of model k: this + k
NO_LEAST_EFFECT = 1e-9  # share of the gap; the smallest effect that counts is then as good as none
PLACE = ["block", "row", "column"]
KEPT = [
    "candidate_id", "effect_nll", "effect_low", "floor_nll", "p", "q", "min_effect", "wanda_max",
    "wanda_low", "row_neighbour_max", "row_neighbour_low", "noise_low", "verdict",
]  # fmt: skip


def null_model(
    work: Path, out: Path, number: int, options: dict[str, int], settings: SimpleNamespace
) -> None:
    """Train model `number`, judge what the search finds in it, and write one row each.

    Parameters
    ----------
    work
        Folder of the model.
    out
        Folder for ``models-<number>.parquet`` and ``searched-<number>.parquet``.
    number, options, settings
        The model's number, options of the cohort and sections of the config.
    """
    seed = FIRST_SEED + number
    folder = work / f"null-{number}"
    cohort = start(folder, options, settings, seed)
    train_and_search(folder / "init", cohort, folder, settings, arm=ARM, seed=seed)
    given = {"settings": _with(settings, control_scope="all_blocks"), "arm": ARM, "seed": seed}
    prune_and_judge(folder, cohort, folder / "search", folder / "prune", **given)
    found = read_table(folder / "prune" / "verdicts.parquet")
    least = float(found["min_effect"].iloc[0])
    row = {"model": number, "seed": seed, **performance(folder), "min_effect": least}
    row["gap"] = least / settings.prune.min_effect
    found.insert(0, "model", number)
    write_table(
        found[["model", *KEPT, "found_by", "structural"]], out / f"searched-{number}.parquet"
    )
    write_table(pd.DataFrame([row]), out / f"models-{number}.parquet")


def null_family(
    work: Path, out: Path, number: int, family: int, members: int, settings: SimpleNamespace
) -> None:
    """Judge one family of model `number` and write ``null-<number>-<family>.parquet``."""
    folder, seed = work / f"null-{number}", 1000 * (FIRST_SEED + number) + family
    own = folder / f"family-{family}"
    scope = SCOPES[family % len(SCOPES)]
    settings = _with(settings, control_scope=scope)
    cohort, searched = folder / "cohort.h5ad", own / "search"
    write_blind(folder / "search", searched, members, scope, family, seed)
    prune_and_judge(folder, cohort, searched, own / "prune", settings, arm=ARM, seed=seed)
    table = read_table(own / "prune" / "verdicts.parquet")[KEPT]
    effects = read_table(own / "prune" / "effects.parquet")
    table["n_tied"] = n_tied(table, effects, scope)
    # The same measurements, judged as if every effect above zero counted.
    lenient = _with(settings, min_effect=NO_LEAST_EFFECT)
    shard = own / "prune" / "shard.parquet"
    judge_shard(folder, cohort, searched, shard, own / "lenient", lenient)
    again = read_table(own / "lenient" / "verdicts.parquet")
    table["verdict_without_least"] = again["verdict"].to_numpy()
    keys = {"model": number, "family": family, "scope": scope, "seed": seed}
    write_table(table, out / f"null-{number}-{family}.parquet", keys)
    shutil.rmtree(own)


def write_blind(
    searched: Path, out: Path, members: int, scope: str, family: int, seed: int
) -> None:
    """Write a family of random scalars in place of what a search found.

    With the scope ``same_tensor`` all are of one block, and families take the blocks in turn;
    otherwise of any block.
    """
    weights = read_table(searched / "weights.parquet")
    hidden = mean_hidden_sizes(searched / "spikes.parquet")
    if scope == "same_tensor":
        block = (family // len(SCOPES)) % len(hidden)
        weights = weights[weights["block"] == block].reset_index(drop=True)
    rng = np.random.default_rng([seed, 11])
    drawn = weights.iloc[rng.choice(len(weights), members, replace=False)]
    blank = read_table(searched / "candidates.parquet").head(0)
    rows = drawn[[*PLACE, "weight", "first_order"]].assign(
        rank=np.arange(1, members + 1),
        candidate_id=[candidate_id("ffn_down", *p) for p in drawn[PLACE].itertuples(index=False)],
        family="ffn_down",
        mean_hidden=[hidden[b][c] for b, c in zip(drawn["block"], drawn["column"], strict=True)],
        found_by="blind",
        iteration=0,
        cohort=weights["cohort"].iloc[0],
        arm=ARM,
        seed=seed,
    )
    write_table(rows.reindex(columns=blank.columns), out / "candidates.parquet")
    for name in ("families.parquet", "spikes.parquet", "weights.parquet"):
        shutil.copy(searched / name, out / name)


def n_tied(table: pd.DataFrame, effects: pd.DataFrame, scope: str) -> np.ndarray:
    """Count for each candidate the random controls of exactly its effect.

    Such ties make the rank p too large, not too small.
    """
    controls = random_effects(effects, donor_effects(effects).unstack("donor_id").sort_index())
    blocks = effects.drop_duplicates("candidate_id").set_index("candidate_id")["block"]
    counts = []
    for row in table.itertuples():
        same = controls["block"] == blocks[row.candidate_id]
        rivals = controls[same] if scope == "same_tensor" else controls
        counts.append(int((rivals["effect"] == row.effect_nll).sum()))
    return np.array(counts)


def _with(settings: SimpleNamespace, **changes: object) -> SimpleNamespace:
    """Return the sections with changes in ``prune``."""
    prune = SimpleNamespace(**{**vars(settings.prune), **changes})
    return SimpleNamespace(**{**vars(settings), "prune": prune})
