"""Invented tables of the steps `prune` and `verdict` on one model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.report.shape import Shape

UNABLE = "not assessable: 4 test donors, at least 10 are needed"


def first_effect(arm: str, seed: int, shape: Shape) -> float:
    """Return the true effect of a model's first candidate."""
    if arm == "real":
        return 0.4 if shape.verdicts.get(seed, "not causal").startswith("causal") else 1e-4
    return 0.6 if arm.startswith("implanted") else 1e-4


def effect_table(candidates: pd.DataFrame, arm: str, seed: int, rng, shape: Shape) -> pd.DataFrame:
    edits = [
        ("candidate", c, mode, first_effect(arm, seed, shape) if c.first else 1e-3 / c.rank)
        for c in candidates.itertuples()
        for mode in ("zero", "mean")
    ]
    blocks = sorted(set(candidates["block"])) or [0]
    for i in range(shape.n_controls):
        block = blocks[i % len(blocks)]
        name = f"ffn_down.b{block}.r{i}.c{600 + i}"
        control = pd.Series(
            {"candidate_id": name, "family": "ffn_down", "block": block, "row": i, "column": 600}
        )
        edits.append(("random", control, "zero", float(rng.normal(0, 2e-5))))
    rows = []
    for weight_set, edit, mode, size in edits:
        for donor in shape.test_donors:
            by_type = weight_set == "candidate" and mode == "zero" and arm == "real"
            for kind in shape.types if by_type else shape.types[:1]:
                rise = size * (0.1 if mode == "mean" else 1) * rng.uniform(0.6, 1.4)
                n = 1 + len(kind) % 5
                where = (edit.candidate_id, edit.family, edit.block, edit.row, edit.column)
                sums = (n, n * rise, n * 0.5, n, n, [0, 1], 10, 0.0, 1.0)
                rows.append((weight_set, "", *where, mode, 0.0, 0, donor, kind, *sums))
    names = "weight_set of candidate_id family block row column mode scale draw donor_id cell_type "
    names += "n_cells sum_d_nll sum_nll_intact n_correct n_correct_intact predicted_counts n_masked"
    return pd.DataFrame(rows, columns=[*names.split(), "sum_d_sq_error", "sum_sq_error_intact"])


def verdict_table(
    candidates: pd.DataFrame, effects: pd.DataFrame, arm: str, seed: int, shape: Shape
) -> pd.DataFrame:
    rows = []
    implanted = arm.removeprefix("implanted_") if arm.startswith("implanted") else None
    first = shape.verdicts.get(seed, "not causal") if arm == "real" else "not causal"
    first = f"causal, {implanted}" if implanted else first
    for c in candidates.itertuples():
        means = []
        for mode in ("zero", "mean"):
            own = effects[(effects["candidate_id"] == c.candidate_id) & (effects["mode"] == mode)]
            donors = own.groupby("donor_id")[["n_cells", "sum_d_nll"]].sum()
            rise = donors["sum_d_nll"] / donors["n_cells"]
            means.append(float(rise.mean()))
        verdict = first if c.first else "not causal"
        unable = shape.verdicts.get(seed) == "not assessable" and arm == "real"
        verdict = "not assessable" if unable else verdict
        nothing = np.nan if unable else 1.0
        rows.append(
            {
                **c._asdict(),
                "effect_nll": means[0],
                "effect_low": 0.8 * means[0] * nothing,
                "effect_high": 1.2 * means[0] * nothing,
                "effect_mean_nll": means[1],
                "effect_accuracy": -0.01,
                "effect_gep_mse": 0.001,
                "p": (0.002 if verdict.startswith("causal") else 0.4) * nothing,
                "q": (0.006 if verdict.startswith("causal") else 0.4) * nothing,
                "null": "random weights of the same tensor",
                "sign_flip_p": 0.03,
                "n_test_donors": len(shape.test_donors),
                "n_controls": shape.n_controls,
                "min_effect": shape.min_effect,
                "detectable_effect": shape.detectable_effect,
                "causal_below": 0.8 * means[0] if verdict.startswith("causal") else np.nan,
                "unresolved": False,
                "wanda_n": 20,
                "wanda_max": 0.02 * means[0],
                "row_neighbour_n": 20,
                "row_neighbour_max": 0.03 * means[0],
                "noise_n": 20,
                "noise_mean": 0.3 * means[0],
                "structural": c.found_by == "spike",
                "causal": verdict.startswith("causal"),
                "verdict": verdict,
                "reason": UNABLE if unable else "its effect is within that of random weights",
                "partner": "",
            }
        )
    names = "rank candidate_id family block row column weight spike_ratio found_by effect_nll "
    names += "effect_low effect_high effect_mean_nll effect_accuracy effect_gep_mse p q null "
    names += (
        "sign_flip_p n_test_donors n_controls min_effect detectable_effect causal_below unresolved "
    )
    names += (
        "wanda_n wanda_max row_neighbour_n row_neighbour_max noise_n noise_mean structural causal "
    )
    return pd.DataFrame(rows, columns=(names + "verdict reason partner").split())


