"""A slope over donors by least squares, or by a mixed model where donors have several regions.

Donors of one stage may differ more than those of another, if only because they have fewer cells.
Where that stage is rare, the classical standard error is then too small. So the slope is given the
larger of the classical standard error and HC3 (MacKinnon & White 1985), as Angrist & Pischke (2009,
Mostly Harmless Econometrics, section 8.1) advise for few units.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

_LEVERAGE = 1 - 1e-8  # of a donor that is fitted exactly, of which HC3 knows nothing


@dataclass(frozen=True)
class Slope:
    """A slope, its standard error, the degrees of freedom of its t-test, and its two-sided p."""

    beta: float
    se: float
    df: float

    @property
    def p(self) -> float:
        """Two-sided p of the t-test."""
        with np.errstate(divide="ignore"):  # an exact fit has no error
            return float(2 * stats.t.sf(np.abs(np.divide(self.beta, self.se)), self.df))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % t interval."""
        half = float(stats.t.ppf(0.975, self.df)) * self.se
        return self.beta - half, self.beta + half


def ols_slope(values: np.ndarray, terms: pd.DataFrame) -> Slope:
    """Fit ordinary least squares (statsmodels) and return the slope of the first term."""
    fit = sm.OLS(values, _with_constant(terms.to_numpy(float))).fit()
    return Slope(float(fit.params[1]), max(float(fit.bse[1]), _hc3(fit)), float(fit.df_resid))


def _hc3(fit) -> float:
    """Return the HC3 standard error of the first term, 0 where a donor is fitted exactly."""
    leverage = np.einsum("ij,jk,ik->i", fit.model.exog, fit.normalized_cov_params, fit.model.exog)
    return float(fit.HC3_se[1]) if leverage.max() < _LEVERAGE else 0.0


def mixed_slope(
    values: np.ndarray, terms: pd.DataFrame, donors: np.ndarray, n_between: int
) -> Slope | str:
    """Fit a linear mixed model with a random intercept per donor by REML (statsmodels).

    The stage is a property of the donor, so the slope is tested with the degrees of freedom of
    donors: their number, less the intercept and the `n_between` terms that describe donors. A
    normal distribution, as `MixedLM` assumes by itself, would be too narrow for few donors. HC3 is
    that of the donors' means with the regions taken out, which in a balanced design have the same
    slope.

    Parameters
    ----------
    values
        One per donor and region.
    terms
        Stage first, then covariates and regions; no intercept.
    donors
        Donor of each value.
    n_between
        Terms that count against the number of donors.

    Returns
    -------
    Slope or str
        The slope of the first term, or why there is none.
    """
    df = len(np.unique(donors)) - 1 - n_between
    # Unit scale: the optimiser's tolerances are absolute.
    spread = terms.std(ddof=0).to_numpy(float)
    scaled = (terms.to_numpy(float) - terms.mean().to_numpy(float)) / spread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is asked of the fit below
        try:
            fit = sm.MixedLM(values, _with_constant(scaled), groups=donors).fit(reml=True)
        except (np.linalg.LinAlgError, ValueError) as error:
            return f"the mixed model could not be fitted ({error})"
    beta, se = float(fit.fe_params[1]) / spread[0], float(fit.bse_fe[1]) / spread[0]
    if not (fit.converged and np.isfinite(beta) and np.isfinite(se) and se > 0):
        return "the mixed model did not converge"
    of_regions = scaled[:, n_between:] @ fit.fe_params[1 + n_between :]
    means = pd.DataFrame(scaled[:, :n_between]).assign(y=values - of_regions).groupby(donors).mean()
    between = sm.OLS(means.pop("y").to_numpy(), _with_constant(means.to_numpy())).fit()
    return Slope(beta, max(se, _hc3(between) / spread[0]), float(df))


def _with_constant(terms: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(terms)), terms])
