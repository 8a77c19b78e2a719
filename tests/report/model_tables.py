"""Invented tables of one model, as docs/outputs.md describes them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from scsw.report.columns import CHANGE_POINTS, DONOR_SCORES, STAGE_ORDER, STAGE_TESTS
from tests.report.quantization_tables import quantization_table
from tests.report.shape import CLASSES, Shape

SITES = ("mlp_hidden", "mlp_out", "pre_norm2", "out", "attn_out")
UNABLE = "not assessable: 4 test donors, at least 10 are needed"
CANDIDATE_COLUMNS = (
    "rank candidate_id family block row column weight weight_z spike_ratio hidden_ratio "
    "contribution residual_share stability first_order mean_hidden found_by iteration top_gene "
    "last_on_top share_on_top"
).split()
SETS = {
    "ad_axes": [
        *("AD_AMYLOID_PROCESSING", "AD_TAU_KINASES_PHOSPHATASES", "AD_GWAS_2022", "AD_OXPHOS"),
        *[f"AD_AXIS_WITH_A_LONG_NAME_{i}" for i in range(12)],
    ],
    "hallmark": ["HALLMARK_OXIDATIVE_PHOSPHORYLATION", "HALLMARK_INFLAMMATORY_RESPONSE"]
    + [f"HALLMARK_SET_{i}" for i in range(20)],
    "reactome": [
        "REACTOME_RESPIRATORY_ELECTRON_TRANSPORT_ATP_SYNTHESIS_BY_CHEMIOSMOTIC_COUPLING_AND_HEAT",
        *[f"REACTOME_SIGNALING_BY_RECEPTOR_TYROSINE_KINASE_NUMBER_{i}" for i in range(20)],
    ],
}


def model_tables(cohort: str, arm: str, seed: int, rng, shape: Shape) -> dict[str, pd.DataFrame]:
    candidates = _candidates(rng, shape)
    effects = _effects(candidates, arm, seed, rng, shape)
    tables = {
        "model/performance": _performance(rng, shape),
        "search/spikes": _spikes(candidates, rng, shape),
        "search/candidates": candidates.drop(columns="first"),
        "search/paths": _paths(candidates, rng, shape),
        "search/origins": _origins(candidates),
        "search/other_inputs": _other_inputs(candidates),
        "prune/effects": effects,
        "prune/verdicts": _verdicts(candidates, effects, arm, seed, shape),
        "prune/pairs": _pairs(candidates),
        "prune/metrics": _metrics(candidates, len(shape.test_donors)),
        "prune/recovery": _recovery(np.random.default_rng(seed), shape),
        "prune/family_effects": _family_effects(shape),
        "map/gene_scores": _genes(candidates, rng, shape),
        "map/control_units": _control_units(candidates),
        "enrich/pathways": _pathways(candidates, rng, shape),
        "enrich/set_overlaps": set_overlap_table(),
        "map/donor_scores": _donor_scores(candidates, np.random.default_rng(seed), shape),
        "stages/stages": _stages(candidates, np.random.default_rng(seed), shape),
        "stages/change_points": (points := _change_points(candidates, shape)),
        "stages/stage_order": _stage_order(points, shape),
    }
    if arm == "real" or arm.startswith("implanted"):
        tables["prune/quantization"] = quantization_table(len(candidates), rng, shape)
    if shape.components:
        tables |= _components(rng, shape)
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
    extra = ["gep", "mvc", "cls", "accuracy", "lr", "tokens_per_second"]
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


def _candidates(rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for rank in range(1, shape.n_candidates + 1):
        block = (rank - 1) % shape.n_blocks
        row, column = int(rng.integers(0, 512)), int(rng.integers(0, 512)) * 1000 % 512 + rank
        by_spike = rank <= max(1, shape.n_candidates * 3 // 4)
        rows.append(
            {
                "rank": rank,
                "candidate_id": f"ffn_down.b{block}.r{row}.c{column}",
                "family": "ffn_down",
                "block": block,
                "row": row,
                "column": column,
                "weight": 1.0,
                "weight_z": 5.0,
                "spike_ratio": 150.0 / rank,
                "hidden_ratio": 40.0 / rank,
                "contribution": 0.8,
                "residual_share": 0.05,
                "stability": 0.9,
                "first_order": 0.01,
                "mean_hidden": 0.5,
                "found_by": "spike" if by_spike else "first_order",
                "iteration": 1,
                "top_gene": "<cls>",
                "last_on_top": block,
                "share_on_top": 0.25 if block < shape.n_blocks - 1 else np.nan,
                "first": rank == 1,
            }
        )
    return pd.DataFrame(rows, columns=[*CANDIDATE_COLUMNS, "first"])


def _spikes(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for block in range(shape.n_blocks):
        for site in SITES:
            ratios = np.sort(rng.gamma(4, 2, 8))[::-1]
            for channel, ratio in enumerate(ratios):
                rows.append((block, site, channel, "all", "all", ratio, "APOE"))
                rows.append((block, site, channel, "donor", shape.donors[0], 1e6, None))
    for row in candidates.itertuples():
        for site in ("mlp_out", "pre_norm2", "out"):
            rows.append((row.block, site, row.row, "all", "all", row.spike_ratio, "<cls>"))
    names = ["block", "site", "channel", "group_by", "group", "ratio", "top_gene"]
    table = pd.DataFrame(rows, columns=names)
    extra = ["n_tokens", "max", "mean", "q999", "kurtosis", "stability", "top_bin"]
    return table.assign(**dict.fromkeys(extra, 1.0))


def _paths(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = [
        (c.candidate_id, block, site, rng.gamma(4, 3), 1, rng.gamma(2, 1), 3)
        for c in candidates.itertuples()
        for block in range(c.block, shape.n_blocks)
        for site in ("pre_norm2", "out")
    ]
    columns = "candidate_id block site amplitude rank amplitude_pruned rank_pruned".split()
    return pd.DataFrame(rows, columns=columns)


def _origins(candidates: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (c.block, site, c.row, c.spike_ratio, "ffn_down" if c.rank % 3 else "residual")
        for c in candidates.itertuples()
        for site in ("mlp_out", "pre_norm2")
        if c.found_by == "spike"
    ]
    return pd.DataFrame(rows, columns=["block", "site", "row", "spike_ratio", "family"])


def _other_inputs(candidates: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (kind, c.rank, c.candidate_id, c.found_by, c.rank != 2)
        for kind in ("with_cls", "without_cls", "random", "constant")
        for c in candidates.itertuples()
        if kind != "without_cls" or c.rank > 1  # the first is not found without <cls>
    ]
    return pd.DataFrame(rows, columns="kind rank candidate_id found_by in_family".split())


def first_effect(arm: str, seed: int, shape: Shape) -> float:
    """Return the true effect of a model's first candidate."""
    if arm == "real":
        return 0.4 if shape.verdicts.get(seed, "not causal").startswith("causal") else 1e-4
    return 0.6 if arm.startswith("implanted") else 1e-4


