"""Over-representation analysis (ORA) of a gene list against an explicit background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from gseapy.stats import calc_pvalues

from scsw.biology.gene_sets import Library

NULL = "hypergeometric, background = genes scored"


def over_representation(
    query: Sequence[str], background: Sequence[str], sets: Mapping[str, Library]
) -> pd.DataFrame:
    """Test each gene set for more genes of the query than chance would give.

    The p-values come from gseapy's own function, P(X ≥ overlap) of the hypergeometric
    distribution. It leaves out sets without any overlap, for which P(X ≥ 0) = 1; they are added
    with p = 1, since they were tested too and belong to the family that is corrected.

    Parameters
    ----------
    query
        Genes of the list, strongest first; all of them in the background.
    background
        All genes scored.
    sets
        Library → set → genes within the background.

    Returns
    -------
    pandas.DataFrame
        ``library, gene_set, n_genes_in_set, n_overlap, statistic, p, leading_edge``, one row per
        set. ``statistic`` is the odds ratio with 0.5 added to each cell (Haldane–Anscombe), as
        in gseapy; ``leading_edge`` lists the overlap, strongest first.
    """
    rows = []
    for library, members in sets.items():
        found = calc_pvalues(set(query), members, set(background))
        p_of = {term: float(p) for term, p, *_ in zip(*found, strict=True)}
        for term, genes in members.items():
            in_set = set(genes)
            overlap = [gene for gene in query if gene in in_set]
            hit, size, drawn = len(overlap), len(genes), len(query)
            outside = len(background) - size - drawn + hit
            odds = (hit + 0.5) * (outside + 0.5) / ((size - hit + 0.5) * (drawn - hit + 0.5))
            rows.append(
                {"library": library, "gene_set": term, "n_genes_in_set": size}
                | {"n_overlap": hit, "statistic": odds, "p": p_of.get(term, 1.0)}
                | {"leading_edge": ";".join(overlap)}
            )
    return pd.DataFrame(rows)
