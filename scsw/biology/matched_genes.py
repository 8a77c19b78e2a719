"""A null for gene scores: genes of like detection rate and expression.

How often a gene is detected and in which bin it stands shape nearly everything a model does with
its token, so a gene is compared with its neighbours in these two, not with all genes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import t

from scsw.biology.tables import benjamini_hochberg

MATCHED_NULL = "Student t against genes matched on detection rate and mean bin (gene-level)"
_FEWEST_GENES = 20
# Smallest spread of a gene's neighbours, as a share of the spread over all genes. Without one, a
# unit that is silent at all of them would give the gene an infinite z, or none.
_SMALLEST_SPREAD = 0.1


def neighbours(detection_rate: np.ndarray, mean_bin: np.ndarray, k: int) -> np.ndarray | None:
    """Return for each gene the rows of its `k` nearest genes, itself left out.

    Parameters
    ----------
    detection_rate
        Share of cells that detect the gene, shape (genes,).
    mean_bin
        Mean expression bin where detected, shape (genes,).
    k
        Number of matched genes.

    Returns
    -------
    numpy.ndarray or None
        int, shape (genes, k); None with fewer than 20 genes, where nothing can be matched.
    """
    n = detection_rate.size
    if n < _FEWEST_GENES:
        return None
    rate = np.clip(detection_rate, 0.5 / 1e4, 1 - 0.5 / 1e4)
    features = np.column_stack([np.log(rate / (1 - rate)), mean_bin])
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    k = min(k, n - 1)
    found = cKDTree(features).query(features, k + 1)[1]
    # With equal features a gene need not be its own nearest neighbour.
    own = found == np.arange(n)[:, None]
    own[~own.any(1), -1] = True
    return found[~own].reshape(n, k)


def matched_z(scores: np.ndarray, matched: np.ndarray | None) -> np.ndarray:
    """Return each gene's prediction t statistic against its matched genes.

    ``z = (score - mean) / (sd * sqrt(1 + 1/k))``, where sd is that of the k matched genes, and at
    least a tenth of the sd over all genes.

    Parameters
    ----------
    scores
        Shape (genes,).
    matched
        Of `neighbours`.

    Returns
    -------
    numpy.ndarray
        Float64, shape (genes,): NaN where nothing could be matched, 0 where all scores are equal.
    """
    if matched is None:
        return np.full(scores.size, np.nan)
    others = scores[matched]
    spread = np.maximum(others.std(axis=1, ddof=1), _SMALLEST_SPREAD * scores.std(ddof=1))
    spread *= np.sqrt(1 + 1 / matched.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (scores - others.mean(axis=1)) / spread, 0.0)


def n_passing(z: np.ndarray, matched: np.ndarray | None, alpha: float) -> float:
    """Return how many genes of one unit or edit stand out, if it were tested alone.

    Parameters
    ----------
    z, matched
        Of `matched_z` and `neighbours`.
    alpha
        Level of Benjamini-Hochberg's q over these genes.

    Returns
    -------
    float
        NaN where nothing could be matched.
    """
    if matched is None:
        return np.nan
    p = pd.Series(2 * t.sf(np.abs(z), matched.shape[1] - 1))
    return float((benjamini_hochberg(p) <= alpha).sum())


def score_against_neighbours(scores: np.ndarray, matched: np.ndarray | None) -> pd.DataFrame:
    """Compare each gene's score with those of its matched genes.

    `matched_z`, with k - 1 degrees of freedom; two-sided p; Benjamini-Hochberg over the genes
    given.

    Returns
    -------
    pandas.DataFrame
        ``z`` (the t statistic), ``p``, ``q``, ``null``; NaN where nothing could be matched.
    """
    z = matched_z(scores, matched)
    table = pd.DataFrame({"z": z, "p": np.nan})
    if matched is not None:
        table["p"] = 2 * t.sf(np.abs(z), matched.shape[1] - 1)
    table["q"] = benjamini_hochberg(table["p"])
    return table.assign(null=MATCHED_NULL)
