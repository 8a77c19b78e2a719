"""Tables that show quality control and the donor split: measures of cells, and one row a donor."""

from __future__ import annotations

import numpy as np
import pandas as pd

_LOG_EDGES = np.concatenate([[0], np.round(10 ** np.arange(0, 6.01, 0.1), 3), [np.inf]])
_EDGES = {
    "n_genes": _LOG_EDGES,
    "total_counts": _LOG_EDGES,
    "pct_mito": np.concatenate([np.arange(0, 20, 0.25), np.arange(20, 101, 5)]),
    "doublet_score": np.concatenate([np.arange(0, 1, 0.02), [1, np.inf]]),
}
_OF_DONOR = (
    "split sex age_death age_censored pmi apoe_genotype braak thal cerad adnc cognition cps "
    "is_reference study"
).split()


def qc_histograms(obs: pd.DataFrame, keep: np.ndarray) -> pd.DataFrame:
    """Count cells by their measures, kept and dropped ones apart.

    Parameters
    ----------
    obs
        ``n_genes, total_counts, pct_mito, doublet_score`` of all cells of the source.
    keep
        Which cells passed quality control; bool, shape (cells,).

    Returns
    -------
    pandas.DataFrame
        ``measure, low, high, kept, dropped``, one row per bin from `low` up to but without `high`
        (the last bin of ``pct_mito`` includes it). Bins are fixed, so that cohorts compare; empty
        ones at either end and measures that the source lacks are left out.
    """
    tables = [_histogram(name, obs[name].to_numpy(float), keep) for name in _EDGES]
    return pd.concat(tables, ignore_index=True)


def donor_table(obs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per donor of a finished cohort, sorted by split and donor.

    Parameters
    ----------
    obs
        Harmonised annotation with splits.

    Returns
    -------
    pandas.DataFrame
        ``donor_id, n_cells, n_cell_types`` and the donor's properties. Where cells were divided
        and not donors, a donor has one row per split.
    """
    key = ["split", "donor_id"]
    first = ~obs.duplicated(key)
    people = obs.loc[first, ["donor_id", *_OF_DONOR]].astype(dict.fromkeys(key, str))
    grouped = obs.groupby(key, sort=True, observed=True)["cell_type"]
    sizes = grouped.agg(n_cells="size", n_cell_types="nunique").reset_index()
    return sizes.astype(dict.fromkeys(key, str)).merge(people, on=key).sort_values(key)


def _histogram(name: str, values: np.ndarray, keep: np.ndarray) -> pd.DataFrame:
    edges, known = _EDGES[name], ~np.isnan(values)
    kept, dropped = (
        np.histogram(values[known & chosen], edges)[0].astype(np.int64) for chosen in (keep, ~keep)
    )
    table = pd.DataFrame(
        {"measure": name, "low": edges[:-1], "high": edges[1:], "kept": kept, "dropped": dropped}
    )
    filled = np.flatnonzero(kept + dropped)
    return table.iloc[filled[0] : filled[-1] + 1] if len(filled) else table.iloc[:0]
