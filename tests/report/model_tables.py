"""Invented tables of one model, as docs/outputs.md describes them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.report.gene_tables import (
    component_tables,
    control_unit_table,
    gene_table,
    pathway_table,
    set_overlap_table,
)
from tests.report.pruning_tables import (
    effect_table,
    family_effect_table,
    metric_table,
    pair_table,
    recovery_table,
    verdict_table,
)
from tests.report.quantization_tables import quantization_table
from tests.report.search_tables import (
    candidate_table,
    origin_table,
    other_input_table,
    path_table,
    spike_table,
)
from tests.report.shape import Shape
from tests.report.stage_tables import (
    change_point_table,
    donor_score_table,
    stage_order_table,
    stage_table,
)


def model_tables(cohort: str, arm: str, seed: int, rng, shape: Shape) -> dict[str, pd.DataFrame]:
    candidates = candidate_table(rng, shape)
    effects = effect_table(candidates, arm, seed, rng, shape)
    tables = {
        "model/performance": _performance(rng, shape),
        "search/spikes": spike_table(candidates, rng, shape),
        "search/candidates": candidates.drop(columns="first"),
        "search/paths": path_table(candidates, rng, shape),
        "search/origins": origin_table(candidates),
        "search/other_inputs": other_input_table(candidates),
        "prune/effects": effects,
        "prune/verdicts": verdict_table(candidates, effects, arm, seed, shape),
        "prune/pairs": pair_table(candidates),
        "prune/metrics": metric_table(candidates, len(shape.test_donors)),
        "prune/recovery": recovery_table(np.random.default_rng(seed), shape),
        "prune/family_effects": family_effect_table(shape),
        "map/gene_scores": gene_table(candidates, rng, shape),
        "map/control_units": control_unit_table(candidates),
        "enrich/pathways": pathway_table(candidates, rng, shape),
        "enrich/set_overlaps": set_overlap_table(),
        "map/donor_scores": donor_score_table(candidates, np.random.default_rng(seed), shape),
        "stages/stages": stage_table(candidates, np.random.default_rng(seed), shape),
        "stages/change_points": (points := change_point_table(candidates, shape)),
        "stages/stage_order": stage_order_table(points, shape),
    }
    if arm == "real" or arm.startswith("implanted"):
        tables["prune/quantization"] = quantization_table(len(candidates), rng, shape)
    if shape.components:
        tables |= component_tables(rng, shape)
    for table in tables.values():
        table["cohort"], table["arm"], table["seed"] = cohort, arm, seed
        table["seed"] = table["seed"].astype("int64")
    tables["model/history"] = _history(rng)
    return tables


def _history(rng) -> pd.DataFrame:
    steps = np.arange(1, 101)
    train = pd.DataFrame({"step": steps, "epoch": 1, "split": "train"})
    train["loss"] = 3 * np.exp(-steps / 40) + 1 + rng.normal(0, 0.1, len(steps))
    validation = train.iloc[9::10].assign(split="validation")
    history = pd.concat([train, validation])
    extra = ["gep", "mvc", "cls", "accuracy", "lr"]
    return history.assign(**dict.fromkeys(extra, 0.5))


def _performance(rng, shape: Shape) -> pd.DataFrame:
    rows = []
    levels = {"scgpt": 0.8, "majority": 0.3, "pca_logistic": 0.78, "frozen_encoder": 0.7}
    for predictor, level in levels.items():
        for metric in ("accuracy", "balanced_accuracy", "macro_f1", "nll"):
            value = level + rng.normal(0, 0.02)
            for donor, n in {"all": len(shape.test_donors), shape.test_donors[0]: 1}.items():
                rows.append((predictor, "test", metric, donor, "all", value, 100, n))
    columns = "predictor split metric donor_id cell_type value n_cells n_donors".split()
    return pd.DataFrame(rows, columns=columns).assign(
        donor_mean=lambda rows: rows["value"].where(rows["donor_id"].eq("all")),
        donor_low=lambda rows: rows["donor_mean"] - 0.05,
        donor_high=lambda rows: rows["donor_mean"] + 0.05,
    )
