"""Difference of many genes between cases and controls, by one linear model each, and its null."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

GENE_NULL = (
    "OLS t-test of diagnosis, larger of classical and HC3 error, donors as units (two-sided)"
)
_TOGETHER = 200  # permutations that are computed at once


@dataclass(frozen=True)
class Residuals:
    """Expression and diagnosis with the covariates taken out of both.

    Attributes
    ----------
    expression
        Donors × genes, float64.
    diagnosis
        Shape (donors,).
    basis
        Orthonormal basis of constant and covariates, donors × (1 + covariates).
    """

    expression: np.ndarray
    diagnosis: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(cls, expression: np.ndarray, diagnosis: np.ndarray, covariates: np.ndarray) -> Residuals:
        """Take covariates (donors × covariates, full rank) and the mean out of both."""
        centred = covariates - covariates.mean(0)
        columns = [np.ones(len(diagnosis)), *(centred / np.linalg.norm(centred, axis=0)).T]
        basis = np.linalg.qr(np.column_stack(columns))[0]
        expression, diagnosis = (np.asarray(x, float) for x in (expression, diagnosis))
        return cls(_without(basis, expression), _without(basis, diagnosis), basis)

    @property
    def freedom(self) -> int:
        """Residual degrees of freedom of a gene's model."""
        return len(self.diagnosis) - self.basis.shape[1] - 1

    def t(self, diagnosis: np.ndarray | None = None) -> np.ndarray:
        """Return the t statistic of diagnosis for every gene, shape (..., genes).

        Parameters
        ----------
        diagnosis
            Diagnoses without covariates, shape (..., donors); the true one by default.
        """
        x = self.diagnosis if diagnosis is None else diagnosis
        r = (x @ self.expression) / np.linalg.norm(x, axis=-1, keepdims=True)
        r = np.clip(r / np.linalg.norm(self.expression, axis=0), -1, 1)
        with np.errstate(divide="ignore"):
            return r * np.sqrt(self.freedom / (1 - r**2))

    def permuted_t(self, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield t statistics after permuting diagnosis among donors, some permutations × genes.

        What the covariates leave of the diagnosis is permuted, and the covariates are taken out of
        it once more; the expression of a donor stays together, and so does the correlation of
        genes. Without covariates this permutes the labels themselves. Source: B. Smith's method in
        Winkler et al. 2014, NeuroImage 92, 381–397.
        """
        for start in range(0, n, _TOGETHER):
            size = min(_TOGETHER, n - start)
            shuffled = rng.permuted(np.tile(self.diagnosis, (size, 1)), axis=1)
            yield self.t(_without(self.basis, shuffled.T).T)


def slopes(expression: np.ndarray, residuals: Residuals) -> pd.DataFrame:
    """Return each gene's difference between cases and controls in standard deviations.

    Ordinary least squares of expression / SD(expression) on diagnosis and covariates
    (Frisch–Waugh–Lovell); equal to statsmodels' OLS. The standard error is the larger of the
    classical one and HC3, as in `scsw.biology.stages.mixed_slope`: cases and controls may differ
    in spread.

    Returns
    -------
    pandas.DataFrame
        ``effect, effect_low, effect_high`` (95 % t interval) and ``p`` (two-sided); ``t``, with
        the classical error, by which genes are compared with one another; one row per gene.
    """
    t, x = residuals.t(), residuals.diagnosis
    spread = np.asarray(expression, float).std(0, ddof=1)
    effect = (x @ residuals.expression) / (x @ x) / spread
    left = residuals.expression - np.outer(x, effect * spread)
    error = np.linalg.norm(left, axis=0) / np.sqrt(residuals.freedom * (x @ x)) / spread
    hat = np.square(residuals.basis).sum(1) + np.square(x) / (x @ x)
    if hat.max() < 1 - 1e-8:  # else a donor is fitted exactly, of which HC3 knows nothing
        weighted = (x / (1 - hat))[:, None] * left
        error = np.maximum(error, np.linalg.norm(weighted, axis=0) / (x @ x) / spread)
    reach = stats.t.ppf(0.975, residuals.freedom) * error
    with np.errstate(divide="ignore"):
        p = 2 * stats.t.sf(np.abs(effect / error), residuals.freedom)
    return pd.DataFrame(
        {
            "effect": effect,
            "effect_low": effect - reach,
            "effect_high": effect + reach,
            "t": t,
            "p": p,
        }
    )


def _without(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values - basis @ (basis.T @ values)
