"""Reads, once, everything that a report shows. Nothing else in this package opens a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from anndata.io import read_elem

from scsw.cohort.read import cohort_facts
from scsw.errors import ScswError
from scsw.files import read_table, require
from scsw.report.columns import (
    BIOMARKERS,
    CHANGE_POINTS,
    COMPONENT_PATHWAYS,
    COMPONENT_STAGES,
    COMPONENTS,
    CONTROL_UNITS,
    CONTROLS,
    DONORS,
    EFFECTS,
    EXTERNAL,
    FAMILY_EFFECTS,
    GENE_RANKS,
    GENES,
    HISTOGRAMS,
    METRICS,
    OBS,
    OF_COHORT,
    OF_MODEL,
    OF_QUANTIZED_MODEL,
    OF_REAL_MODEL,
    ORIGINS,
    OTHER_INPUTS,
    PAIRS,
    PATHS,
    PATHWAYS,
    PROFILE_AGREEMENT,
    QUANTIZATION,
    RECOVERY,
    REPLICATION,
    SET_OVERLAPS,
    SPATIAL,
    SPIKE_STABILITY,
    SPIKE_SUMMARY,
    SPIKES,
    STABILITY,
    STAGE_ORDER,
    STAGE_TESTS,
    VERDICTS,
    VIEW_AGREEMENT,
    ZEROED,
)
from scsw.report.effects import cell_type_effect, mean_effect
from scsw.report.names import control_models, quantized_models, real_seeds
from scsw.superweight.quantization.quantization_effects import quantization_effects


@dataclass(frozen=True)
class Tables:
    """What one cohort's report is drawn from. A table that a run did not make is empty.

    Attributes
    ----------
    effects
        Rise in NLL of each zeroed scalar of the real models (candidates and random controls).
    type_effects
        The same by cell type, candidates only.
    set_overlaps
        Genes that two primary gene sets share, cut to those that a model scored.
    quantization
        Effect of rounding the weights of the real and the implanted models, over donors.
    metrics
        Every metric of the real models with a candidate zeroed, over donors.
    components
        Mean-ablation of heads and MLPs of the real models; `component_pathways` are of their
        contribution, `component_stages` the primary tests.
    verdicts, arm_verdicts
        Verdicts of the real models, and of the control models.
    """

    cohort: str
    config: dict[str, Any]
    about: dict[str, Any]
    obs: pd.DataFrame
    qc: pd.DataFrame
    qc_histograms: pd.DataFrame
    donors: pd.DataFrame
    coverage: pd.DataFrame
    history: pd.DataFrame
    performance: pd.DataFrame
    spikes: pd.DataFrame
    candidates: pd.DataFrame
    paths: pd.DataFrame
    origins: pd.DataFrame
    other_inputs: pd.DataFrame
    stability: pd.DataFrame
    spike_stability: pd.DataFrame
    spike_summary: pd.DataFrame
    profile_agreement: pd.DataFrame
    effects: pd.DataFrame
    type_effects: pd.DataFrame
    quantization: pd.DataFrame
    pairs: pd.DataFrame
    metrics: pd.DataFrame
    recovery: pd.DataFrame
    family_effects: pd.DataFrame
    verdicts: pd.DataFrame
    arm_verdicts: pd.DataFrame
    controls: pd.DataFrame
    genes: pd.DataFrame
    control_units: pd.DataFrame
    components: pd.DataFrame
    component_pathways: pd.DataFrame
    component_stages: pd.DataFrame
    pathways: pd.DataFrame
    set_overlaps: pd.DataFrame
    stages: pd.DataFrame
    change_points: pd.DataFrame
    stage_order: pd.DataFrame
    external: pd.DataFrame
    spatial: pd.DataFrame
    biomarkers: pd.DataFrame
    view_agreement: pd.DataFrame
    gene_ranks: pd.DataFrame
    replication: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """True when the run or this cohort's file says that its data are simulated."""
        return bool(self.config["simulated"] or self.about["simulated"])

    @property
    def seeds(self) -> list[int]:
        """Seeds of the fine-tuned models."""
        return real_seeds(self.config, self.cohort)

    @property
    def control_models(self) -> list[tuple[str, int]]:
        """(arm, seed) of the control models."""
        return control_models(self.config, self.cohort)

    @property
    def models(self) -> list[tuple[str, int]]:
        """(arm, seed) of all models, the fine-tuned ones first."""
        return [("real", seed) for seed in self.seeds] + self.control_models

    @property
    def quantized_models(self) -> list[tuple[str, int]]:
        """(arm, seed) of the models whose weights were rounded."""
        return quantized_models(self.config, self.cohort)

    def best_candidates(self, n: int) -> pd.DataFrame:
        """Return the `n` best verdict rows over all fine-tuned models: causal first, by rank."""
        order = self.verdicts.assign(later=~self.verdicts["causal"].astype(bool))
        return order.sort_values(["later", "rank", "seed"], kind="stable").head(n)


