"""Columns of the tables this folder writes, and the few operations that all of them need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from scsw.errors import ScswError

_MODEL = {"cohort": "text", "arm": "text", "seed": "int64"}
_TEST = {"p": "float64", "q": "float64", "null": "text"}
_PAIR_OF_COHORTS = {"cohort_a": "text", "cohort_b": "text", "n_shared_donors": "int64"}
_PAIR_OF_MODELS = {**_PAIR_OF_COHORTS, "seed_a": "int64", "seed_b": "int64"}
_PAIR = {"candidate_a": "text", "candidate_b": "text"}

# Depths of the cells that donors are scored on.
AS_MEASURED, THINNED = "as measured", "thinned"

POWER = 0.8  # with which the smallest detectable slope would have been found

# Columns that are read of gene_scores.parquet, where rows over all cells are used.
GENE_SCORES = "cohort arm seed candidate_id view cell_type gene score z q".split()

PATHWAYS = {
    **_MODEL,
    **dict.fromkeys(["candidate_id", "view", "method", "library", "gene_set"], "text"),
    **{"n_genes_in_set": "int64", "n_overlap": "int64", "statistic": "float64"},
    **_TEST,
    "leading_edge": "text",
    "primary": "bool",
    **dict.fromkeys(["calibrated_p", "calibrated_q", "empirical_fdr"], "float64"),
    **{"n_controls": "int64", "calibrated_floor": "float64", "calibrated_null": "text"},
}
SET_OVERLAPS = {
    **dict.fromkeys(["library_a", "set_a", "library_b", "set_b"], "text"),
    **{"n_a": "int64", "n_b": "int64", "n_shared": "int64", "jaccard": "float64"},
    "shared": "text",
}
STAGES = {
    **_MODEL,
    **dict.fromkeys("candidate_id depth measure cell_class cell_type stage".split(), "text"),
    **{"primary": "bool", "n_donors": "int64", "n_regions": "int64", "n_age_censored": "int64"},
    "covariates": "text",
    **dict.fromkeys(["beta", "beta_low", "beta_high", "se", "df", "detectable"], "float64"),
    **dict.fromkeys(["beta_unadjusted", "p_unadjusted"], "float64"),
    **_TEST,
    **{"status": "text", "reason": "text", "survives_thinning": "text"},
}
CHANGE_POINTS = {
    **_MODEL,
    **dict.fromkeys("depth source axis gene_set cell_class".split(), "text"),
    **{"n_genes": "int64", "n_donors": "int64", "covariates": "text"},
    **dict.fromkeys(["change_point", "change_low", "change_high"], "float64"),
    "at_start": "bool",
    **dict.fromkeys(["slope", "slope_low", "slope_high"], "float64"),
    **_TEST,
    **{"status": "text", "reason": "text"},
}
STAGE_ORDER = {
    **_MODEL,
    **dict.fromkeys(["depth", "source", "order"], "text"),
    **{"n_donors": "int64", "probability": "float64", "chance": "float64"},
    **{"status": "text", "reason": "text"},
}
COMPONENT_PATHWAYS = {
    **_MODEL,
    **{"block": "int64"},
    **dict.fromkeys(["component", "view", "library", "gene_set"], "text"),
    **{"primary": "bool", "n_genes_in_set": "int64", "n_overlap": "int64", "statistic": "float64"},
    **_TEST,
    **{"share_of_components": "float64", "leading_edge": "text"},
}
COMPONENT_STAGES = {
    **_MODEL,
    **{"block": "int64", "component": "text"},
    **{name: kind for name, kind in STAGES.items() if name not in (*_MODEL, "candidate_id")},
}
REPLICATED_CANDIDATES = {
    **_PAIR_OF_MODELS,
    **{"shared_start": "bool", "by": "text", "measure": "text"},
    **{"n": "int64", "n_a": "int64", "n_b": "int64"},
    **{"statistic": "float64", "expected": "float64"},
    **_TEST,
}
REPLICATED_GENES = {
    **_PAIR_OF_MODELS,
    **_PAIR,
    **{"causal_a": "bool", "causal_b": "bool"},
    **{"shared_start": "bool", "same_coordinate": "bool"},
    **{"view": "text", "n_genes": "int64", "spearman": "float64"},
    **_TEST,
    **{"n_controls": "int64", "unit_p": "float64", "unit_q": "float64", "unit_null": "text"},
}
REPLICATED_PATHWAYS = {
    **_PAIR_OF_MODELS,
    **_PAIR,
    **{"shared_start": "bool", "library": "text", "n_sets": "int64", "spearman": "float64"},
    **_TEST,
}
REPLICATED_STAGES = {
    **_PAIR_OF_MODELS,
    **_PAIR,
    **{"cell_class": "text", "stage": "text"},
    **{"beta_a": "float64", "beta_b": "float64", "same_sign": "bool"},
    **_TEST,
}
REPLICATED_STAGE_RANKS = {
    **_PAIR_OF_MODELS,
    **{"stage": "text", "n_pairs": "int64", "n_classes": "int64", "spearman": "float64"},
    **{"p": "float64", "p_floor": "float64", "q": "float64", "null": "text"},
}
REPLICATION_SUMMARY = {
    **_PAIR_OF_COHORTS,
    **{"level": "text", "statistic_is": "text", "statistic": "float64"},
    **{"n": "int64", "n_models": "int64", "n_models_agree": "int64"},
    **_TEST,
    **{"independent": "bool", "outcome": "text"},
}
BIOMARKERS = {
    **{"gene": "text", "rank": "Int64", "grade": "text", "seeds": "int64"},
    **{"seed": "Int64", "candidate_id": "text", "verdict": "text"},
    **{"combined_rank": "float64", "n_genes": "Int64"},
    **{f"read_in_{name}": "float64" for name in ("z", "q", "unit_q")},
    "read_in_passes": "boolean",
    **{f"write_out_{name}": "float64" for name in ("z", "q", "unit_q")},
    "write_out_passes": "boolean",
    **{"direction_z": "float64", "n_pathways": "int64", "pathway_test": "text"},
    **{"stage_q": "float64", "stage_class": "text", "stage_survives": "text"},
    **{"replication": "text", "n_replicated": "int64", "n_compared": "int64"},
    **{"gwas": "text", "statement": "text"},
}
GENE_RANKS = {
    **_MODEL,
    **{"candidate_id": "text", "gene": "text"},
    **{f"{view}_rank": "float64" for view in ("read_in", "write_out", "direction", "row")},
    **{"combined_score": "float64", "combined_rank": "float64", "n_genes": "int64"},
}
VIEW_AGREEMENT = {
    **_MODEL,
    **{"candidate_id": "text", "view_a": "text", "view_b": "text", "n_genes": "int64"},
    **{"spearman": "float64", "null_spearman": "float64"},
    **_TEST,
    **{"top_a": "int64", "top_b": "int64", "overlap": "int64", "expected": "float64"},
    **{"overlap_p": "float64", "overlap_q": "float64", "overlap_null": "text"},
    **{"n_controls": "int64", "control_spearman": "float64", "control_p": "float64"},
    **{"control_q": "float64", "control_null": "text"},
}


def typed(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]], columns: Mapping[str, str]
) -> pd.DataFrame:
    """Return `rows` with exactly these columns, in this order, each of its dtype.

    Parameters
    ----------
    rows
        A table or an iterable of rows; it may be empty.
    columns
        Column → pandas dtype, or ``"text"``.
    """
    table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if table.empty:
        table = pd.DataFrame(columns=list(columns))
    # An empty column of objects has no Arrow type, hence the explicit string type there.
    text = "string" if table.empty else "object"
    dtypes = {name: text if kind == "text" else kind for name, kind in columns.items()}
    return table[list(columns)].astype(dtypes).reset_index(drop=True)


def one_model(*tables: pd.DataFrame) -> dict[str, Any]:
    """Return the ``cohort, arm, seed`` that the tables share; empty if all tables are empty.

    Raises
    ------
    ScswError
        If the tables describe more than one model.
    """
    rows = [row for t in tables for row in t[list(_MODEL)].drop_duplicates().to_dict("records")]
    models = [row for place, row in enumerate(rows) if row not in rows[:place]]
    if len(models) > 1:
        raise ScswError(
            f"the tables describe more than one model: {models}",
            expected="tables of one cohort, arm and seed",
            fix="give the files of one folder <cohort>/<arm>/<seed>",
        )
    return models[0] if models else {}


def benjamini_hochberg(p: pd.Series) -> pd.Series:
    """Return Benjamini–Hochberg q-values of one family; a missing p stays missing.

    Source: `statsmodels.stats.multitest.multipletests` (``fdr_bh``) over the p-values given.
    """
    q = pd.Series(np.nan, index=p.index, dtype=float)
    given = p.notna()
    if given.any():
        q[given] = multipletests(p[given].to_numpy(float), method="fdr_bh")[1]
    return q


def benjamini_hochberg_once(p: pd.Series, test: pd.Series) -> pd.Series:
    """Return q-values of one family in which the rows of one `test` count once and share their q.

    Parameters
    ----------
    p
        p-values; a missing one stays missing.
    test
        What tells the tests apart, index as `p`.
    """
    given = test[p.notna()]
    first = given.index[~given.duplicated()]
    q = benjamini_hochberg(p[first])
    return p.index.to_series().map(given.map(dict(zip(given[first], q, strict=True))))


def measured_unit(candidates: pd.Series, measure: pd.Series | str) -> pd.Series:
    """Return what a measure of a candidate is of, by name.

    The contribution w·h of the weights of one column differs by a factor only, and the spike of
    those of one row is one and the same, so that tests of them are one test.

    Parameters
    ----------
    candidates
        Names such as ``ffn_down.b1.r17.c12``.
    measure
        ``contribution``, ``spike`` or another, one for all or one for each.
    """
    names, of = candidates.astype(str), pd.Series(measure, index=candidates.index)
    column, row = (names.str.replace(rf"\.{x}\d+", "", regex=True) for x in "rc")
    return names.mask(of.eq("contribution"), column).mask(of.eq("spike"), row)
