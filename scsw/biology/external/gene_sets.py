"""Whether the leading genes of a candidate differ more by diagnosis than genes like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scsw.biology.external.slopes import Residuals
from scsw.cohort.sampling import generator

LABEL_NULL = "diagnosis permuted among donors"
MATCHED_NULL = "random sets of genes matched on detection and expression"
FEWEST_GENES = 5  # of a set


def competitive_tests(
    sets: Mapping[tuple[str, ...], Sequence[int]],
    t: np.ndarray,
    matched: np.ndarray,
    residuals: Residuals,
    *,
    permutations: int,
    seed: int,
    names: tuple[str, ...],
) -> pd.DataFrame:
    """Test sets of genes against the genes that each of their members is matched with.

    The statistic is the mean over the set of ``|t| − mean |t| of the gene's matched genes``, those
    of the set itself left out. Two nulls, one-sided, p = (1 + as large) / (1 + drawn):

    - `LABEL_NULL`: all genes' t after permuting the diagnosis (`Residuals.permuted_t`). It keeps
      the correlation of genes, which makes a set's mean vary more than that of unrelated genes.
    - `MATCHED_NULL`: each gene of the set is replaced by one of its matched genes. It keeps what
      diagnosis does to all genes, but takes them as independent.

    A set stands out beyond its like only if it does against both.

    Parameters
    ----------
    sets
        Key of a set → columns of its genes, at least one.
    t
        t statistics of diagnosis, shape (genes,).
    matched
        Columns of each gene's matched genes, int, shape (genes, k).
    residuals
        What the t statistics were computed from.
    permutations
        Permutations, and random sets.
    seed, names
        Of the draws; `names` are the cohort's and the cell class's.

    Returns
    -------
    pandas.DataFrame
        ``key, effect, p, null``: two rows per set.
    """
    keys = list(sets)
    weights = np.zeros((len(t), len(keys)))
    allowed = [_allowed(np.asarray(sets[key]), matched) for key in keys]
    for column, own in enumerate(allowed):
        for gene, others in own.items():
            weights[gene, column] += 1 / len(own)
            np.add.at(weights[:, column], others, -1 / len(own) / len(others))
    observed = np.abs(t) @ weights
    beyond = np.zeros(len(keys))
    for permuted in residuals.permuted_t(permutations, generator(seed, *names)):
        # Equal sums can differ in their last digit; such a tie counts as reached.
        beyond += (np.abs(permuted) @ weights >= observed - 1e-12).sum(0)
    rows = []
    for column, (key, own) in enumerate(zip(keys, allowed, strict=True)):
        rng = generator(seed, *names, *key)
        like = sum(np.abs(t)[rng.choice(others, permutations)] for others in own.values())
        reached = (like >= np.abs(t)[list(own)].sum() - 1e-12).sum()
        for null, count in ((LABEL_NULL, beyond[column]), (MATCHED_NULL, reached)):
            p = (1 + count) / (1 + permutations)
            rows.append({"key": key, "effect": observed[column], "p": p, "null": null})
    return pd.DataFrame(rows, columns=["key", "effect", "p", "null"])


def _allowed(genes: np.ndarray, matched: np.ndarray) -> dict[int, np.ndarray]:
    """Return each gene's matched genes outside the set; genes without any are left out."""
    others = {int(gene): np.setdiff1d(matched[gene], genes) for gene in genes}
    return {gene: found for gene, found in others.items() if len(found)}
