"""Invented tables of how stable spikes are, as docs/outputs.md describes them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from tests.report.shape import Shape

SITES = ("mlp_out", "pre_norm2")
UNTUNED = ("pretrained", "untrained")


def stability_tables(cohort: str, shape: Shape, candidates: pd.Series) -> dict[str, pd.DataFrame]:
    """Return the four tables; every third position is inherited, and the rest is acquired."""
    rng = np.random.default_rng(17)
    models = [("real", seed) for seed in shape.seeds]
    models += [(arm, shape.seeds[0]) for arm in shape.arms]
    rows = []
    for arm, seed in models:
        start = "one start" if shape.one_start else f"seed {seed}"
        if arm == "untrained" and "pretrained" in shape.arms:
            start = f"fresh weights of seed {seed}"
        rows += [
            _spike(rng, shape, arm, place) | {"arm": arm, "seed": seed, "start": start}
            for place in range(shape.n_positions)
        ]
    columns = (
        "arm seed start block site channel ratio start_ratio passes origin share_of_cells top_gene "
        "share_of_donors n_donors share_of_cell_types n_cell_types share_of_regions n_regions "
        "cls_ratio genes_ratio n_models of_models counts_as_agreement"
    )
    spikes = pd.DataFrame(rows, columns=columns.split())
    for name in ("passes", "counts_as_agreement"):
        spikes[name] = spikes[name].astype(bool)
    spikes.insert(0, "cohort", cohort)
    stability = pd.DataFrame({"cohort": cohort, "candidate_id": candidates, "n_seeds": 1})
    stability = stability.assign(
        found_in="0",
        share_of_seeds=0.5,
        comparable=shape.one_start,
        origin="acquired",
        share_of_donors=0.9,
        share_of_cell_types=0.8,
        share_of_regions=1.0,
        passes_at_cls=True,
        passes_at_genes=False,
        spikes_with_cls=1.0,
        spikes_without_cls=0.5,
        counts_as_agreement=False,
    )
    return {
        "stability": stability,
        "spike_stability": spikes,
        "spike_summary": _summary(rng, cohort, models, spikes, shape),
        "profile_agreement": _profiles(rng, cohort, shape),
    }


def _spike(rng, shape: Shape, arm: str, place: int) -> dict:
    inherited = place % 3 == 0
    origin = "inherited" if inherited else "acquired"
    if arm in UNTUNED:
        origin = "own start" if inherited else "not a spike"
    elif rng.random() < 0.3:
        origin = "lost" if inherited else "not a spike"
    passes = origin not in ("lost", "not a spike")
    ratio = float(rng.gamma(4, 40) + 20) if passes else float(rng.uniform(4, 19))
    known = np.nan if shape.n_regions == 0 else rng.integers(0, shape.n_regions + 1)
    return {
        "block": place % shape.n_blocks,
        "site": SITES[place % 2],
        "channel": 7 * place + 1,
        "ratio": ratio,
        "start_ratio": 30.0 if inherited else 5.0,
        "passes": passes,
        "origin": origin,
        "share_of_cells": 0.5,
        "top_gene": "APOE",
        "share_of_donors": rng.integers(0, 5) / 4,
        "n_donors": 4,
        "share_of_cell_types": rng.integers(0, shape.n_types + 1) / shape.n_types,
        "n_cell_types": shape.n_types,
        "share_of_regions": known / max(shape.n_regions, 1),
        "n_regions": shape.n_regions,
        "cls_ratio": ratio if place % 2 else 3.0,
        "genes_ratio": 3.0 if place % 4 == 1 else ratio,
        "n_models": 1,
        "of_models": len(shape.seeds),
        "counts_as_agreement": arm == "real" and origin == "acquired",
    }


def _summary(rng, cohort: str, models, spikes: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    rows = []
    for arm, seed in models:
        own = spikes[(spikes["arm"] == arm) & (spikes["seed"] == seed)]
        number = own["origin"].value_counts()
        rows.append(
            {
                "cohort": cohort,
                "arm": arm,
                "seed": seed,
                "start": "one start" if shape.one_start else f"seed {seed}",
                "n_positions": 1024 * shape.n_blocks,
                "n_spikes": int(own["passes"].sum()),
                "n_inherited": int(number.get("inherited", 0)),
                "n_acquired": int(number.get("acquired", 0)),
                "n_lost": int(number.get("lost", 0)),
                "largest_ratio": own["ratio"].max() if len(own) else 9.4,
                "largest_block": 0,
                "largest_site": "mlp_out",
                "largest_channel": 1,
                "share_from_start": np.nan,
                "share_of_start_kept": np.nan,
                "n_hidden_spikes": 2,
                "largest_hidden_ratio": float(rng.uniform(15, 60)),
            }
        )
    return pd.DataFrame(rows)


def _profiles(rng, cohort: str, shape: Shape) -> pd.DataFrame:
    rows = []
    for a, b in combinations(shape.seeds, 2):
        low = float(rng.uniform(0.1, 0.3))
        tested = shape.n_candidates > 0
        rows.append(
            {
                "cohort": cohort,
                "seed_a": a,
                "seed_b": b,
                "comparable": shape.one_start,
                "n_units": shape.n_candidates,
                "n_controls": 20,
                "n_genes": 900,
                "firing_rate": 0.61 if tested else np.nan,
                "control_firing_rate": 0.58 if tested else np.nan,
                "mean_activation": 0.9 if tested else np.nan,
                "control_mean_activation": 0.7 if tested else np.nan,
                "mean_correlation": float(rng.uniform(0.2, 0.98)) if tested else np.nan,
                "control_mean": low + 0.08 if tested else np.nan,
                "control_low": low if tested else np.nan,
                "control_high": low + 0.2 if tested else np.nan,
                "p": 0.000999 if tested else np.nan,
                "null": "like units in the place of candidates" if tested else "",
            }
        )
    columns = (
        "cohort seed_a seed_b comparable n_units n_controls n_genes firing_rate "
        "control_firing_rate mean_activation control_mean_activation mean_correlation "
        "control_mean control_low control_high p null"
    )
    return pd.DataFrame(rows, columns=columns.split())
