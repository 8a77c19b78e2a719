import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import kstest

from scsw.biology.stages.change_point import MIN_BEYOND, Series, fit, order_probability, resampled


def make_series(point, *, n=60, slope=8.0, noise=0.5, seed=0, covariates=0):
    rng = np.random.default_rng(seed)
    place = np.sort(rng.uniform(0.15, 0.93, n))
    values = slope * np.maximum(0, place - point) + noise * rng.normal(size=n)
    return Series(values, place, rng.normal(size=(n, covariates)))


def fitted(series, n_draws=200, seed=0):
    return fit(series, n_draws=n_draws, rng=np.random.default_rng(seed))


def test_the_fit_is_the_best_of_all_least_squares_fits():
    series = make_series(0.5, covariates=2)
    found = fitted(series)
    y = series.values / series.values.std(ddof=1)
    small = sm.OLS(y, sm.add_constant(series.covariates)).fit()
    fits = {}
    for point in series.points:
        hinge = np.maximum(0, series.place - point)
        x = sm.add_constant(np.column_stack([hinge, series.covariates]))
        fits[point] = sm.OLS(y, x).fit()
    best = min(fits, key=lambda point: fits[point].ssr)
    assert found.point == best
    assert found.slope == pytest.approx(fits[best].params[1])
    assert found.f == pytest.approx(fits[best].compare_f_test(small)[0])


def test_a_planted_change_point_is_found_with_its_interval():
    series = make_series(0.55, n=80)
    found = fitted(series)
    assert found.point == pytest.approx(0.55, abs=0.06) and found.p < 0.01
    weights = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80), 400)
    points, slopes = resampled(series, weights.astype(float))
    low, high = np.percentile(points, [2.5, 97.5])
    assert low < 0.55 < high and high - low < 0.25
    assert np.percentile(slopes, 2.5) > 0


def test_a_resample_is_the_fit_of_the_donors_drawn():
    series = make_series(0.4, covariates=1)
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 60, 60)
    weights = np.bincount(rows, minlength=60)[None].astype(float)
    (point,), (slope,) = resampled(series, weights)
    y = (series.values / series.values.std(ddof=1))[rows]
    ssr = {}
    for candidate in series.points:
        x = np.column_stack([np.maximum(0, series.place - candidate), series.covariates])[rows]
        ssr[candidate] = sm.OLS(y, sm.add_constant(x)).fit()
    best = min(ssr, key=lambda place: ssr[place].ssr)
    assert point == best and slope == pytest.approx(ssr[best].params[1])


@pytest.mark.parametrize("covariates", [0, 2])
def test_p_is_uniform_for_a_flat_series(covariates):
    p = [
        fitted(make_series(0.5, n=30, slope=0, seed=s, covariates=covariates), seed=s).p
        for s in range(200)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


def test_a_flat_series_whose_spread_grows_has_no_change_point():
    """As where late donors have fewer cells. Permuted donors let 25 % pass."""
    passed = []
    for seed in range(200):
        flat = make_series(0.5, n=40, slope=0, seed=seed)
        spread = np.exp(3 * (flat.place - flat.place.min()))
        series = Series(flat.values * spread, flat.place, flat.covariates)
        passed.append(fitted(series, seed=seed).p <= 0.05)
    assert np.mean(passed) < 0.1


def test_a_straight_line_changes_from_the_start():
    series = make_series(0.0, noise=0.2)
    found = fitted(series)
    assert found.point < series.place.min() + 0.1 and found.p < 0.01


def test_donors_lie_beyond_every_point():
    series = make_series(0.5)
    assert all((series.place > point).sum() >= MIN_BEYOND for point in series.points)
    assert series.points[0] == series.place.min()


def test_order_probability_counts_ties_as_chance():
    a, b, c = np.array([1, 2, 3, 1.0]), np.array([2, 2, 1, 1.0]), np.array([3, 3, 0, 1.0])
    assert order_probability([a, b]) == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert order_probability([a, b, c]) == pytest.approx((1 + 0.5 + 0 + 1 / 6) / 4)
    assert order_probability([a, np.full(4, np.nan)]) != order_probability([a, b])
    assert np.isnan(order_probability([a, np.full(4, np.nan)]))


def test_a_resample_without_a_covariate_that_varies_is_fitted_all_the_same():
    series = make_series(0.5, n=20)
    sex = np.zeros((20, 1))
    sex[3] = 1
    series = Series(series.values, series.place, sex)
    weights = np.ones((1, 20))
    weights[0, 3], weights[0, 4] = 0, 2
    points, slopes = resampled(series, weights)
    assert np.isfinite(points).all() and np.isfinite(slopes).all()
    same = resampled(Series(series.values, series.place, np.zeros((20, 0))), weights)
    assert slopes == pytest.approx(same[1])
