"""Reads, once, everything that a report shows; all else in this package is given tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from scsw.biology.stages.donor_measures import held_out
from scsw.biology.tables import AS_MEASURED
from scsw.cohort.read import cohort_facts
from scsw.files import require
from scsw.report import columns as needed
from scsw.report.effects import cell_type_effect, donor_effect, mean_effect
from scsw.report.names import control_models, is_made, quantized_models, real_seeds
from scsw.report.read import Models, read, read_obs, read_of_models, read_optional, rows_of_models
from scsw.superweight.quantization.quantization_effects import quantization_effects


@dataclass(frozen=True)
class Tables:
    """What one cohort's report is drawn from. A table that a run did not make is empty.

    Attributes
    ----------
    effects
        Rise in NLL of each zeroed scalar of the real models (candidates and random controls).
    donor_effects, type_effects
        The same by donor, and by cell type, candidates only.
    set_overlaps
        Genes that two primary gene sets share, cut to those that a model scored.
    quantization
        Effect of rounding the weights of the real and the implanted models, over donors.
    metrics
        Every metric of the real models with a candidate zeroed, over donors.
    components
        Mean-ablation of heads and MLPs of the real models; `component_pathways` are of their
        contribution, `component_stages` the primary tests.
    stage_donors
        What the primary stage tests regress: contribution of each candidate by class and donor.
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
    donor_effects: pd.DataFrame
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
    stage_donors: pd.DataFrame
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
    real = [("real", seed) for seed in seeds]
    arms = control_models(config, cohort)
    everyone = real + arms

    def always(name: str, columns: list[str] | None = None) -> pd.DataFrame:
        return read(folder / name, columns)

    def gathered(name: str, columns: list[str]) -> pd.DataFrame:
        path = folder / f"{name}.parquet"
        made = is_made(path.name, config, cohort)
        table = read_optional(path, columns) if made else pd.DataFrame(columns=columns)
        return rows_of_models(table, real)

    def of_real(name: str, columns: list[str] | None = None, **options: Any) -> pd.DataFrame:
        return read_of_models(folder, real, f"{name}.parquet", columns, **options)

    about = cohort_facts(require(folder / "cohort.h5ad"))
    with_components = real if config["map"]["components"] else []

    def of_components(name: str, columns: list[str], **options: Any) -> pd.DataFrame:
        place = f"{name}.parquet"
        return read_of_models(folder, with_components, place, columns, optional=real, **options)

    verdicts = always("verdicts.parquet", needed.VERDICTS)
    performance = rows_of_models(always("performance.parquet"), everyone)
    profiles = always("profile_agreement.parquet", needed.PROFILE_AGREEMENT)
    mine = profiles["seed_a"].isin(seeds) & profiles["seed_b"].isin(seeds)
    effects, donor_effects, type_effects = _effects(folder, seeds)
    candidates = "search/candidates.parquet"
    return Tables(
        cohort=cohort,
        config=config,
        about=about,
        obs=read_obs(folder / "cohort.h5ad"),
        qc=always("qc.tsv"),
        qc_histograms=always("qc_histograms.tsv", needed.HISTOGRAMS),
        donors=always("donors.tsv", needed.DONORS),
        coverage=always("coverage.tsv"),
        history=of_real("model/history", add_model=True),
        performance=performance[performance["donor_id"] == "all"],
        spikes=_spikes(folder, everyone, arms),
        candidates=read_of_models(folder, everyone, candidates, optional=arms),
        paths=of_real("search/paths", needed.PATHS),
        origins=of_real("search/origins", needed.ORIGINS),
        other_inputs=of_real("search/other_inputs", needed.OTHER_INPUTS),
        stability=always("stability.parquet", needed.STABILITY),
        spike_stability=rows_of_models(
            always("spike_stability.parquet", needed.SPIKE_STABILITY), everyone
        ),
        spike_summary=rows_of_models(
            always("spike_summary.parquet", needed.SPIKE_SUMMARY), everyone
        ),
        profile_agreement=profiles[mine].reset_index(drop=True),
        effects=effects,
        donor_effects=donor_effects,
        type_effects=type_effects,
        quantization=_quantization(folder, config, cohort, about),
        pairs=of_real("prune/pairs", needed.PAIRS),
        metrics=of_real("prune/metrics", needed.METRICS, rows=needed.ZEROED),
        recovery=of_real("prune/recovery", needed.RECOVERY),
        family_effects=of_real("prune/family_effects", needed.FAMILY_EFFECTS),
        verdicts=rows_of_models(verdicts, real),
        arm_verdicts=rows_of_models(verdicts, arms),
        controls=read_optional(folder / "controls.parquet", needed.CONTROLS),
        genes=of_real("map/gene_scores", needed.GENES, rows={"cell_type": "all"}, optional=real),
        control_units=of_real("map/control_units", needed.CONTROL_UNITS, optional=real),
        components=of_components("components/component_effects", needed.COMPONENTS),
        component_pathways=of_components(
            "component_links/component_pathways",
            needed.COMPONENT_PATHWAYS,
            rows={"view": "contribution"},
        ),
        component_stages=of_components(
            "component_links/component_stages", needed.COMPONENT_STAGES, rows={"primary": True}
        ),
        pathways=gathered("pathways", needed.PATHWAYS),
        set_overlaps=of_real("enrich/set_overlaps", needed.SET_OVERLAPS, optional=real),
        stages=gathered("stages", needed.STAGE_TESTS),
        stage_donors=_stage_donors(folder, real, config["stages"]["min_cells"]),
        change_points=gathered("change_points", needed.CHANGE_POINTS),
        stage_order=gathered("stage_order", needed.STAGE_ORDER),
        external=gathered("external", needed.EXTERNAL),
        spatial=gathered("spatial", needed.SPATIAL),
        biomarkers=read_optional(folder / "biomarkers.tsv", needed.BIOMARKERS),
        view_agreement=gathered("view_agreement", needed.VIEW_AGREEMENT),
        gene_ranks=gathered("gene_ranks", needed.GENE_RANKS),
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
    names = needed.OF_COHORT + [
        f"{model}/{name}" for model in real + arms for name in needed.OF_MODEL
    ]
    names += [f"{model}/{name}" for model in real for name in needed.OF_REAL_MODEL]
    quantized = quantized_models(config, cohort)
    names += [f"{arm}/{seed}/{needed.OF_QUANTIZED_MODEL}" for arm, seed in quantized]
    files = {name: folder / name for name in names if is_made(name, config, cohort)}
    if replication_dir is not None:
        tables = [f"{name}.parquet" for name in needed.REPLICATION]
        files |= {f"replication/{name}": Path(replication_dir) / name for name in tables}
    return {name: path for name, path in files.items() if path.exists()}


def _spikes(folder: Path, models: Models, optional: Models) -> pd.DataFrame:
    """Read the spikes over all cells; a site whose median is zero has no ratio."""
    whole = {"group_by": "all"}
    table = read_of_models(folder, models, "search/spikes.parquet", needed.SPIKES, whole, optional)
    return table[np.isfinite(table["ratio"].astype(float))].reset_index(drop=True)


def _effects(folder: Path, seeds: list[int]) -> list[pd.DataFrame]:
    """Summarise the zeroing effects model by model: all of them at once may be large."""
    zeroed = {"mode": "zero", "weight_set": ["candidate", "random"]}
    found = []
    for seed in seeds:
        edits = read(folder / "real" / str(seed) / "prune/effects.parquet", needed.EFFECTS, zeroed)
        own = edits[edits["weight_set"] == "candidate"]
        found.append((mean_effect(edits), donor_effect(own), cell_type_effect(own)))
    return [pd.concat(tables, ignore_index=True) for tables in zip(*found, strict=True)]


def _stage_donors(folder: Path, real: Models, min_cells: int) -> pd.DataFrame:
    rows = {"depth": AS_MEASURED, "cell_type": "all"}
    scores = read_of_models(
        folder, real, "map/donor_scores.parquet", needed.DONOR_SCORES, rows, real
    )
    return held_out(scores[scores["n_cells"] >= min_cells]).reset_index(drop=True)


def _quantization(
    folder: Path, config: dict[str, Any], cohort: str, about: dict[str, Any]
) -> pd.DataFrame:
    models = quantized_models(config, cohort)
    return quantization_effects(
        read_of_models(folder, models, needed.OF_QUANTIZED_MODEL, needed.QUANTIZATION),
        statistics=SimpleNamespace(**config["statistics"]),
        donors_are_units=about["split_unit"] == "donor",
    )


def _replication(folder: str | Path | None, cohort: str) -> dict[str, pd.DataFrame]:
    """Read the comparisons that this cohort takes part in."""
    tables = {}
    for name, wanted in needed.REPLICATION.items():
        table = pd.DataFrame(columns=wanted)
        if folder is not None:
            table = read(Path(folder) / f"{name}.parquet", wanted)
        mine = (table["cohort_a"] == cohort) | (table["cohort_b"] == cohort)
        tables[name] = table[mine].reset_index(drop=True)
    return tables
