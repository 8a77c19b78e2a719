"""One order of genes per candidate out of its three views: each side of the weight counts once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from scsw.biology.ranking import strengths
from scsw.biology.replicate.matching import profiles

# What a view tells of the weight: what switches its hidden unit on (column), or what its output
# channel does (row). Write-out hangs on the hidden unit too, so that the sides are not independent.
SIDES = {"column": ("read_in",), "row": ("write_out", "direction")}
ALL_VIEWS = tuple(view for views in SIDES.values() for view in views)


def combined_ranking(gene_scores: pd.DataFrame) -> pd.DataFrame:
    """Return the combined rank of every gene for every candidate of one model.

    Borda's rule, the mean of ranks (see Lin 2010, *Rank aggregation methods*, WIREs Computational
    Statistics 2, 555), in two levels: write-out and direction, which both follow from the row,
    are averaged and ranked again, and their rank is averaged with that of read-in. So the row does
    not count twice for being looked at in two ways. Ranks are shares of the number of genes; ties
    share their mean rank, so that a view in which nothing differs moves no gene.

    Parameters
    ----------
    gene_scores
        Rows over all cells of ``gene_scores.parquet``, one model.

    Returns
    -------
    pandas.DataFrame
        ``candidate_id, gene, read_in_rank, write_out_rank, direction_rank, row_rank,
        combined_score, combined_rank, n_genes``, sorted by candidate, rank and gene. Genes are
        those with a z-score in every view that the candidate has; the ranks of a view that it
        has not are NaN. `combined_score` lies in (0, 1], small is strong.
    """
    by_view = {view: strengths(profiles(gene_scores, view), view) for view in ALL_VIEWS}
    candidates = sorted({name for table in by_view.values() for name in table.columns})
    tables = [
        _one_candidate({v: t[name] for v, t in by_view.items() if name in t}).assign(
            candidate_id=name
        )
        for name in candidates
    ]
    names = ["candidate_id", "gene", *[f"{view}_rank" for view in ALL_VIEWS]]
    names += ["row_rank", "combined_score", "combined_rank", "n_genes"]
    if not tables:
        return pd.DataFrame(columns=names)
    return pd.concat(tables, ignore_index=True)[names]


def _one_candidate(strength: Mapping[str, pd.Series]) -> pd.DataFrame:
    scored = pd.DataFrame(strength).dropna()
    n = len(scored)
    ranks = {view: _ranks(-scored[view]) for view in scored.columns}
    table = pd.DataFrame({f"{v}_rank": ranks.get(v, np.full(n, np.nan)) for v in ALL_VIEWS})
    own = {
        side: _ranks(np.mean([ranks[view] for view in views if view in ranks], axis=0))
        for side, views in SIDES.items()
        if any(view in ranks for view in views)
    }
    score = np.mean(list(own.values()), axis=0) / max(n, 1)
    table = table.assign(
        gene=scored.index.to_numpy(str),
        row_rank=own.get("row", np.full(n, np.nan)),
        combined_score=score,
        combined_rank=_ranks(score),
        n_genes=n,
    )
    return table.sort_values(["combined_rank", "gene"], ignore_index=True)


def _ranks(values: np.ndarray | pd.Series) -> np.ndarray:
    # Rounding keeps the last digits of a mean from breaking a tie.
    return rankdata(np.round(np.asarray(values, float), 9))
