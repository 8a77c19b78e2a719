"""Gene scores of a candidate against those of hidden units, or edits, that are like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNIT_NULL = {
    "read_in": "hidden units of the block nearest in firing rate and mean activation, pooled over "
    "units and genes (unit-level)",
    "write_out": "the same change made to other output channels (equal L2), pooled over channels "
    "and genes (unit-level)",
}
# A unit that is like n others is the most extreme of all once in n + 1 times, and then most of its
# genes are as well; with 19 that is 1 in 20.
FEWEST_UNITS = 19


@dataclass(frozen=True)
class AgainstUnits:
    """One candidate against its controls, gene by gene, each of shape (genes,).

    Attributes
    ----------
    mean, sd
        Of the controls' z.
    z
        Relative difference of the candidate's z from them.
    p
        Its p-value.
    n
        Number of controls.
    """

    mean: np.ndarray
    sd: np.ndarray
    z: np.ndarray
    p: np.ndarray
    n: int


def against_units(own: np.ndarray, others: np.ndarray) -> AgainstUnits:
    """Compare a candidate's z with those of its controls.

    ``z = (own - mean) / (sd + s0)`` over the controls of a gene, where s0 is the median of sd over
    genes: the relative difference of Tusher, Tibshirani & Chu (2001), in which a gene that few
    units read cannot stand out by its small sd alone. Each control is compared with the candidate
    and the other controls in the same way, and ``p = (1 + number of |z| of all controls and genes
    that are as large) / (1 + n * genes)``.
    If the candidate is a unit like its controls, a gene's p is uniform on average over genes, and
    Benjamini-Hochberg's q compares how many genes pass with how many pass in a control.

    Parameters
    ----------
    own
        z of the candidate, float, shape (genes,).
    others
        z of the controls, float, shape (n, genes).

    Returns
    -------
    AgainstUnits
        All NaN with fewer than 19 controls or where genes could not be matched.
    """
    n, n_genes = others.shape
    nothing = np.full(n_genes, np.nan)
    if n < FEWEST_UNITS or not n_genes or np.isnan(own).any():
        return AgainstUnits(nothing, nothing, nothing, nothing, n)
    every = np.vstack([own, others])
    z = _relative_differences(every)
    pooled = np.sort(np.abs(z[1:]), axis=None)
    as_large = pooled.size - np.searchsorted(pooled, np.abs(z[0]) * (1 - 1e-12), side="left")
    p = (1 + as_large) / (1 + pooled.size)
    return AgainstUnits(others.mean(0), others.std(0, ddof=1), z[0], p, n)


def _relative_differences(values: np.ndarray) -> np.ndarray:
    """Return that of each row from all others, of the shape of `values`."""
    n = len(values) - 1
    values = values - values.mean(0)  # so that the squares keep their digits
    others = -values / n  # mean of the others: the rows add up to zero
    squares = np.square(values)
    variance = (squares.sum(0) - squares - n * np.square(others)) / (n - 1)
    sd = np.sqrt(np.maximum(variance, 0))
    spread = sd + np.median(sd, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (values - others) / spread, 0.0)