def read_tables(
    cohort_dir: str | Path,
    *,
    config: dict[str, Any],
    cohort: str,
    replication_dir: str | Path | None = None,
) -> Tables:
    """Read the tables of one cohort.

    Parameters
    ----------
    cohort_dir
        ``results/<run>/<cohort>``.
    config
        The run's config with all defaults, from `scsw.settings.validate_config`.
    replication_dir
        ``results/<run>/replication``, where there is more than one cohort.

    Raises
    ------
    ScswError
        If a table that every run makes is missing, or a table lacks a column.
    """
    folder = require(cohort_dir)
    seeds = real_seeds(config, cohort)
    verdicts = _read(folder / "verdicts.parquet", VERDICTS)
    real = [("real", seed) for seed in seeds]
    arms = control_models(config, cohort)
    about = cohort_facts(require(folder / "cohort.h5ad"))
    effects, type_effects = _effects(folder, seeds)
    return Tables(
        cohort=cohort,
        config=config,
        about=about,
        obs=_read_obs(folder / "cohort.h5ad"),
        qc=read_table(folder / "qc.tsv"),
        qc_histograms=_read(folder / "qc_histograms.tsv", HISTOGRAMS),
        donors=_read(folder / "donors.tsv", DONORS),
        coverage=read_table(folder / "coverage.tsv"),
        history=_of_models(folder, real, "model/history.parquet", add_model=True),
        performance=_pooled(_kept(read_table(folder / "performance.parquet"), real + arms)),
        spikes=_spikes(folder, real + arms, arms),
        candidates=_of_models(folder, real + arms, "search/candidates.parquet", optional=arms),
        paths=_of_models(folder, real, "search/paths.parquet", PATHS),
        origins=_of_models(folder, real, "search/origins.parquet", ORIGINS),
        other_inputs=_of_models(folder, real, "search/other_inputs.parquet", OTHER_INPUTS),
        stability=_read(folder / "stability.parquet", STABILITY),
        spike_stability=_kept(
            _read(folder / "spike_stability.parquet", SPIKE_STABILITY), real + arms
        ),
        spike_summary=_kept(_read(folder / "spike_summary.parquet", SPIKE_SUMMARY), real + arms),
        profile_agreement=_between(
            _read(folder / "profile_agreement.parquet", PROFILE_AGREEMENT), seeds
        ),
        effects=effects,
        type_effects=type_effects,
        quantization=_quantization(folder, config, cohort, about),
        pairs=_of_models(folder, real, "prune/pairs.parquet", PAIRS),
        metrics=_of_models(folder, real, "prune/metrics.parquet", METRICS, ZEROED),
        recovery=_of_models(folder, real, "prune/recovery.parquet", RECOVERY),
        family_effects=_of_models(folder, real, "prune/family_effects.parquet", FAMILY_EFFECTS),
        verdicts=_kept(verdicts, real),
        arm_verdicts=_kept(verdicts, arms),
        controls=_optional(folder / "controls.parquet", CONTROLS),
        genes=_of_models(
            folder, real, "map/gene_scores.parquet", GENES, [("cell_type", "==", "all")], real
        ),
        control_units=_of_models(
            folder, real, "map/control_units.parquet", CONTROL_UNITS, optional=real
        ),
        components=_of_models(
            folder, real, "components/component_effects.parquet", COMPONENTS, optional=real
        ),
        component_pathways=_of_models(
            folder,
            real,
            "component_links/component_pathways.parquet",
            COMPONENT_PATHWAYS,
            [("view", "==", "contribution")],
            real,
        ),
        component_stages=_of_models(
            folder,
            real,
            "component_links/component_stages.parquet",
            COMPONENT_STAGES,
            [("primary", "==", True)],
            real,
        ),
        pathways=_kept(_optional(folder / "pathways.parquet", PATHWAYS), real),
        set_overlaps=_of_models(
            folder, real, "enrich/set_overlaps.parquet", SET_OVERLAPS, optional=real
        ),
        stages=_kept(_optional(folder / "stages.parquet", STAGE_TESTS), real),
        change_points=_kept(_optional(folder / "change_points.parquet", CHANGE_POINTS), real),
        stage_order=_kept(_optional(folder / "stage_order.parquet", STAGE_ORDER), real),
        external=_kept(_optional(folder / "external.parquet", EXTERNAL), real),
        spatial=_kept(_optional(folder / "spatial.parquet", SPATIAL), real),
        biomarkers=_optional(folder / "biomarkers.tsv", BIOMARKERS),
        view_agreement=_kept(_optional(folder / "view_agreement.parquet", VIEW_AGREEMENT), real),
        gene_ranks=_kept(_optional(folder / "gene_ranks.parquet", GENE_RANKS), real),
        replication=_replication(replication_dir, cohort),
    )


def input_files(
    folder: Path,
    config: dict[str, Any],
    cohort: str,
    replication_dir: str | Path | None = None,
) -> dict[str, Path]:
    """Return every file that `read_tables` reads and that is there, by its place in the run."""
    real = [f"real/{seed}" for seed in real_seeds(config, cohort)]
    arms = [f"{arm}/{seed}" for arm, seed in control_models(config, cohort)]
    names = OF_COHORT + [f"{model}/{name}" for model in real + arms for name in OF_MODEL]
    names += [f"{model}/{name}" for model in real for name in OF_REAL_MODEL]
    quantized = quantized_models(config, cohort)
    names += [f"{arm}/{seed}/{OF_QUANTIZED_MODEL}" for arm, seed in quantized]
    files = {name: folder / name for name in names}
    if replication_dir is not None:
        tables = [f"{name}.parquet" for name in REPLICATION]
        files |= {f"replication/{name}": Path(replication_dir) / name for name in tables}
    return {name: path for name, path in files.items() if path.exists()}


