"""Writes a whole invented cohort folder, table by table, as docs/outputs.md describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from scsw.report.names import AD_GENES
from scsw.settings import validate_config

SITES = ("mlp_hidden", "mlp_out", "pre_norm2", "out", "attn_out")
SPLITS = ("train", "validation", "discovery", "test")
CLASSES = ("excitatory", "inhibitory", "glia", "vascular", "immune", "other")
LONG_TYPES = (
    "Lamp5 Lhx6|Lamp5|Pax6|Sncg|Vip|Sst Chodl|Sst|Pvalb|Chandelier|L2/3 IT|L4 IT|L5 IT|L6 IT|"
    "L6 IT Car3|L5 ET|L6 CT|L6b|L5/6 NP|Astrocyte|Oligodendrocyte|OPC|Microglia-PVM|Endothelial|"
    "VLMC"
).split("|")
SETS = {
    "hallmark": ["HALLMARK_OXIDATIVE_PHOSPHORYLATION", "HALLMARK_INFLAMMATORY_RESPONSE"]
    + [f"HALLMARK_SET_{i}" for i in range(20)],
    "reactome": [
        "REACTOME_RESPIRATORY_ELECTRON_TRANSPORT_ATP_SYNTHESIS_BY_CHEMIOSMOTIC_COUPLING_AND_HEAT",
        *[f"REACTOME_SIGNALING_BY_RECEPTOR_TYROSINE_KINASE_NUMBER_{i}" for i in range(20)],
    ],
}


@dataclass
class Shape:
    """How large the invented run is, and what it found."""

    seeds: tuple[int, ...] = (0, 1)
    arms: tuple[str, ...] = ("untrained", "implanted_constant", "implanted_informative", "shuffled")
    n_candidates: int = 3
    n_types: int = 4
    n_donors: int = 12
    n_blocks: int = 2
    n_heads: int = 2
    n_controls: int = 60
    n_genes: int = 30
    verdicts: dict[int, str] = field(default_factory=dict)  # seed → verdict of its first candidate
    simulated: bool = True
    components: bool = True
    pathways: bool = True
    stages_tested: bool = True
    cohorts: tuple[str, ...] = ("simcohort",)
    type_names: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ("Thal phase is missing for every donor.",)

    @property
    def types(self) -> list[str]:
        """Names of the cell types."""
        return list(self.type_names or LONG_TYPES[: self.n_types])

    @property
    def donors(self) -> list[str]:
        """Names of the donors."""
        return [f"D{i:03d}" for i in range(self.n_donors)]

    @property
    def split_of(self) -> dict[str, str]:
        """Split of each donor."""
        order = ["train", "test", "discovery", "test", "train", "validation"]
        return {donor: order[i % 6] for i, donor in enumerate(self.donors)}

    @property
    def test_donors(self) -> list[str]:
        """Donors of the test split."""
        return [donor for donor in self.donors if self.split_of[donor] == "test"]


@dataclass(frozen=True)
class Run:
    """Paths and config of an invented run."""

    folder: Path
    config: dict[str, Any]
    cohort: str
    replication: Path | None


def write_run(root: Path, shape: Shape | None = None) -> Run:
    """Write every table that a report reads below `root`."""
    shape = shape or Shape()
    cohort = shape.cohorts[0]
    folder = root / cohort
    folder.mkdir(parents=True)
    _cohort(folder, cohort, shape)
    models = [("real", seed) for seed in shape.seeds]
    models += [(arm, shape.seeds[0]) for arm in shape.arms]
    gathered: dict[str, list[pd.DataFrame]] = {}
    for place, (arm, seed) in enumerate(models):
        tables = _model(cohort, arm, seed, np.random.default_rng(place), shape)
        for name, table in tables.items():
            path = folder / arm / str(seed) / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_parquet(path, index=False)
            if arm == "real" or name in ("prune/verdicts", "model/performance"):
                gathered.setdefault(Path(name).name, []).append(table)
        _provenance(folder / arm / str(seed) / "model", "finetune", seed, shape)
    for name in ("verdicts", "performance", "pathways", "stages"):
        pd.concat(gathered[name]).to_parquet(folder / f"{name}.parquet", index=False)
    _gathered(folder, cohort, shape, pd.concat(gathered["verdicts"]).query("arm == 'real'"))
    replication = _replication(root, shape) if len(shape.cohorts) > 1 else None
    return Run(folder, config_of(shape), cohort, replication)


def config_of(shape: Shape) -> dict[str, Any]:
    """Return the resolved config of an invented run."""
    cohorts = [{"name": name, "source": "sea_ad", "path": "a.h5ad"} for name in shape.cohorts]
    given = {"vocabulary": "checkpoint"} if "pretrained" in shape.arms else {}
    return validate_config(
        {
            "run": "invented",
            "simulated": shape.simulated,
            "cohorts": cohorts,
            "seeds": list(shape.seeds),
            "control_arms": list(shape.arms),
            "preprocess": given,
            "model": {
                "nlayers": shape.n_blocks,
                "nheads": shape.n_heads,
                "embsize": 64,
                "checkpoint": "a_checkpoint" if given else None,
            },
            "prune": {"n_controls": 500},
            "map": {"components": shape.components},
        }
    )


def _cohort(folder: Path, cohort: str, shape: Shape) -> None:
    rng = np.random.default_rng(99)
    n = shape.n_donors * shape.n_types * 5
    donors = np.repeat(shape.donors, shape.n_types * 5)
    level = {donor: i for i, donor in enumerate(shape.donors)}
    obs = pd.DataFrame({"donor_id": donors}, index=[f"cell{i}" for i in range(n)])
    obs["cell_type"] = rng.choice(shape.types, n)
    obs.iloc[: shape.n_types, obs.columns.get_loc("cell_type")] = shape.types
    obs["cell_class"] = [CLASSES[shape.types.index(name) % 6] for name in obs["cell_type"]]
    obs["split"] = [shape.split_of[donor] for donor in donors]
    obs["is_reference"] = False
    for stage, levels in {"adnc": 4, "braak": 7, "cerad": 4, "cognition": 3}.items():
        obs[stage] = [level[donor] % levels for donor in donors]
    obs["thal"] = -1
    data = ad.AnnData(csr_matrix((n, shape.n_genes), dtype=np.int32), obs=obs)
    data.uns["scsw"] = {
        "cohort": cohort,
        "source": "sea_ad",
        "split_unit": "donor",
        "simulated": shape.simulated,
        "warnings": np.array(shape.warnings, dtype=object),
        "n_donors": shape.n_donors,
        "vocabulary_source": "census",
        "vocabulary_sha256": "0" * 64,
    }
    data.write_h5ad(folder / "cohort.h5ad")
    rows, left = [], n + 400
    for name in ("min_genes", "min_counts", "max_pct_mito", "max_doublet_score"):
        rows.append(("cells", name, left, 100, left - 100, "x"))
        left -= 100
    rows += [("genes", "min_cells_per_gene", 2000, 150, 1850, "x")]
    columns = ["axis", "filter", "before", "removed", "after", "detail"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "qc.tsv", sep="\t", index=False)
    coverage = pd.DataFrame(
        {
            "matched_by": ["symbol", "ensembl_id", "alias", "unmatched", "total"],
            "genes": [1500, 100, 50, 200, 1850],
            "gene_share": [0.811, 0.054, 0.027, 0.108, 1.0],
            "counts": [900, 50, 20, 30, 1000],
            "count_share": [0.90, 0.05, 0.02, 0.03, 1.0],
        }
    )
    coverage.to_csv(folder / "coverage.tsv", sep="\t", index=False)
    _provenance(folder, "preprocess", None, shape)


def _model(cohort: str, arm: str, seed: int, rng, shape: Shape) -> dict[str, pd.DataFrame]:
    candidates = _candidates(rng, shape)
    effects = _effects(candidates, arm, seed, rng, shape)
    tables = {
        "model/performance": _performance(rng, shape),
        "search/spikes": _spikes(candidates, rng, shape),
        "search/candidates": candidates.drop(columns="first"),
        "search/paths": _paths(candidates, rng, shape),
        "prune/effects": effects,
        "prune/verdicts": _verdicts(candidates, effects, arm, seed, shape),
        "map/gene_scores": _genes(candidates, rng, shape),
        "enrich/pathways": _pathways(candidates, rng, shape),
        "stages/stages": _stages(candidates, rng, shape),
    }
    if shape.components:
        tables["map/components"] = _components(rng, shape)
    for table in tables.values():
        table[["cohort", "arm", "seed"]] = [cohort, arm, seed] if len(table) else None
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
    for predictor, level in {"scgpt": 0.8, "majority": 0.3, "pca_logistic": 0.78}.items():
        for metric in ("accuracy", "balanced_accuracy", "macro_f1", "nll"):
            value = level + rng.normal(0, 0.02)
            rows.append((predictor, "test", metric, "all", value, 100, len(shape.test_donors)))
    columns = ["predictor", "split", "metric", "cell_type", "value", "n_cells", "n_donors"]
    return pd.DataFrame(rows, columns=columns)


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
                "first": rank == 1,
            }
        )
    return pd.DataFrame(rows)


def _spikes(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for block in range(shape.n_blocks):
        for site in SITES:
            ratios = np.sort(rng.gamma(4, 2, 8))[::-1]
            for channel, ratio in enumerate(ratios):
                rows.append((block, site, channel, "all", "all", ratio, "APOE"))
                rows.append((block, site, channel, "donor", shape.donors[0], 1e6, None))
    for row in candidates.itertuples():
        rows.append((row.block, "mlp_out", row.row, "all", "all", row.spike_ratio, "<cls>"))
    names = ["block", "site", "channel", "group_by", "group", "ratio", "top_gene"]
    table = pd.DataFrame(rows, columns=names)
    extra = ["n_tokens", "max", "mean", "q999", "kurtosis", "stability", "top_bin"]
    return table.assign(**dict.fromkeys(extra, 1.0))


def _paths(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = [
        (c.candidate_id, block, site, 1.0, rng.gamma(4, 3), 1)
        for c in candidates.itertuples()
        for block in range(c.block, shape.n_blocks)
        for site in ("pre_norm2", "out")
    ]
    return pd.DataFrame(
        rows, columns=["candidate_id", "block", "site", "amplitude", "ratio", "rank"]
    )


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
            for kind in shape.types[:1] if weight_set == "random" else shape.types:
                rise = size * (0.1 if mode == "mean" else 1) * rng.uniform(0.6, 1.4)
                n = 1 + len(kind) % 5
                where = (edit.candidate_id, edit.family, edit.block, edit.row, edit.column)
                sums = (n, n * (0.5 + rise), n * 0.5, n, n, [0, 1], 10, 1.0, 1.0)
                rows.append((weight_set, *where, mode, 0.0, donor, kind, *sums))
    names = "weight_set candidate_id family block row column mode scale donor_id cell_type n_cells"
    names += " sum_nll sum_nll_intact n_correct n_correct_intact predicted_counts n_masked"
    return pd.DataFrame(rows, columns=[*names.split(), "sum_sq_error", "sum_sq_error_intact"])


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
            donors = own.groupby("donor_id")[["n_cells", "sum_nll", "sum_nll_intact"]].sum()
            rise = (donors["sum_nll"] - donors["sum_nll_intact"]) / donors["n_cells"]
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
                "min_effect": 0.045,
                "detectable_effect": 0.05,
                "structural": c.found_by == "spike",
                "causal": verdict.startswith("causal"),
                "verdict": verdict,
                "reason": "Only 4 test donors; 10 are needed." if unable else "As measured.",
            }
        )
    names = "rank candidate_id family block row column weight spike_ratio found_by effect_nll "
    names += "effect_low effect_high effect_mean_nll effect_accuracy effect_gep_mse p q null "
    names += "sign_flip_p n_test_donors n_controls min_effect detectable_effect structural causal "
    return pd.DataFrame(rows, columns=(names + "verdict reason").split())


def _genes(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    genes = [*AD_GENES[:5], *[f"GENE{i}" for i in range(shape.n_genes - 5)]]
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
    return table.assign(n_cells=50, detection_rate=0.5, mean_bin=10.0, null=null)


def _components(rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for block in range(shape.n_blocks):
        for name in [*[f"head{i}" for i in range(shape.n_heads)], "mlp"]:
            size = float(rng.gamma(0.4, 0.1)) * rng.choice([1, 1, 1, -0.1])
            half = abs(float(rng.normal(0, 0.02)))
            for gene in ("APOE", "APP"):
                rows.append((block, name, gene, size, size - half, size + half))
    names = ["block", "component", "gene", "effect_nll", "effect_low", "effect_high"]
    extra = {"n_cells": 5, "attention": 0.1, "z": 0.0, "p": 0.5, "q": 0.9, "null": "matched"}
    return pd.DataFrame(rows, columns=names).assign(**extra)


def _pathways(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for c in candidates.head(5).itertuples() if shape.pathways else ():
        for view in ("read_in", "write_out"):
            for method, libraries in {"ora": SETS, "prerank": ["hallmark"]}.items():
                for library in libraries:
                    for name in SETS[library]:
                        value = rng.gamma(2, 1) if method == "ora" else rng.normal(0, 1)
                        q = float(rng.beta(0.5, 1))
                        null = "hypergeometric" if method == "ora" else "gene permutation"
                        place = (c.candidate_id, view, method, library, name)
                        rows.append((*place, 30, 5, value, q / 2, q, null, "APOE;APP"))
    names = "candidate_id view method library gene_set n_genes_in_set n_overlap statistic p q null"
    return pd.DataFrame(rows, columns=[*names.split(), "leading_edge"])


def _stages(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    classes = sorted({CLASSES[i % 6] for i in range(len(shape.types))})
    for c in candidates.itertuples():
        for cell_class in classes:
            for measure in ("contribution", "spike", "effect_nll"):
                for stage in ("adnc", "braak", "thal", "cerad", "cognition", "cps"):
                    tested = shape.stages_tested and stage != "thal"
                    beta = float(rng.normal(0, 0.5)) if tested else np.nan
                    rows.append(
                        {
                            "candidate_id": c.candidate_id,
                            "measure": measure,
                            "cell_class": cell_class,
                            "stage": stage,
                            "primary": measure == "contribution" and stage == "adnc",
                            "n_donors": shape.n_donors if tested else 0,
                            "covariates": "median_genes+age_death" if tested else "",
                            "beta": beta,
                            "beta_low": beta - 0.3,
                            "beta_high": beta + 0.3,
                            "p": 0.2 if tested else np.nan,
                            "q": (0.01 if abs(beta) > 0.8 else 0.5) if tested else np.nan,
                            "null": "OLS t-test of the stage slope, donors as units",
                            "status": "tested" if tested else "not tested",
                            "reason": "" if tested else f"no held-out donor has {stage}",
                        }
                    )
    names = "candidate_id measure cell_class stage primary n_donors covariates beta beta_low "
    names += "beta_high p q null status reason"
    return pd.DataFrame(rows, columns=names.split())


def _gathered(folder: Path, cohort: str, shape: Shape, verdicts: pd.DataFrame) -> None:
    ids = verdicts["candidate_id"].drop_duplicates()
    stability = pd.DataFrame({"cohort": cohort, "candidate_id": ids, "n_seeds": 1})
    stability = stability.assign(found_in="0", share_of_seeds=0.5, comparable=True)
    stability.to_parquet(folder / "stability.parquet", index=False)
    expectations = {
        "implanted_constant": "The sealed scalar is found and judged causal, constant.",
        "implanted_informative": "The sealed scalar is found and judged causal, informative.",
        "untrained": "No candidate is judged causal.",
        "pretrained": "Reported for comparison; nothing is expected.",
        "shuffled": "No candidate is judged causal.",
    }
    rows = []
    for arm in shape.arms:
        implanted = arm.startswith("implanted")
        outcome = "The sealed scalar was found at rank 1 and judged as expected."
        rows.append(
            {
                "cohort": cohort,
                "arm": arm,
                "seed": shape.seeds[0],
                "expectation": expectations[arm],
                "found_rank": 1.0 if implanted else np.nan,
                "candidate_id": "ffn_down.b0.r17.c41" if implanted else "",
                "verdict": "causal, constant" if implanted else "not causal",
                "n_causal": int(implanted),
                "passed": None if arm == "pretrained" else True,
                "outcome": outcome if implanted else "No candidate was judged causal.",
            }
        )
    names = "cohort arm seed expectation found_rank candidate_id verdict n_causal passed outcome"
    pd.DataFrame(rows, columns=names.split()).to_parquet(folder / "controls.parquet", index=False)
    biomarkers = pd.DataFrame(
        {
            "gene": ["APOE", "GENE1"],
            "rank": [1, 2],
            "read_in_z": [4.2, 3.1],
            "write_out_z": [2.0, np.nan],
            "n_pathways": [3, 0],
            "stage_q": [0.04, np.nan],
            "replication": ["not assessed", "not assessed"],
            "seeds": ["0;1", "0"],
            "statement": ["APOE stands out in read-in.", "GENE1 stands out in read-in."],
        }
    )
    biomarkers.to_csv(folder / "biomarkers.tsv", sep="\t", index=False)


def _replication(root: Path, shape: Shape) -> Path:
    folder = root / "replication"
    folder.mkdir()
    rng = np.random.default_rng(5)
    a, b = shape.cohorts[:2]
    pair = {"cohort_a": a, "cohort_b": b, "candidate_a": "ffn_down.b0.r1.c1"}
    pair |= {"candidate_b": "ffn_down.b0.r2.c2", "null": "gene permutation"}
    rows = [
        pair | {"seed_a": i, "seed_b": i, "view": view, "n_genes": 900, "spearman": r, "p": 0.1}
        for i in shape.seeds
        for view in ("read_in", "write_out", "direction")
        for r in rng.uniform(-1, 1, 3)
    ]
    genes = pd.DataFrame(rows)
    genes["q"] = np.where(genes["spearman"].abs() > 0.5, 0.01, 0.6)
    genes.to_parquet(folder / "genes.parquet", index=False)
    rows = [pair | {"library": name, "n_sets": 40, "spearman": 0.3, "p": 0.1} for name in SETS]
    pd.DataFrame(rows).assign(q=0.2).to_parquet(folder / "pathways.parquet", index=False)
    rows = [
        pair | {"cell_class": kind, "stage": stage, "beta_a": x, "beta_b": y, "p": 0.1, "q": 0.2}
        for kind in CLASSES
        for stage in ("adnc", "braak")
        for x, y in [rng.normal(0, 0.5, 2)]
    ]
    stages = pd.DataFrame(rows)
    stages["same_sign"] = stages["beta_a"] * stages["beta_b"] > 0
    stages.to_parquet(folder / "stages.parquet", index=False)
    return folder


def _provenance(folder: Path, step: str, seed: int | None, shape: Shape) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "step": step,
        "simulated": shape.simulated,
        "inputs": {},
        "parameters": {},
        "seed": seed,
        "versions": {"scsw": "0.1.0", "python": "3.11.0", "torch": "2.13.0", "scgpt": "0.2.4"},
        "commit": "abc1234",
        "command": "scsw",
        "host": "somewhere",
        "device": "cpu",
        "started": "2025-01-01T00:00:00+00:00",
        "wall_seconds": 12.5,
        "peak_rss_bytes": 500_000_000,
        "peak_gpu_bytes": 0,
    }
    (folder / f"{step}.provenance.json").write_text(json.dumps(record))
