"""Scores of the Alzheimer's axes per donor: as expressed, and as a candidate reads them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scsw.biology.stages.axes import AXES, AXIS_SCORES, EXPRESSION
from scsw.biology.stages.cell_activity import CellActivity
from scsw.biology.stages.donor_facts import assay_shares, donor_facts

_COUNTS_PER_CELL = 1e4


def expression_scores(cells: AnnData, genes: Mapping[str, np.ndarray], depth: str) -> pd.DataFrame:
    """Score each axis per donor: mean over its cells and genes of ln(1 + counts per 10,000).

    Parameters
    ----------
    cells
        Raw counts of any donors: no model is involved.
    genes
        Columns of each axis, from `axis_genes`.
    depth
        Written into every row.

    Returns
    -------
    pandas.DataFrame
        `AXIS_SCORES`, one row per axis and donor with a cell of the axis.
    """
    counts = sparse.csr_matrix(cells.X)
    totals = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
    parts = []
    for axis, own in genes.items():
        mine = _of_axis(cells.obs, axis)
        if len(own) and mine.any():
            scaled = counts[mine][:, own].multiply(_COUNTS_PER_CELL / totals[mine][:, None])
            of_cell = np.asarray(scaled.tocsr().log1p().mean(1)).ravel()
            donors = pd.Series(of_cell).groupby(_donors(cells.obs[mine])).mean()
            parts.append(_rows(cells.obs[mine], axis, EXPRESSION, len(own), donors, depth))
    return _joined(parts)


def candidate_scores(
    cells: AnnData,
    genes: Mapping[str, np.ndarray],
    candidates: pd.DataFrame,
    activity: CellActivity,
    depth: str,
) -> pd.DataFrame:
    """Score each axis per donor and candidate: mean of w·h over the tokens of its genes.

    Parameters
    ----------
    cells
        The held-out cells that `activity` is of.
    genes, depth
        As in `expression_scores`.
    """
    parts = []
    for axis, own in genes.items():
        mine = _of_axis(cells.obs, axis)
        if not (len(own) and mine.any()):
            continue
        donor = _donors(cells.obs[mine])
        tokens = pd.Series(activity.axis_tokens[axis][mine]).groupby(donor).sum()
        sums = pd.DataFrame(activity.axis_sum[axis][mine]).groupby(donor).sum()
        means = sums.div(tokens.where(tokens > 0), axis=0)
        for index, name in enumerate(candidates["candidate_id"].astype(str)):
            parts.append(_rows(cells.obs[mine], axis, name, len(own), means[index], depth))
    return _joined(parts)


def _of_axis(obs: pd.DataFrame, axis: str) -> np.ndarray:
    _, cell_class, start = AXES[axis]
    types = obs["cell_type"].astype(str).str.casefold()
    own = obs["cell_class"].astype(str).eq(cell_class) & types.str.startswith(start)
    return own.to_numpy()


def _donors(obs: pd.DataFrame) -> np.ndarray:
    return obs["donor_id"].astype(str).to_numpy()


def _rows(
    obs: pd.DataFrame, axis: str, source: str, n_genes: int, score: pd.Series, depth: str
) -> pd.DataFrame:
    about = obs.groupby(_donors(obs)).agg(
        n_cells=("n_genes", "size"),
        split=("split", lambda x: x.iloc[0] if x.nunique() == 1 else "both"),
        median_genes=("n_genes", "median"),
        pct_mito=("pct_mito", "median"),
        assay_shares=("assay", assay_shares),
    )
    told = {"depth": depth, "source": source, "axis": axis, "n_genes": n_genes, "score": score}
    table = about.assign(**told).join(donor_facts(obs)).rename_axis("donor_id").reset_index()
    return table[AXIS_SCORES]


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    if parts:
        return pd.concat(parts, ignore_index=True)
    texts = "depth source axis donor_id split assay_shares sex".split()
    dtypes = {name: "object" if name in texts else "float64" for name in AXIS_SCORES}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
