import numpy as np
import statsmodels.api as sm
from scipy import stats

from scsw.biology.external.slopes import Residuals, slopes


def data(n=24, genes=5, covariates=2, seed=0):
    rng = np.random.default_rng(seed)
    case = np.arange(n) % 2
    others = rng.normal(size=(n, covariates)) * [1, 1e5][:covariates] + case[:, None]
    return rng.normal(size=(n, genes)) + 0.5 * case[:, None] + others[:, :1], case, others


def test_slopes_equal_statsmodels():
    y, case, others = data()
    found = slopes(y, Residuals.of(y, case, others))
    for gene in range(y.shape[1]):
        scaled = y[:, gene] / y[:, gene].std(ddof=1)
        fit = sm.OLS(scaled, np.column_stack([np.ones(len(case)), case, others])).fit()
        se = max(fit.bse[1], fit.HC3_se[1])
        reach = stats.t.ppf(0.975, fit.df_resid) * se
        low, high = fit.params[1] - reach, fit.params[1] + reach
        p = 2 * stats.t.sf(abs(fit.params[1] / se), fit.df_resid)
        expected = [fit.params[1], low, high, fit.tvalues[1], p]
        np.testing.assert_allclose(found.iloc[gene].to_numpy(float), expected, rtol=1e-8)


def test_without_covariates_it_is_students_t_test():
    y, case, _ = data()
    found = slopes(y, Residuals.of(y, case, np.empty((len(case), 0))))
    t, _ = stats.ttest_ind(y[case == 1], y[case == 0])
    np.testing.assert_allclose(found["t"], t)


def test_a_group_that_is_small_and_varies_more_does_not_pass_too_often():
    rng = np.random.default_rng(0)
    case = np.r_[np.zeros(20, int), np.ones(5, int)]
    y = rng.normal(size=(25, 2000)) * np.where(case, 3.0, 1.0)[:, None]
    passed = (slopes(y, Residuals.of(y, case, np.empty((25, 0))))["p"] <= 0.05).mean()
    classical = (stats.ttest_ind(y[case == 1], y[case == 0])[1] <= 0.05).mean()
    assert passed < 0.09 and classical > 0.2


def test_permuted_t_is_that_of_permuted_labels():
    y, case, _ = data()
    residuals = Residuals.of(y, case, np.empty((len(case), 0)))
    (permuted,) = residuals.permuted_t(3, np.random.default_rng(5))
    labels = np.random.default_rng(5).permuted(np.tile(case, (3, 1)), axis=1)
    for found, label in zip(permuted, labels, strict=True):
        np.testing.assert_allclose(found, stats.ttest_ind(y[label == 1], y[label == 0])[0])


def test_permuted_t_is_made_in_parts_of_a_fixed_size():
    y, case, others = data()
    parts = list(Residuals.of(y, case, others).permuted_t(450, np.random.default_rng(0)))
    assert [len(part) for part in parts] == [200, 200, 50]


def test_the_permutation_p_of_a_gene_agrees_with_its_t_test():
    """Also where a covariate goes with the diagnosis."""
    y, case, others = data(n=60, genes=3, seed=2)
    residuals = Residuals.of(y, case, others)
    observed = np.abs(residuals.t())
    permuted = np.concatenate(list(residuals.permuted_t(4000, np.random.default_rng(1))))
    p = (1 + (np.abs(permuted) >= observed).sum(0)) / 4001
    np.testing.assert_allclose(p, slopes(y, residuals)["p"], atol=0.03)
