"""Which tables a report is made of, and which of their columns it reads."""

from __future__ import annotations

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
    "detectable_effect causal_below unresolved wanda_n wanda_max row_neighbour_n "
    "row_neighbour_max noise_n noise_mean structural causal verdict reason partner"
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
ZEROED = {"weight_set": "candidate", "mode": "zero", "by": "all"}
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
    *"measure cell_class stage primary beta detectable p q status survives_thinning".split(),
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
    *"covariates beta beta_low beta_high se df detectable p q null status reason".split(),
    "survives_thinning",
]
DONOR_SCORES = [
    *CANDIDATE,
    *"donor_id cell_class region split is_reference n_cells contribution adnc braak".split(),
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
    "read_in_unit_q read_in_passes write_out_z write_out_q write_out_unit_q write_out_passes "
    "n_pathways pathway_test stage_q stage_survives replication n_replicated n_compared "
    "gwas statement"
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
    "map/gene_scores.parquet map/control_units.parquet map/donor_scores.parquet "
    "enrich/set_overlaps.parquet "
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
