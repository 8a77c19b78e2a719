"""A candidate's activity per donor and cell type, for the tests against disease stage."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from anndata import AnnData

from scsw.biology.stages.cell_activity import CellActivity
from scsw.biology.stages.donor_facts import PLACE, assay_shares, donor_facts, places


def donor_scores(
    cells: AnnData, candidates: pd.DataFrame, activity: CellActivity, depth: str
) -> pd.DataFrame:
    """Average contribution and spike of each candidate over the cells of a donor.

    Parameters
    ----------
    cells
        Discovery and test cells, as they are or thinned.
    candidates
        The frozen family.
    activity
        Of these cells.
    depth
        ``as measured`` or ``thinned``; written into every row.

    Returns
    -------
    pandas.DataFrame
        Contract: ``donor_scores.parquet`` without its first three columns. ``cell_type`` is a
        type, or ``all`` for the whole class; ``region`` is ``all``, or one of several.
    """
    names = candidates["candidate_id"].astype(str)
    own = places(cells.obs)
    facts = donor_facts(cells.obs)
    measures = pd.DataFrame(
        np.hstack([activity.contribution, activity.spike]),
        columns=pd.MultiIndex.from_product([["contribution", "spike"], names]),
    )
    parts = []
    for type_of, region_of in product((False, True), (False, True)):
        if region_of and own["region"].nunique() == 1:
            continue  # it would say the same as "all"
        keys = own.assign(
            cell_type=own["cell_type"] if type_of else "all",
            region=own["region"] if region_of else "all",
        )
        keys = [keys[name] for name in PLACE]
        about = _about(cells.obs, keys)
        means = measures.groupby(keys).mean()
        for name in names:
            both = {measure: means[(measure, name)] for measure in ("contribution", "spike")}
            parts.append(about.assign(candidate_id=name, **both).reset_index())
    if not parts:
        return _empty()
    table = pd.concat(parts, ignore_index=True).join(facts, on="donor_id")
    table.insert(0, "depth", depth)
    return table


def _about(obs: pd.DataFrame, keys: list[pd.Series]) -> pd.DataFrame:
    """Return what is known of each group of cells, whatever the candidate."""
    groups = obs.reset_index(drop=True).groupby(keys)
    return groups.agg(
        n_cells=("n_genes", "size"),
        split=("split", _one_or_both),
        median_genes=("n_genes", "median"),
        median_counts=("total_counts", "median"),
        pct_mito=("pct_mito", "median"),
        assay_shares=("assay", assay_shares),
    )


def _one_or_both(split: pd.Series) -> str:
    """Return the split of a donor's cells; `both` where cells and not donors were split."""
    return str(split.iloc[0]) if split.nunique() == 1 else "both"


def _empty() -> pd.DataFrame:
    texts = ["depth", *PLACE, "candidate_id", "split", "assay_shares", "sex"]
    numbers = "n_cells median_genes median_counts pct_mito contribution spike".split()
    numbers += "adnc braak thal cerad cognition cps apoe_e4 apoe_e2 age_death pmi".split()
    dtypes = dict.fromkeys(texts, "object") | dict.fromkeys(numbers, "float64")
    dtypes |= dict.fromkeys(["age_censored", "is_reference"], "bool")
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