def pair_table(candidates: pd.DataFrame) -> pd.DataFrame:
    """Zero the first candidate together with each other one; the effects add up."""
    ids = candidates["candidate_id"].tolist()
    rows = [(ids[0], other, 0.01, 0.0, -0.001, 0.001, False) for other in ids[1:]]
    columns = "candidate_a candidate_b effect_joint excess excess_low excess_high masked".split()
    return pd.DataFrame(rows, columns=columns).astype({"masked": bool})


def metric_table(candidates: pd.DataFrame, n_donors: int) -> pd.DataFrame:
    names = "balanced_accuracy ece gep_pearson neighbours_kept prediction_entropy top_share nll"
    rows = [
        ("candidate", c.candidate_id, "zero", "all", name, 0.5, 0.5 + 0.01 * c.rank)
        for c in candidates.itertuples()
        for name in names.split()
    ]
    columns = "weight_set candidate_id mode by metric intact pruned".split()
    table = pd.DataFrame(rows, columns=columns).astype({"intact": float, "pruned": float})
    table["effect"] = table["pruned"] - table["intact"]
    bounds = {"effect_low": table["effect"] - 0.005, "effect_high": table["effect"] + 0.005}
    return table.assign(**bounds, unresolved=False, n_donors=n_donors)


def recovery_table(rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for scope in ("all", *[f"block {b}" for b in range(shape.n_blocks)]):
        for score in ("spike", "hidden_spike", "weight", "wanda", "first_order"):
            rho = float(rng.uniform(-0.2, 0.8))
            rows.append((scope, score, shape.n_controls, 50, rho, rho - 0.1, rho + 0.1))
    names = "scope score n n_resolved spearman spearman_low spearman_high".split()
    more = "precision_at_10 chance_at_10 precision_at_100 chance_at_100".split()
    return pd.DataFrame(rows, columns=names).assign(**dict.fromkeys(more, 0.1))


def family_effect_table(shape: Shape) -> pd.DataFrame:
    """Zero three candidates of other families; a norm's γ does most."""
    rows = [
        ("norm_gamma.b0.r3.c-", "norm2_gamma", "0.norm2", 0.03, 0.01, 0.05, 0.01),
        ("row.b0.r3.c-", "row", "0.linear2", 0.002, -0.01, 0.02, 0.4),
        ("attn_out.b0.r3.c4", "attn_out", "0.self_attn.out_proj", 1e-5, -0.01, 0.02, 0.7),
    ]
    names = "candidate_id family module effect_nll effect_low effect_high p".split()
    table = pd.DataFrame(rows if shape.n_candidates else [], columns=names)
    return table.assign(
        unresolved=False, n_controls=shape.n_controls, control_max=0.02, q=table["p"] * 3
    ).astype({"family": "str"})
