"""Preranked gene-set enrichment analysis (GSEA) with p-values that can never be zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from gseapy.gse import prerank_rs

from scsw.biology.gene_sets import Library

NULL = "gene permutation"
# gseapy holds genes × permutations numbers at once: 60 MB for 15,000 genes and this many.
_BATCH = 500


def preranked(
    ranking: pd.Series, sets: Mapping[str, Library], *, permutations: int, seed: int
) -> pd.DataFrame:
    """Run gseapy's preranked GSEA over all sets.

    Enrichment score, normalised score and leading edge are gseapy's (weight 1, as in
    Subramanian et al. 2005). gseapy reports p = k/n over the n permuted scores of the same sign,
    which is 0 when none is as large; here p = (k + 1)/(n + 1) from the same permuted scores
    (Phipson and Smyth 2010). gseapy's core is called directly because only it hands these out,
    and because `gseapy.prerank` would sort tied genes anew and may change the case of names.

    Parameters
    ----------
    ranking
        z-scores, index = genes, in descending order.
    sets
        Library → set → genes within the ranking.
    permutations
        Number of gene permutations; the same ones serve every set. About half of the permuted
        scores have the sign of the observed one, so the smallest p is near 2/permutations.
    seed
        Seed of the permutations.

    Returns
    -------
    pandas.DataFrame
        ``library, gene_set, n_genes_in_set, n_overlap, statistic, p, leading_edge``, one row per
        set. ``statistic`` is the normalised enrichment score; ``n_overlap`` is the size of the
        leading edge. Where all z-scores of a set are zero the score is NaN and p is 1.
        ``permuted_above, permuted_below`` are the mean sizes of the permuted scores of either
        sign, by which scores are normalised.
    """
    genes, z = ranking.index.astype(str).tolist(), ranking.tolist()
    rows = []
    for library, members in sets.items():
        observed = _score(genes, z, members, 0, 0)
        null = _permuted_scores(genes, z, members, permutations, seed)
        for found in observed:
            edge = _leading_edge(found.es, np.asarray(found.run_es), found.hits)
            permuted = null[found.term]
            normalised, p = _against_same_sign(found.es, permuted)
            rows.append(
                {"library": library, "gene_set": found.term, "n_overlap": len(edge)}
                | {"n_genes_in_set": len(members[found.term]), "statistic": normalised, "p": p}
                | {"leading_edge": ";".join(genes[place] for place in edge)}
                | {"permuted_above": _mean_size(permuted[permuted >= 0])}
                | {"permuted_below": _mean_size(permuted[permuted < 0])}
            )
    return pd.DataFrame(rows)


def _score(
    genes: list[str], z: list[float], members: Library, permutations: int, seed: int
) -> list[Any]:
    # Sets are cut to the ranking and chosen by size already, hence the open limits.
    limits = (1, len(genes))
    return prerank_rs(genes, z, dict(members), 1.0, *limits, permutations, 1, seed).summaries


def _permuted_scores(
    genes: list[str], z: list[float], members: Library, permutations: int, seed: int
) -> dict[str, np.ndarray]:
    """Return the permuted scores of each set, drawn in batches that bound the memory."""
    starts = range(0, permutations, _BATCH)
    seeds = np.random.SeedSequence(seed).generate_state(len(starts))
    batches: dict[str, list[float]] = {name: [] for name in members}
    for start, batch_seed in zip(starts, seeds, strict=True):
        size = min(_BATCH, permutations - start)
        for found in _score(genes, z, members, size, int(batch_seed)):
            batches[found.term].extend(found.esnull)
    return {name: np.asarray(scores) for name, scores in batches.items()}


def _against_same_sign(score: float, permuted: np.ndarray) -> tuple[float, float]:
    """Return the normalised score and the add-one p against permuted scores of its sign."""
    if np.isnan(score):
        return score, 1.0
    same_sign = permuted[permuted >= 0] if score >= 0 else permuted[permuted < 0]
    as_large = np.count_nonzero(np.abs(same_sign) >= abs(score))
    p = (as_large + 1) / (len(same_sign) + 1)
    mean = _mean_size(same_sign)
    return (score / mean if mean > 0 else float("nan")), p


def _mean_size(scores: np.ndarray) -> float:
    return float(np.abs(scores).mean()) if len(scores) else 0.0


def _leading_edge(score: float, running: np.ndarray, hits: list[int]) -> list[int]:
    """Return the places of the set's genes up to the peak (down to it for a negative score)."""
    if np.isnan(score):
        return []
    if score >= 0:
        return [place for place in hits if place <= running.argmax()]
    return [place for place in hits if place >= running.argmin()][::-1]
