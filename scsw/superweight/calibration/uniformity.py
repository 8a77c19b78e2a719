"""Whether rank p-values of blind candidates are uniform, with families and models as clusters."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint


def deviation(p: np.ndarray, n_controls: int) -> np.ndarray:
    """Return F(t) − t at every value t = k / (n + 1) that a rank p can have, shape (n + 1,).

    Parameters
    ----------
    p
        Add-one rank p-values against `n_controls` controls each.
    """
    ranks = np.rint(np.asarray(p) * (n_controls + 1)).astype(int)
    counts = np.bincount(ranks, minlength=n_controls + 2)[1:]
    grid = np.arange(1, n_controls + 2) / (n_controls + 1)
    return counts.cumsum() / counts.sum() - grid


def ks_distance(p: np.ndarray, n_controls: int) -> float:
    """Largest distance between the p-values' distribution and the uniform one on their grid."""
    return float(np.abs(deviation(p, n_controls)).max())


def family_ks(
    n_families: int, members: int, n_controls: int, *, draws: int, seed: int
) -> np.ndarray:
    """Draw KS distances of uniform p-values whose candidates share their family's controls.

    Candidates and controls of a family are exchangeable, and families independent: that is how
    blind candidates are drawn. So this is the distance's own null, dependence within families
    included.

    Returns
    -------
    numpy.ndarray
        Shape (draws,).
    """
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for i in range(draws):
        values = rng.random((n_families, members + n_controls))
        place = values.argsort(1).argsort(1)[:, :members]  # 0 is the smallest of all
        own = place.argsort(1).argsort(1)
        below = place - own  # controls that are smaller
        p = (1 + n_controls - below) / (n_controls + 1)
        found[i] = ks_distance(p.ravel(), n_controls)
    return found


def clustered_ks_p(table: pd.DataFrame, n_controls: int) -> float:
    """KS test with models as clusters: all signs of the models' deviations F(t) − t.

    Under the null each model's deviation curve is as likely as its negative, however the p-values
    of one model depend on one another; so the pooled distance is compared with that of every
    pattern of signs over models. Exact; the smallest p is 2 / 2ᵐ for m models.

    Parameters
    ----------
    table
        ``model`` and ``p``.
    """
    curves = np.array(
        [deviation(own["p"], n_controls) * len(own) for _, own in table.groupby("model")]
    )
    signs = np.array(list(itertools.product((1, -1), repeat=len(curves))))
    distances = np.abs(signs @ curves).max(1) / len(table)
    return float((distances >= distances[0] * (1 - 1e-9)).mean())


def uniformity(table: pd.DataFrame, n_controls: int, *, draws: int, seed: int) -> pd.DataFrame:
    """Test all p-values, and those of each scope, for uniformity.

    Parameters
    ----------
    table
        One row per blind candidate: ``model, family, scope, p``.
    n_controls
        Random controls of each family.
    draws, seed
        Of `family_ks`.

    Returns
    -------
    pandas.DataFrame
        ``scope, models, families, n, ks, p_families`` (null: families of exchangeable weights)``,
        p_models`` (null: signs of the models' deviations)``, share_05`` (share of p ≤ 0.05).
    """
    rows = []
    for scope in ("all", *sorted(table["scope"].unique())):
        own = table if scope == "all" else table[table["scope"] == scope]
        families = own.groupby(["model", "family"]).size()
        distance = ks_distance(own["p"], n_controls)
        null = family_ks(len(families), int(families.iloc[0]), n_controls, draws=draws, seed=seed)
        rows.append(
            {
                "scope": scope,
                "models": own["model"].nunique(),
                "families": len(families),
                "n": len(own),
                "ks": distance,
                "p_families": (1 + int((null >= distance).sum())) / (draws + 1),
                "p_models": clustered_ks_p(own, n_controls),
                "share_05": float((own["p"] <= 0.05).mean()),
            }
        )
    return pd.DataFrame(rows)


def share_with_bounds(n: int, of: int) -> tuple[float, float, float]:
    """Return a share and its 95 % Wilson interval."""
    low, high = proportion_confint(n, of, method="wilson")
    share = n / of
    return share, min(float(low), share), max(float(high), share)  # but for the last digit
