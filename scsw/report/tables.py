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
from scsw.report.effects import cell_type_effect, mean_effect
from scsw.report.names import control_models, quantized_models, real_seeds
from scsw.superweight.quantization.quantization_effects import quantization_effects

MODEL = ["cohort", "arm", "seed"]
CANDIDATE = [*MODEL, "candidate_id"]
OBS = "cell_type split n_genes total_counts pct_mito".split()
HISTOGRAMS = "measure low high kept dropped".split()
DONORS = ("split donor_id n_cells sex braak thal cerad adnc cognition is_reference study").split()
SPIKES = [*MODEL, *"block site channel group_by ratio top_gene".split()]
STABILITY = ("candidate_id found_in share_of_seeds comparable origin counts_as_agreement").split()
SPIKE_STABILITY = [
    *MODEL,
    *"start block site channel ratio passes origin share_of_donors n_donors".split(),
    *"share_of_cell_types n_cell_types share_of_regions n_regions cls_ratio genes_ratio".split(),
    "counts_as_agreement",
]
SPIKE_SUMMARY = [
    *MODEL,
    *"start n_spikes n_inherited n_acquired n_lost largest_ratio n_hidden_spikes".split(),
    "largest_hidden_ratio",
]
PROFILE_AGREEMENT = (
    "seed_a seed_b n_units firing_rate control_firing_rate mean_correlation control_mean "
    "control_low control_high p null"
).split()
EFFECTS = (
    "arm seed weight_set candidate_id family block row column donor_id cell_type n_cells sum_d_nll"
).split()
VERDICTS = (
    "cohort arm seed rank candidate_id family block row column found_by effect_nll effect_low "
    "effect_high effect_mean_nll effect_accuracy p q null n_test_donors n_controls min_effect "
    "detectable_effect unresolved wanda_n wanda_max row_neighbour_n row_neighbour_max noise_n "
    "noise_mean structural causal verdict reason partner"
).split()
RECOVERY = (
    "arm seed scope score n n_resolved spearman spearman_low spearman_high precision_at_10 "
    "chance_at_10 precision_at_100 chance_at_100"
).split()
FAMILY_EFFECTS = (
    "arm seed candidate_id family module effect_nll effect_low effect_high unresolved n_controls "
    "control_max p q"
).split()
METRICS = (
    "arm seed candidate_id metric intact pruned effect effect_low effect_high unresolved n_donors"
).split()
ZEROED = [("weight_set", "==", "candidate"), ("mode", "==", "zero"), ("by", "==", "all")]
PAIRS = "arm seed candidate_a candidate_b effect_joint excess excess_low excess_high masked".split()
QUANTIZATION = [
    *MODEL,
    *"bits block_size hold_out draw n_held_out n_changed donor_id cell_type n_cells".split(),
    *"sum_nll sum_nll_intact n_correct n_correct_intact".split(),
    *"n_masked sum_sq_error sum_sq_error_intact".split(),
]
GENES = [
    *CANDIDATE,
    *"view cell_type gene score z p q null unit_mean unit_sd unit_p unit_q unit_null".split(),
]
CONTROL_UNITS = [*CANDIDATE, *"view control n_passed own_passed".split()]
COMPONENT = [*MODEL, "block", "component"]
COMPONENTS = [
    *COMPONENT,
    *"effect_nll effect_low effect_high q control_nll excess_nll excess_q rank".split(),
    *"output_share spike_candidate spike_found_by attention_to_spike".split(),
    *"leading_genes n_significant_genes".split(),
]
COMPONENT_PATHWAYS = [*COMPONENT, *"library gene_set primary p q share_of_components".split()]
COMPONENT_STAGES = [
    *COMPONENT,
    *"measure cell_class stage primary beta p q status survives_thinning".split(),
]
PATHWAYS = [
    *CANDIDATE,
    *"view method library gene_set n_genes_in_set n_overlap statistic p q null primary".split(),
    *"calibrated_p calibrated_q empirical_fdr n_controls calibrated_floor".split(),
]
SET_OVERLAPS = "library_a set_a library_b set_b n_a n_b n_shared jaccard".split()
STAGE_TESTS = [
    *CANDIDATE,
    *"depth measure cell_class cell_type stage primary n_donors n_age_censored".split(),
    *"covariates beta beta_low beta_high detectable p q null status reason".split(),
    "survives_thinning",
]
CHANGE_POINTS = [
    *MODEL,
    *"depth source axis n_donors change_point change_low change_high at_start slope".split(),
    *"slope_low slope_high p q null status reason".split(),
]
STAGE_ORDER = [
    *MODEL,
    *"depth source order n_donors probability chance status reason".split(),
]
EXTERNAL = [
    *CANDIDATE,
    *"view external tissue cell_class test gene n_tested n_ad n_control diagnosis".split(),
    *"covariates effect effect_low effect_high p q null status reason".split(),
]
SPATIAL = [
    *CANDIDATE,
    *"spatial step measure cell_type gene_set stage axis n_genes n_cells n_donors".split(),
    *"value low high p q null status reason".split(),
]
CONTROLS = [
    *MODEL,
    *"expectation found_rank candidate_id verdict n_causal passed outcome".split(),
]
BIOMARKERS = (
    "gene rank grade seeds seed candidate_id combined_rank n_genes read_in_z read_in_q "
    "read_in_passes write_out_z write_out_q write_out_passes n_pathways pathway_test stage_q "
    "stage_survives replication n_replicated n_compared gwas statement"
).split()
VIEW_AGREEMENT = [
    *CANDIDATE,
    *"view_a view_b n_genes spearman null_spearman p q null overlap expected overlap_q".split(),
    *"overlap_null n_controls control_spearman control_q control_null".split(),
]
GENE_RANKS = [*CANDIDATE, "gene", "combined_rank"]
PATHS = [
    *CANDIDATE,
    *"block site amplitude rank amplitude_pruned rank_pruned".split(),
]
ORIGINS = [*MODEL, *"block site row spike_ratio family".split()]
OTHER_INPUTS = [*MODEL, *"kind rank candidate_id found_by in_family".split()]
OF_COHORT = (
    "cohort.h5ad qc.tsv qc_histograms.tsv donors.tsv coverage.tsv verdicts.parquet "
    "performance.parquet stability.parquet spike_stability.parquet spike_summary.parquet "
    "profile_agreement.parquet pathways.parquet stages.parquet "
    "change_points.parquet stage_order.parquet controls.parquet biomarkers.tsv "
    "view_agreement.parquet gene_ranks.parquet external.parquet spatial.parquet"
).split()
OF_MODEL = "search/spikes.parquet search/candidates.parquet".split()
OF_REAL_MODEL = (
    "model/history.parquet search/paths.parquet search/origins.parquet search/other_inputs.parquet "
    "prune/effects.parquet prune/pairs.parquet prune/recovery.parquet prune/metrics.parquet "
    "prune/family_effects.parquet "
    "map/gene_scores.parquet map/control_units.parquet enrich/set_overlaps.parquet "
    "components/component_effects.parquet "
    "component_links/component_pathways.parquet component_links/component_stages.parquet"
).split()
OF_QUANTIZED_MODEL = "prune/quantization.parquet"
_MODELS = "cohort_a cohort_b n_shared_donors seed_a seed_b".split()
_MATCHED = [*_MODELS, "candidate_a", "candidate_b"]
REPLICATION = {
    "candidates": [*_MODELS, *"by measure n n_a n_b statistic expected p q null".split()],
    "genes": [
        *_MATCHED,
        *"causal_a causal_b view n_genes spearman p q null n_controls unit_p unit_q".split(),
        "unit_null",
    ],
    "pathways": [*_MATCHED, *"library n_sets spearman p q null".split()],
    "stages": [*_MATCHED, *"cell_class stage beta_a beta_b same_sign p q null".split()],
    "stage_ranks": [*_MODELS, *"stage n_pairs n_classes spearman p p_floor q null".split()],
    "summary": (
        "cohort_a cohort_b n_shared_donors level statistic_is statistic n n_models n_models_agree "
        "p q null independent outcome"
    ).split(),
}


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
