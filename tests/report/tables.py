"""Writes a whole invented cohort folder, as docs/outputs.md describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from scsw.biology.replicate.replicate import TABLES
from scsw.biology.tables import BIOMARKERS, GENE_RANKS, REPLICATION_SUMMARY, VIEW_AGREEMENT, typed
from scsw.cohort.qc_tables import qc_histograms
from scsw.report.names import AD_GENES
from scsw.report.planted import planted_genes
from scsw.settings import validate_config
from tests.report.external_tables import external_table
from tests.report.gene_tables import SETS
from tests.report.model_tables import model_tables
from tests.report.shape import CLASSES, Shape
from tests.report.spatial_tables import spatial_table
from tests.report.stability_tables import stability_tables

FOUND = (
    "found at rank 1; causal, constant: q = 0.006, lower donor bound 0.48 nats; its mean "
    "contribution restores 98 %: it acts as a bias"
)


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
        tables = model_tables(cohort, arm, seed, np.random.default_rng(place), shape)
        for name, table in tables.items():
            path = folder / arm / str(seed) / f"{name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_parquet(path, index=False)
            if arm == "real" or name in ("prune/verdicts", "model/performance"):
                gathered.setdefault(Path(name).name, []).append(table)
        _provenance(folder / arm / str(seed) / "model", "finetune", seed, shape)
    names = ("verdicts", "performance", "pathways", "stages", "change_points", "stage_order")
    for name in names:
        pd.concat(gathered[name]).to_parquet(folder / f"{name}.parquet", index=False)
    _gathered(folder, cohort, shape, pd.concat(gathered["verdicts"]).query("arm == 'real'"))
    _external(folder, shape, pd.concat(gathered["verdicts"]).query("arm == 'real'"))
    _spatial(folder, cohort, shape, pd.concat(gathered["verdicts"]).query("arm == 'real'"))
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
            "spatial": {"path": "merfish.h5ad" if shape.spatial else None},
            "external": {"bulk": [{"name": name, "path": "adni"} for name in shape.bulk]},
        }
    )


def _cohort(folder: Path, cohort: str, shape: Shape) -> None:
    rng = np.random.default_rng(99)
    n = shape.n_donors * len(shape.types) * 5
    donors = np.repeat(shape.donors, len(shape.types) * 5)
    obs = pd.DataFrame({"donor_id": donors}, index=[f"cell{i}" for i in range(n)])
    obs["cell_type"] = rng.choice(shape.types, n)
    obs.iloc[: len(shape.types), obs.columns.get_loc("cell_type")] = shape.types
    obs["split"] = [shape.split_of[donor] for donor in donors]
    obs["n_genes"] = rng.integers(200, 6000, n)
    obs["total_counts"] = 3 * obs["n_genes"]
    obs["pct_mito"] = np.nan if "pct_mito" in shape.absent else rng.uniform(0, 5, n)
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
    _quality(folder, obs, shape)
    _donors(folder, obs, shape)
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


def _quality(folder: Path, kept: pd.DataFrame, shape: Shape) -> None:
    """Write losses of 100 cells a filter, and histograms of the kept and the lost cells."""
    rows, left = [], len(kept) + 100 * len(shape.losing)
    for name in ("no_donor_id", "no_cell_type", *shape.losing, "no_matched_counts"):
        lost = 100 if name in shape.losing else 0
        rows.append(("cells", name, left, lost, left - lost, "x"))
        left -= lost
    rows += [("genes", "min_cells_per_gene", 2000, 150, 1850, "x")]
    columns = ["axis", "filter", "before", "removed", "after", "detail"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "qc.tsv", sep="\t", index=False)
    rng = np.random.default_rng(7)
    names = ["n_genes", "total_counts", "pct_mito"]
    n_lost = 100 * len(shape.losing)
    lost = pd.DataFrame(
        {
            "n_genes": rng.integers(0, 9000, n_lost),
            "total_counts": rng.integers(0, 3_000_000, n_lost),
            "pct_mito": rng.uniform(0, 100, n_lost),
        }
    )
    cells = pd.concat([kept[names], lost], ignore_index=True)
    cells["doublet_score"] = rng.uniform(0, 1.2, len(cells))
    cells[list(shape.absent)] = np.nan
    table = qc_histograms(cells, np.arange(len(cells)) < len(kept))
    table.to_csv(folder / "qc_histograms.tsv", sep="\t", index=False)


def _donors(folder: Path, obs: pd.DataFrame, shape: Shape) -> None:
    """Write a row per donor; the stages and sexes go round."""
    cells = obs.groupby("donor_id")["cell_type"].agg(n_cells="size", n_cell_types="nunique")
    table = cells.rename_axis("donor_id").reset_index()
    table.insert(0, "split", table["donor_id"].map(shape.split_of))
    for stage, levels in {"adnc": 4, "braak": 7, "cerad": 4, "cognition": 3}.items():
        table[stage] = np.arange(len(table)) % levels
    table["thal"] = -1
    table["sex"] = np.where(np.arange(len(table)) % 3, "female", "male")
    table["is_reference"] = False
    table["study"] = [shape.studies[i % len(shape.studies)] for i in range(len(table))]
    table.to_csv(folder / "donors.tsv", sep="\t", index=False)


def _gathered(folder: Path, cohort: str, shape: Shape, verdicts: pd.DataFrame) -> None:
    ids = verdicts["candidate_id"].drop_duplicates()
    for name, table in stability_tables(cohort, shape, ids).items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    expectations = {
        "implanted_constant": "the sealed scalar is found and judged causal, constant",
        "implanted_informative": "the sealed scalar is found and judged causal, informative",
        "untrained": "no candidate is causal",
        "pretrained": "for comparison only",
        "shuffled": "no candidate is causal for cell types",
    }
    rows = []
    for arm in shape.arms:
        implanted = arm.startswith("implanted")
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
                "passed": None if arm == "pretrained" else arm not in shape.failed,
                "outcome": FOUND if implanted else "no candidate is causal",
            }
        )
    names = "cohort arm seed expectation found_rank candidate_id verdict n_causal passed outcome"
    table = pd.DataFrame(rows, columns=names.split())
    table["passed"] = table["passed"].astype("boolean")
    table.to_parquet(folder / "controls.parquet", index=False)
    _biomarkers(folder, verdicts)


def _biomarkers(folder: Path, verdicts: pd.DataFrame) -> None:
    """Write 40 ranked genes and three that were not scored, and the agreement of the views."""
    rng = np.random.default_rng(3)
    best = verdicts.iloc[0] if len(verdicts) else None
    ranked = ["APOE", "GENE1", *AD_GENES[:5], *[f"GENE{i}" for i in range(2, 36)]]
    rows = [
        {"gene": gene, "rank": place, "grade": "associated" if place < 3 else "listed", "seeds": 1}
        | {"seed": best["seed"], "candidate_id": best["candidate_id"], "verdict": "not causal"}
        | {"combined_rank": place + 0.5, "n_genes": 900, "read_in_z": 9 - place / 9}
        | {"read_in_q": place / 40, "read_in_passes": place < 3, "write_out_z": -2.0}
        | {"write_out_q": 0.4, "write_out_passes": False, "direction_z": 0.1}
        | {
            "n_pathways": place % 3,
            "pathway_test": "naive",
            "stage_q": 0.04,
            "stage_survives": "yes",
            "n_replicated": 1,
        }
        | {"n_compared": 2, "replication": "replicated", "gwas": "yes" if place == 1 else "no"}
        | {"statement": f"{gene} stands out in read-in."}
        for place, gene in enumerate(ranked if best is not None else [], start=1)
    ]
    counts = dict.fromkeys(["seeds", "n_pathways", "n_replicated", "n_compared"], 0)
    named = AD_GENES if best is None else AD_GENES[6:]
    rows += [
        dict.fromkeys(BIOMARKERS) | counts | {"gene": gene, "grade": "not scored", "gwas": "no"}
        | {"replication": "not testable", "statement": "not in vocabulary or not detected"}
        for gene in named
    ]  # fmt: skip
    typed(rows, BIOMARKERS).to_csv(folder / "biomarkers.tsv", sep="\t", index=False)
    _gene_ranks(folder, verdicts)
    rows = [
        {"cohort": "simcohort", "arm": "real", "seed": v.seed, "candidate_id": v.candidate_id}
        | {"view_a": a, "view_b": b, "n_genes": 900, "spearman": rng.uniform(-0.3, 0.9)}
        | {"null_spearman": 0.05, "p": 0.01, "q": rng.uniform(0, 0.1), "null": "permutation"}
        | {"top_a": 100, "top_b": 100, "overlap": 20, "expected": 11.1, "overlap_p": 0.01}
        | {"overlap_q": 0.04, "overlap_null": "hypergeometric", "n_controls": 90 * (a == "read_in")}
        | {"control_spearman": 0.2, "control_p": 0.1, "control_q": 0.1, "control_null": "edits"}
        for v in verdicts.itertuples()
        for a, b in combinations(("read_in", "write_out", "direction"), 2)
    ]
    views = typed(rows, VIEW_AGREEMENT)
    views.to_parquet(folder / "view_agreement.parquet", index=False)


def _external(folder: Path, shape: Shape, verdicts: pd.DataFrame) -> None:
    groups = {name: CLASSES for name in shape.cohorts[1:]} | {
        name: ("bulk",) for name in shape.bulk
    }
    if groups:
        table = external_table(verdicts, groups, tested=shape.stages_tested)
        table.to_parquet(folder / "external.parquet", index=False)


def _spatial(folder: Path, cohort: str, shape: Shape, verdicts: pd.DataFrame) -> None:
    if shape.spatial:
        seed, names = shape.seeds[0], list(verdicts["candidate_id"].drop_duplicates()[:5])
        table = spatial_table(cohort, seed, names, shape.types, shape.spatial)
        table.to_parquet(folder / "spatial.parquet", index=False)


def _gene_ranks(folder: Path, verdicts: pd.DataFrame) -> None:
    """Rank the planted genes first and as many others after them, for every candidate."""
    genes = [*sorted(planted_genes()), *[f"GENE{i}" for i in range(78)]]
    ranks = {f"{view}_rank": 1.0 for view in ("read_in", "write_out", "direction", "row")}
    rows = [
        {"cohort": "simcohort", "arm": "real", "seed": v.seed, "candidate_id": v.candidate_id}
        | {"gene": gene, "combined_score": 0.5, "combined_rank": place, "n_genes": len(genes)}
        | ranks
        for v in verdicts.itertuples()
        for place, gene in enumerate(genes, start=1)
    ]  # fmt: skip
    typed(rows, GENE_RANKS).to_parquet(folder / "gene_ranks.parquet", index=False)


def _replication(root: Path, shape: Shape) -> Path:
    """Write the comparison of every two cohorts on every two of their models."""
    folder = root / "replication"
    folder.mkdir()
    rng = np.random.default_rng(5)
    found: dict[str, list[dict]] = {name: [] for name in (*TABLES, "summary")}
    for a, b in combinations(shape.cohorts, 2):
        cohorts = {"cohort_a": a, "cohort_b": b, "n_shared_donors": 0}
        for seed_a, seed_b in product(shape.seeds, shape.seeds):
            tested = {"p": 0.1, "null": "gene permutation"}
            own = cohorts | {"seed_a": seed_a, "seed_b": seed_b} | tested
            pair = own | {"candidate_a": "ffn_down.b0.r1.c1", "candidate_b": "ffn_down.b0.r2.c2"}
            pair |= dict.fromkeys("causal_a causal_b shared_start same_coordinate".split(), False)
            found["candidates"] += [
                own | {"shared_start": shape.one_start, "by": "coordinates", "measure": measure}
                | {"n": 900, "n_a": 5, "n_b": 7, "expected": 0.02, "q": q}
                | {"statistic": rng.uniform(0, 0.9)}
                for measure, q in (("acquired_spikes", 0.01), ("growth", 0.2))
            ]  # fmt: skip
            found["genes"] += [
                pair
                | {"view": view, "n_genes": 900, "spearman": r, "q": 0.6 - 0.59 * (r > 0.5)}
                | {"n_controls": 90, "unit_p": 0.01, "unit_q": 0.02, "unit_null": "units"}
                for view in ("read_in", "write_out")
                for r in rng.uniform(-1, 1, 3)
            ]
            found["pathways"] += [
                pair | {"library": name, "n_sets": 40, "spearman": 0.3, "q": 0.2} for name in SETS
            ]
            found["stages"] += [
                pair | {"cell_class": kind, "stage": stage, "beta_a": x, "beta_b": y, "q": 0.2}
                | {"same_sign": x * y > 0}
                for kind in CLASSES
                for stage in ("adnc", "braak")
                for x, y in [rng.normal(0, 0.5, 2)]
            ]  # fmt: skip
            found["stage_ranks"] += [
                own | {"stage": stage, "n_pairs": 3, "n_classes": 6, "spearman": r, "q": 0.2}
                | {"p_floor": 0.002}
                for stage in ("adnc", "braak")
                for r in rng.uniform(-1, 1, 1)
            ]  # fmt: skip
        found["summary"] += [
            cohorts | {"level": level, "statistic_is": "median", "statistic": 0.4, "n": 12}
            | {"n_models": 4, "n_models_agree": 1, "p": 0.2, "q": 0.3, "null": "gene permutation"}
            | {"independent": True, "outcome": "No agreement shown (q 0.3)."}
            for level in ("candidates", "genes", "pathways", "stages")
        ]  # fmt: skip
    for name, columns in (TABLES | {"summary": REPLICATION_SUMMARY}).items():
        table = typed(found[name], columns)
        table.to_parquet(folder / f"{name}.parquet", index=False)
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
