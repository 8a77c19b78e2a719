"""How often the donor interval holds the truth; prints the table of docs/verdicts.md.

Run with ``python -m scsw.superweight.verdict.interval_coverage``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from scsw.superweight.verdict.statistics import studentised_interval

DONORS = (10, 16, 40)
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
# Donor effects and their true mean. The lognormal has a skewness of 6. A donor with few cells has
# a noisier mean; the numbers of cells are lognormal too, with σ = 1.5.
EFFECTS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(1, 1, shape), 1.0),
    "lognormal": (lambda rng, shape: rng.lognormal(0, 1, shape), math.exp(0.5)),
    "unequal cells": (lambda rng, shape: rng.normal(1, rng.lognormal(0, 1.5, shape) ** -0.5), 1.0),
}
SIMULATIONS, RESAMPLES, SEED = 10_000, 1000, 0


def coverage(
    effects: str, n_donors: int, *, simulations: int, seed: int, n_resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Simulate donors again and again, and look where the truth lies.

    Parameters
    ----------
    effects
        A name of `EFFECTS`.
    n_donors
        Donors of each simulation.
    simulations
        Number of simulations.
    seed
        Of the donors; the resamples of simulation i are seeded with i.
    n_resamples
        Resamples of each interval.

    Returns
    -------
    tuple of float
        Share of the 95 % intervals that hold the true mean, that lie above it, and below it.
    """
    draw, truth = EFFECTS[effects]
    values = draw(np.random.default_rng([seed, n_donors]), (simulations, n_donors))
    bounds = np.array(
        [studentised_interval(x, n_resamples=n_resamples, seed=i) for i, x in enumerate(values)]
    )
    above, below = (bounds[:, 0] > truth).mean(), (bounds[:, 1] < truth).mean()
    return float(1 - above - below), float(above), float(below)


def coverage_table() -> str:
    """Return the table as Markdown."""
    lines = [
        "| donor effects | donors | holds the truth | lies above it | lies below it |",
        "|---|---|---|---|---|",
    ]
    for effects in EFFECTS:
        for n in DONORS:
            shares = coverage(effects, n, simulations=SIMULATIONS, seed=SEED)
            lines.append(f"| {effects} | {n} | " + " | ".join(f"{s:.1%}" for s in shares) + " |")
    return "\n".join(lines).replace("%", " %")


if __name__ == "__main__":
    print(coverage_table())
