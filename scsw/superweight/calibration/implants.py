"""Implants of several strengths, searched blind and judged: the power of the rules."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.cohort.read import read_cohort
from scsw.files import read_json, read_table, write_table
from scsw.scgpt.device import prepare
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.calibration.models import (
    performance,
    prune_and_judge,
    start,
    train_and_search,
)
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.controls.implant import implant
from scsw.superweight.controls.judge_controls import judge_arm
from scsw.superweight.pruning.edits import Edit, groups_of_edits
from scsw.superweight.pruning.measurement import Measurement
from scsw.superweight.verdict.statistics import donor_effects

FIRST_SEED = 2000  # cohort, weights and place of implant i: this + i, whatever its strength


def implanted_model(
    work: Path,
    out: Path,
    kind: str,
    strength: float,
    number: int,
    options: dict[str, int],
    settings: SimpleNamespace,
) -> None:
    """Take one implant through training, search, pruning and verdict; write one row.

    Parameters
    ----------
    work
        Folder of the model, which is removed at the end.
    out
        Folder for ``power-<kind>-<strength>-<number>.parquet``.
    kind, strength, number
        Kind of implant, size of the scalar, and its number, which gives all seeds.
    options, settings
        Options of the cohort and sections of the config.
    """
    seed = FIRST_SEED + number
    name = f"{kind}-{strength:g}-{number}"
    folder = work / name
    cohort = start(folder, options, settings, seed)
    given = {"kind": kind, "compute": settings.compute, "seed": seed, "weight": strength}
    implant(folder / "init", cohort, folder / "implant", **given)
    train_and_search(folder / "implant", cohort, folder, settings, arm=kind, seed=seed)
    searched, pruned = folder / "search", folder / "prune"
    prune_and_judge(folder, cohort, searched, pruned, settings, arm=kind, seed=seed)
    judged = judge_arm(kind, folder, settings.statistics.alpha)
    verdicts = read_table(pruned / "verdicts.parquet").set_index("candidate_id")
    own = verdicts.reindex([judged["candidate_id"]]).iloc[0]
    sealed = read_json(folder / "implant" / "sealed.json")
    weight, effect = measured(folder, cohort, sealed, settings)
    least = float(verdicts["min_effect"].iloc[0])
    row = {
        "kind": kind,
        "strength": strength,
        "number": number,
        "seed": seed,
        "candidate_id": judged["candidate_id"],
        "weight_after": weight,
        **performance(folder),
        "gap": least / settings.prune.min_effect,
        "effect_nll": effect,
        "found_rank": judged["found_rank"],
        **own[["found_by", "effect_low", "effect_mean_nll", "p", "q"]],
        "verdict": own["verdict"] if judged["found_rank"] > 0 else "not found",
        "n_causal": judged["n_causal"],
        "outcome": judged["outcome"],
    }
    write_table(pd.DataFrame([row]), out / f"power-{name}.parquet")
    shutil.rmtree(folder)


def measured(
    folder: Path, cohort: Path, sealed: dict, settings: SimpleNamespace
) -> tuple[float, float]:
    """Return the sealed scalar after training, and the rise in NLL when it is set to zero.

    Of one that the search missed nothing is known otherwise. Nats per cell, mean over test donors.
    """
    device = prepare(settings.compute)
    model = load_model(folder / "model").to(device).eval()
    place = sealed["block"], sealed["row"], sealed["column"]
    edit = Edit(candidate_id("ffn_down", *place), "random", "zero", "ffn_down", *place)
    cells = read_cohort(cohort, ["test"], settings.prune.max_cells_per_donor)
    tokenizer = cohort_tokenizer(cells, folder / "model")
    n_types = len(read_json(folder / "model" / "labels.json"))
    measurement = Measurement(model, tokenizer, cells, n_types, device)
    table = measurement.of(groups_of_edits([edit]), settings.prune, settings.compute)
    weight = encoder_layers(model)[place[0]].linear2.weight[place[1], place[2]].item()
    return weight, float(np.mean(donor_effects(table)))