def _read_obs(path: Path) -> pd.DataFrame:
    """Read the needed columns of a cohort's cells, without its counts."""
    with h5py.File(require(path), "r") as file:
        absent = sorted(set(OBS) - set(file["obs"]))
        if absent:
            raise ScswError(
                f"{path} has no obs column {', '.join(absent)}",
                expected="a cohort written by `scsw preprocess`",
                fix="run the preprocess step again",
            )
        return pd.DataFrame({name: read_elem(file["obs"][name]) for name in OBS})


def _read(
    path: Path, columns: list[str] | None = None, filters: list[tuple] | None = None
) -> pd.DataFrame:
    """Read some columns and rows of a Parquet table, or the columns of a TSV."""
    if path.suffix == ".tsv":
        table = read_table(path)
        present = list(table.columns)
    else:
        present = pq.read_schema(require(path)).names
    absent = [name for name in columns or [] if name not in present]
    if absent:
        raise ScswError(
            f"{path} has no column {', '.join(absent)}",
            expected="the columns listed in docs/outputs.md",
            fix="run the step that writes this table again",
        )
    if path.suffix == ".tsv":
        return table[columns] if columns else table
    return pd.read_parquet(path, columns=columns, filters=filters)


def _optional(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    return _read(path, columns) if path.exists() else pd.DataFrame(columns=columns)


def _of_models(
    folder: Path,
    models: list[tuple[str, int]],
    name: str,
    columns: list[str] | None = None,
    filters: list[tuple] | None = None,
    optional: list[tuple[str, int]] | None = None,
    add_model: bool = False,
) -> pd.DataFrame:
    """Read one table of several models and stack them in the order of `models`."""
    found = []
    for arm, seed in models:
        path = folder / arm / str(seed) / name
        if not path.exists() and (arm, seed) in (optional or []):
            continue
        table = _read(path, columns, filters)
        found.append(table.assign(arm=arm, seed=seed) if add_model else table)
    found = [table for table in found if len(table)] or found[:1]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def _spikes(
    folder: Path, models: list[tuple[str, int]], optional: list[tuple[str, int]]
) -> pd.DataFrame:
    """Read the spikes over all cells; a site whose median is zero has no ratio."""
    everywhere = [("group_by", "==", "all")]
    table = _of_models(folder, models, "search/spikes.parquet", SPIKES, everywhere, optional)
    return table[np.isfinite(table["ratio"].astype(float))].reset_index(drop=True)


def _effects(folder: Path, seeds: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summarise the zeroing effects model by model: all of them at once may be large."""
    zeroed = [("mode", "==", "zero"), ("weight_set", "in", ["candidate", "random"])]
    per_edit, per_type = [], []
    for seed in seeds:
        edits = _read(folder / "real" / str(seed) / "prune/effects.parquet", EFFECTS, zeroed)
        per_edit.append(mean_effect(edits))
        per_type.append(cell_type_effect(edits[edits["weight_set"] == "candidate"]))
    return pd.concat(per_edit, ignore_index=True), pd.concat(per_type, ignore_index=True)


def _quantization(
    folder: Path, config: dict[str, Any], cohort: str, about: dict[str, Any]
) -> pd.DataFrame:
    models = quantized_models(config, cohort)
    return quantization_effects(
        _of_models(folder, models, OF_QUANTIZED_MODEL, QUANTIZATION),
        statistics=SimpleNamespace(**config["statistics"]),
        donors_are_units=about["split_unit"] == "donor",
    )


def _pooled(performance: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rows of single donors."""
    return performance[performance["donor_id"] == "all"]


def _kept(table: pd.DataFrame, models: list[tuple[str, int]]) -> pd.DataFrame:
    """Return the rows of these models; a table from an earlier config may hold others."""
    rows = [key in models for key in zip(table["arm"], table["seed"], strict=True)]
    return table[np.array(rows, dtype=bool)].reset_index(drop=True)


def _between(table: pd.DataFrame, seeds: list[int]) -> pd.DataFrame:
    """Return the pairs of these seeds."""
    return table[table["seed_a"].isin(seeds) & table["seed_b"].isin(seeds)].reset_index(drop=True)


def _replication(folder: str | Path | None, cohort: str) -> dict[str, pd.DataFrame]:
    """Read the comparisons that this cohort takes part in."""
    tables = {}
    for name, wanted in REPLICATION.items():
        table = pd.DataFrame(columns=wanted)
        if folder is not None:
            table = _read(Path(folder) / f"{name}.parquet", wanted)
        mine = (table["cohort_a"] == cohort) | (table["cohort_b"] == cohort)
        tables[name] = table[mine].reset_index(drop=True)
    return tables
