"""Whether the genes that the simulator ties to disease stage rank high for some candidate."""

from __future__ import annotations

from typing import Any

import pandas as pd
from scipy.stats import mannwhitneyu

from scsw.biology.tables import benjamini_hochberg
from scsw.cohort.simulation.expression import STAGE_EFFECTS


def planted_genes() -> set[str]:
    """Return the genes whose expression the simulator changes with disease stage."""
    return {gene for genes, _ in STAGE_EFFECTS.values() for gene in genes}


def planted_ranks(ranks: pd.DataFrame, alpha: float) -> dict[str, Any]:
    """Compare the combined ranks of the planted genes with those of the others.

    Parameters
    ----------
    ranks
        ``seed, candidate_id, gene, combined_rank`` of ``gene_ranks.parquet``.
    alpha
        Level of the false discovery rate, Benjamini–Hochberg over the candidates.

    Returns
    -------
    dict
        ``n_planted`` (genes by design), ``n_ranked`` (most of them that a candidate ranks),
        ``n_candidates, n_passed`` and ``largest``: the largest probability that a planted gene
        ranks before another one (one-sided Mann–Whitney test, genes as units).
    """
    planted = planted_genes()
    found = []
    for _, own in ranks.groupby(["seed", "candidate_id"]):
        mine = own["gene"].isin(planted)
        first, others = own.loc[mine, "combined_rank"], own.loc[~mine, "combined_rank"]
        if len(first) and len(others):
            test = mannwhitneyu(others, first, alternative="greater")
            share = test.statistic / (len(first) * len(others))
            found.append((len(first), share, test.pvalue))
    table = pd.DataFrame(found, columns=["n", "share", "p"])
    q = benjamini_hochberg(table["p"])
    return {
        "n_planted": len(planted),
        "n_ranked": int(table["n"].max()) if len(table) else 0,
        "n_candidates": len(table),
        "n_passed": int((q <= alpha).sum()),
        "largest": float(table["share"].max()) if len(table) else None,
    }
