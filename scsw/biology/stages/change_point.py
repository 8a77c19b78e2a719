"""The point of a score from which on a donor-level series changes; before it, it is flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NULL = "signs of donors' residuals flipped (wild bootstrap), largest F over change points"
MIN_BEYOND = 5  # donors beyond a change point; fewer would let a donor or two make one
_MOST_POINTS = 40
_CHUNK = 500  # resamples that are in memory together
_TINY = 1e-9


@dataclass(frozen=True)
class Series:
    """A donor-level series: value, place along the score, and covariates.

    Attributes
    ----------
    values
        Shape (donors,), in any unit.
    place
        Score of each donor, such as CPS, shape (donors,).
    covariates
        Shape (donors, covariates); no intercept.
    """

    values: np.ndarray
    place: np.ndarray
    covariates: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """Change points that are tried, ascending; the first is the smallest score seen.

        At least `MIN_BEYOND` donors lie beyond each. At the first one the series is a straight
        line: it changes from the start of what was seen.
        """
        places = np.unique(self.place)
        beyond = (self.place[None] > places[:, None]).sum(1)
        places = places[beyond >= min(MIN_BEYOND, beyond[0])]
        if len(places) > _MOST_POINTS:
            rows = np.unique(np.linspace(0, len(places) - 1, _MOST_POINTS).round().astype(int))
            places = places[rows]
        return places

    @property
    def fixed(self) -> np.ndarray:
        """Intercept and covariates, each of them centred and of unit spread."""
        centred = self.covariates - self.covariates.mean(0)
        spread = centred.std(0)
        ones = np.ones((len(self.place), 1))
        return np.hstack([ones, centred / np.where(spread > 0, spread, 1)])

    @property
    def hinges(self) -> np.ndarray:
        """max(0, score − point), shape (donors, points)."""
        return np.maximum(0.0, self.place[:, None] - self.points[None])


@dataclass(frozen=True)
class Fit:
    """The best change point: where it is, slope beyond it, F of the slope, p of the F."""

    point: float
    slope: float
    f: float
    p: float


def fit(series: Series, *, n_draws: int, rng: np.random.Generator) -> Fit:
    """Fit value = a + covariates + b·max(0, score − point) by least squares over the points.

    The point is not known beforehand, so the F of b is compared with the largest F over points
    when the signs of the residuals of the model without b are flipped at random (wild bootstrap;
    Davidson and Flachaire 2008). That keeps what the covariates explain, and how much donors vary
    at each place: those beyond a point may vary more, and permuted donors would not know it. p is
    (k + 1)/(n + 1). The family of tests over a point that exists only under the alternative is
    Davies' (1987) problem.

    Parameters
    ----------
    series
        The series; its values are scaled to standard deviations first, so that the slope is in
        these per unit of score.
    n_draws
        Number of draws of all signs.
    rng
        Source of chance.
    """
    values = series.values / series.values.std(ddof=1)
    basis = _basis(series.fixed)
    hinges = _without(series.hinges, basis)
    rest = _without(values[:, None], basis)[:, 0]
    df = len(values) - basis.shape[1] - 1
    gains, slopes = _gains(hinges, rest[:, None])
    best = int(gains[:, 0].argmax())
    observed = _f(gains.max(0), rest @ rest, df)[0]
    signs = rng.choice([-1.0, 1.0], size=(n_draws, len(values)))
    flipped = _without((rest * signs).T, basis)
    drawn = _f(_gains(hinges, flipped)[0].max(0), (flipped**2).sum(0), df)
    p = (1 + int((drawn >= observed * (1 - _TINY)).sum())) / (1 + n_draws)
    return Fit(float(series.points[best]), float(slopes[best, 0]), float(observed), p)


def resampled(series: Series, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit the change point again in resampled donors.

    Parameters
    ----------
    series
        The series.
    weights
        How often each donor was drawn, shape (resamples, donors).

    Returns
    -------
    tuple of numpy.ndarray
        Change point and slope of each resample, shape (resamples,); NaN where the donors drawn
        leave nothing to fit.
    """
    values = series.values / series.values.std(ddof=1)
    found = [
        _fit_weighted(values, series.fixed, series.hinges, part)
        for part in np.array_split(weights, max(1, len(weights) // _CHUNK))
    ]
    best, slopes = (np.concatenate(x) for x in zip(*found, strict=True))
    points = np.where(np.isnan(slopes), np.nan, series.points[best])
    return points, slopes


def order_probability(points: list[np.ndarray]) -> float:
    """Return how often the change points come in the order given, over resamples.

    A resample in which k of them are equal counts 1/k! of the orders that they could be in.

    Parameters
    ----------
    points
        Change points of each series in the same resamples, in the order expected.
    """
    stacked = np.stack(points)
    stacked = stacked[:, ~np.isnan(stacked).any(0)]
    if not stacked.shape[1]:
        return float("nan")
    steps = np.diff(stacked, axis=0)
    in_order = (steps >= 0).all(0)
    share = np.ones(stacked.shape[1])
    run = np.ones(stacked.shape[1])
    for step in steps:
        run = np.where(step == 0, run + 1, 1)
        share = share / run  # 1/k! of a run of k
    return float(np.where(in_order, share, 0.0).mean())


def _fit_weighted(
    values: np.ndarray, fixed: np.ndarray, hinges: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    root = np.sqrt(weights)[:, :, None]
    u, sizes, _ = np.linalg.svd(root * fixed[None], full_matrices=False)
    u = u * (sizes > _TINY * sizes[:, :1])[:, None]
    parts = root * np.concatenate([hinges, values[:, None]], axis=1)[None]
    parts = parts - u @ (u.transpose(0, 2, 1) @ parts)
    hinges, rest = parts[:, :, :-1], parts[:, :, -1:]
    norms = (hinges**2).sum(1)
    products = (hinges * rest).sum(1)
    usable = norms > _TINY * np.maximum(norms.max(1, keepdims=True), _TINY)
    slopes = np.divide(products, norms, out=np.zeros_like(products), where=usable)
    gains = slopes * products
    best = gains.argmax(1)
    chosen = slopes[np.arange(len(best)), best]
    return best, np.where(usable.any(1), chosen, np.nan)


def _basis(fixed: np.ndarray) -> np.ndarray:
    u, sizes, _ = np.linalg.svd(fixed, full_matrices=False)
    return u[:, sizes > _TINY * sizes[0]]


def _without(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return columns - basis @ (basis.T @ columns)


def _gains(hinges: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much each hinge lowers the sum of squares, and its slope: (points, series)."""
    norms = (hinges**2).sum(0)[:, None]
    products = hinges.T @ rest
    usable = norms > _TINY * norms.max()
    slopes = np.divide(products, norms, out=np.zeros_like(products), where=usable)
    return slopes * products, slopes


def _f(gain: np.ndarray, total: np.ndarray | float, df: int) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(gain / (np.maximum(total - gain, 0) / df), posinf=np.inf)