def _effects(candidates: pd.DataFrame, arm: str, seed: int, rng, shape: Shape) -> pd.DataFrame:
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


def _verdicts(
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
    names += "sign_flip_p n_test_donors n_controls min_effect detectable_effect unresolved wanda_n "
    names += "wanda_max row_neighbour_n row_neighbour_max noise_n noise_mean structural causal "
    return pd.DataFrame(rows, columns=(names + "verdict reason partner").split())


def _pairs(candidates: pd.DataFrame) -> pd.DataFrame:
    """Zero the first candidate together with each other one; the effects add up."""
    ids = candidates["candidate_id"].tolist()
    rows = [(ids[0], other, 0.01, 0.0, -0.001, 0.001, False) for other in ids[1:]]
    columns = "candidate_a candidate_b effect_joint excess excess_low excess_high masked".split()
    return pd.DataFrame(rows, columns=columns).astype({"masked": bool})


def _metrics(candidates: pd.DataFrame, n_donors: int) -> pd.DataFrame:
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


def _recovery(rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for scope in ("all", *[f"block {b}" for b in range(shape.n_blocks)]):
        for score in ("spike", "hidden_spike", "weight", "wanda", "first_order"):
            rho = float(rng.uniform(-0.2, 0.8))
            rows.append((scope, score, shape.n_controls, 50, rho, rho - 0.1, rho + 0.1))
    names = "scope score n n_resolved spearman spearman_low spearman_high".split()
    more = "precision_at_10 chance_at_10 precision_at_100 chance_at_100".split()
    return pd.DataFrame(rows, columns=names).assign(**dict.fromkeys(more, 0.1))


def _family_effects(shape: Shape) -> pd.DataFrame:
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


def _genes(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    genes = [*shape.genes_of_top, *[f"GENE{i}" for i in range(shape.n_genes - 5)]]
    rows = [
        (c.candidate_id, view, "GEP" if view == "write_out" else "", kind, gene, z)
        for c in candidates.itertuples()
        for view in ("read_in", "write_out", "direction")
        for kind in ("all", shape.types[0])
        for gene, z in zip(genes, rng.normal(0, 3, len(genes)), strict=True)
    ]
    names = ["candidate_id", "view", "decoder", "cell_type", "gene", "z"]
    table = pd.DataFrame(rows, columns=names)
    table["score"], table["p"] = table["z"], 0.01
    table["q"] = np.where(table["z"].abs() > 3, 0.01, 0.5)
    null = "100 genes of nearest detection rate and mean bin"
    tested = table["view"].ne("direction") & table["cell_type"].eq("all")
    table["unit_mean"], table["unit_sd"] = 0.3 * table["z"], 1.0
    table["unit_p"], table["unit_q"] = 0.02, np.where(table["z"].abs() > 5, 0.03, 0.6)
    columns = ["unit_mean", "unit_sd", "unit_p", "unit_q"]
    table.loc[~tested, columns] = np.nan
    table["unit_null"] = np.where(tested, "16 hidden units alike", "")
    return table.assign(n_cells=50, detection_rate=0.5, mean_bin=10.0, null=null)


def _control_units(candidates: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (c.candidate_id, view, f"{view}.b0.c{i}", 0.01 * i, float(i % 3), 4.0)
        for c in candidates.itertuples()
        for view in ("read_in", "write_out")
        for i in range(20)
    ]
    columns = "candidate_id view control distance n_passed own_passed".split()
    table = pd.DataFrame(rows, columns=columns).astype({"n_passed": float, "own_passed": float})
    return table.assign(in_unit_p=True, l2_ratio=1.0, linearity=1.0)


def _components(rng, shape: Shape) -> dict[str, pd.DataFrame]:
    """Return effects, pathways and stages of the heads and MLPs."""
    effects, pathways, stages = [], [], []
    for block in range(shape.n_blocks):
        for name in [*[f"head{i}" for i in range(shape.n_heads)], "mlp"]:
            place = {"block": block, "component": name}
            size = float(rng.gamma(0.4, 0.1)) * rng.choice([1, 1, 1, -0.1])
            half = abs(float(rng.normal(0, 0.02)))
            to_spike = float(rng.gamma(2)) if block and name != "mlp" else np.nan
            effects.append(
                place
                | {"effect_nll": size, "effect_low": size - half, "effect_high": size + half}
                | {"q": 0.01 if size > half else 0.5, "excess_q": 0.01 if size > 0.05 else 0.5}
                | {"control_nll": size / 3, "excess_nll": size / 1.5, "rank": 1}
                | {"output_share": 0.2, "attention_to_spike": to_spike}
                | {"spike_candidate": "ffn_down.b0.r1.c1", "spike_found_by": "spike"}
                | {"leading_genes": "APOE;APP" if block else "", "n_significant_genes": block}
            )
            for axis in ("AD_OXPHOS", "AD_GLUTAMATERGIC_SYNAPSE") if shape.pathways else ():
                tested = {"view": "contribution", "library": "ad_axes", "gene_set": axis}
                q = float(rng.beta(0.5, 1))
                found = {"primary": True, "p": q / 2, "q": q, "share_of_components": 0.1}
                pathways.append(place | tested | found)
            status = "tested" if shape.stages_tested else "not tested"
            for cell_class in sorted(set(CLASSES[: len(shape.types)])):
                tested = {"measure": "contribution", "cell_class": cell_class, "stage": "adnc"}
                q = float(rng.beta(0.5, 1)) if shape.stages_tested else np.nan
                found = {"primary": True, "beta": 0.3, "p": q / 2, "q": q, "status": status}
                found["detectable"] = 0.7 if shape.stages_tested else np.nan
                found["survives_thinning"] = "yes" if q < 0.02 else "no" if q < 0.05 else ""
                stages.append(place | tested | found)
    of_pathways = "block component view library gene_set primary p q share_of_components".split()
    return {
        "components/component_effects": pd.DataFrame(effects),
        "component_links/component_pathways": pd.DataFrame(pathways, columns=of_pathways),
        "component_links/component_stages": pd.DataFrame(stages),
    }


def _pathways(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for c in candidates.head(5).itertuples() if shape.pathways else ():
        for view in ("read_in", "write_out"):
            for method, libraries in {"ora": SETS, "prerank": ["ad_axes", "hallmark"]}.items():
                for library in libraries:
                    for name in SETS[library]:
                        value = rng.gamma(2, 1) if method == "ora" else rng.normal(0, 1)
                        q = float(rng.beta(0.5, 1))
                        null = "hypergeometric" if method == "ora" else "gene permutation"
                        place = (c.candidate_id, view, method, library, name)
                        rows.append((*place, 30, 5, value, q / 2, q, null, "APOE;APP"))
    names = "candidate_id view method library gene_set n_genes_in_set n_overlap statistic p q null"
    table = pd.DataFrame(rows, columns=[*names.split(), "leading_edge"])
    return _calibrated(table, rng, shape.n_unit_controls)


def _calibrated(table: pd.DataFrame, rng, n: int) -> pd.DataFrame:
    """Add what the controls say; with no controls nothing."""
    primary = table["library"].eq("ad_axes")
    columns = ["calibrated_p", "calibrated_q", "empirical_fdr", "calibrated_floor"]
    table = table.assign(primary=primary, n_controls=n, calibrated_null="")
    if not n:
        return table.assign(**dict.fromkeys(columns, np.nan))
    q = np.minimum(1, table["q"] * rng.uniform(1, 20, len(table)))
    tails = np.where(table["method"] == "ora", 1, 2)
    return table.assign(
        calibrated_p=q / 2,
        calibrated_q=q.where(primary),
        empirical_fdr=q,
        calibrated_floor=tails / (1 + n),
        calibrated_null=table["view"].map(lambda view: f"{n:,} controls of {view}"),
    )


def set_overlap_table() -> pd.DataFrame:
    """Return overlaps of two axes."""
    row = {"library_a": "ad_axes", "set_a": "AD_AMYLOID_PROCESSING", "library_b": "ad_axes"}
    row |= {"set_b": "AD_GWAS_2022", "n_a": 70, "n_b": 80, "n_shared": 2, "jaccard": 2 / 148}
    return pd.DataFrame([row | {"shared": "APOE;APP"}])


def _donor_scores(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    """Return a contribution per candidate, class and donor that was not fitted on."""
    classes = sorted({CLASSES[i % 6] for i in range(len(shape.types))})
    held_out = [(i, x) for i, x in enumerate(shape.donors) if shape.split_of[x] != "train"]
    rows = [
        {
            **{"candidate_id": name, "donor_id": donor, "cell_class": cell_class},
            **{"depth": depth, "cell_type": "all", "region": "all", "is_reference": False},
            **{"split": shape.split_of[donor], "n_cells": 40 if depth == "as measured" else 20},
            **{"contribution": float(rng.normal()), "adnc": i % 4, "braak": i % 7},
        }
        for name in candidates["candidate_id"]
        for depth in ("as measured", "thinned")
        for cell_class in classes
        for i, donor in held_out
    ]
    return pd.DataFrame(rows, columns=[*DONOR_SCORES[3:], "depth", "cell_type"])


def _stages(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    classes = sorted({CLASSES[i % 6] for i in range(len(shape.types))})
    stages = ("adnc", "braak", "thal", "cerad", "cognition", "cps", "apoe_e4", "apoe_e2")
    places = [(kind, "all") for kind in classes] + [(classes[0], shape.types[0])]
    groups = product(candidates["candidate_id"], places, ("as measured", "thinned"))
    for (name, (cell_class, cell_type), depth), measure in product(
        groups, ("contribution", "spike", "effect_nll")
    ):
        for stage in stages if cell_type == "all" else stages[:1]:
            tested = shape.stages_tested and stage != "thal"
            beta = float(rng.normal(0, 0.5)) if tested else np.nan
            primary = (measure, stage, cell_type) == ("contribution", "adnc", "all")
            passes = abs(beta) > 0.8
            survives = ("yes" if beta > 0 else "no") if passes and depth != "thinned" else ""
            rows.append(
                {
                    "candidate_id": name,
                    "depth": depth,
                    "measure": measure,
                    "cell_class": cell_class,
                    "cell_type": cell_type,
                    "stage": stage,
                    "primary": primary and depth == "as measured",
                    "n_donors": shape.n_donors if tested else 0,
                    "n_age_censored": 5 if tested else 0,
                    "covariates": "median_genes+age_death" if tested else "",
                    "beta": beta,
                    "beta_low": beta - 0.3,
                    "beta_high": beta + 0.3,
                    "detectable": 0.6 if tested else np.nan,
                    "p": 0.2 if tested else np.nan,
                    "q": (0.01 if passes else 0.5) if tested else np.nan,
                    "null": "OLS t-test of the stage slope, larger of classical and HC3 error, "
                    "donors as units",
                    "status": "tested" if tested else "not tested",
                    "reason": "" if tested else f"no held-out donor has {stage}",
                    "survives_thinning": survives,
                }
            )
    return pd.DataFrame(rows, columns=STAGE_TESTS[3:])


def _change_points(candidates: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """Return change points of expression and candidates; one axis of each has none."""
    rng = np.random.default_rng(6)
    rows = []
    axes = ("synapse", "tau", "microglia", "astrocytes")
    for depth, source in product(
        ("as measured", "thinned"), ("expression", *candidates["candidate_id"])
    ):
        flat = axes[int(rng.integers(4))]
        for axis in axes:
            found = shape.stages_tested and axis != flat
            point = float(rng.uniform(0.2, 0.8)) if found else np.nan
            status = "change point" if found else "no change point"
            rows.append(
                {"depth": depth, "source": source, "axis": axis, "n_donors": shape.n_donors}
                | {"change_point": point, "change_low": point - 0.1, "change_high": point + 0.1}
                | {"at_start": False, "slope": -2.0 if axis == "synapse" else 2.0}
                | {"slope_low": 1.0, "slope_high": 3.0, "p": 0.01, "q": 0.02 if found else 0.5}
                | {"null": "permuted donors", "reason": ""}
                | {"status": status if shape.stages_tested else "not testable"}
            )
    return pd.DataFrame(rows, columns=CHANGE_POINTS[3:])


def _stage_order(points: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    rows = []
    orders = ("synapse → tau", "tau → microglia", "synapse → tau → microglia")
    found = points["status"].eq("change point")
    for (depth, source), own in points.groupby(["depth", "source"], sort=False):
        has = set(own.loc[found[own.index], "axis"])
        for place, order in enumerate(orders):
            asked = set(order.split(" → ")) <= has
            status = ("supported", "not resolved", "contradicted")[place]
            rows.append(
                {"depth": depth, "source": source, "order": order, "n_donors": shape.n_donors}
                | {"probability": (0.97, 0.6, 0.02)[place] if asked else np.nan}
                | {"chance": 1 / 6 if place == 2 else 1 / 2}
                | {"status": status if asked else "not testable", "reason": ""}
            )
    return pd.DataFrame(rows, columns=STAGE_ORDER[3:])
