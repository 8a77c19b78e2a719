"""Whether candidates of two models read the same genes, beside units that fire like them.

Channels of models that began with different random weights are permuted, so gene profiles are
matched and not coordinates. Units that fire often agree by that alone, and all weights of a column
read the same; so hidden units are matched, and set against units of like firing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

DRAWS = 1000
COLUMNS = (
    "cohort seed_a seed_b comparable n_units n_controls n_genes firing_rate control_firing_rate "
    "mean_activation control_mean_activation mean_correlation control_mean control_low "
    "control_high p null"
).split()
NULL = (
    "each candidate's hidden unit or one of its controls, as likely, in its place: units of the "
    "same block nearest in firing rate and mean activation, matched in the same way"
)


def profile_agreement(
    profiles: Mapping[int, pd.DataFrame],
    *,
    cohort: str,
    one_start: bool,
    seed: int,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Match the gene profiles of the candidates' hidden units between every two seeds.

    A unit counts once, however many of its weights are candidates. Under the null a candidate unit
    is no other than its controls, which fire as often and as strongly. So in each draw one of each
    candidate unit and its controls, all as likely, stands in its place in both models, and these
    are matched in the same way. p = (1 + number of draws with a mean at least as large) /
    (1 + draws), one-sided.

    Parameters
    ----------
    profiles
        ``profiles.parquet`` of each fine-tuned model by its seed.
    cohort
        Written into every row.
    one_start
        Written as ``comparable``: models of one start may agree because they inherited it.
    seed
        Seed of the draws.
    draws
        Number of draws.

    Returns
    -------
    pandas.DataFrame
        Contract ``profile_agreement.parquet``; p and the null are missing where a model has no
        candidate, or a candidate unit has no control.
    """
    units = {number: _Units.of(table) for number, table in profiles.items()}
    rows = []
    for a, b in combinations(sorted(units), 2):
        rng = np.random.default_rng([seed, a, b])
        keys = {"cohort": cohort, "seed_a": a, "seed_b": b, "comparable": one_start}
        rows.append(keys | _agreement(units[a], units[b], rng, draws))
    return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class _Units:
    """One model's units: gene profiles (genes × units), and what each is and fires like."""

    profiles: pd.DataFrame
    about: pd.DataFrame

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Units:
        about = table.drop_duplicates(["block", "column"]).reset_index(drop=True)
        values = table.pivot(index="gene", columns=["block", "column"], values="profile")
        return cls(values[list(zip(about["block"], about["column"], strict=True))], about)

    def candidates(self) -> np.ndarray:
        """Return the places of the candidates' units."""
        return np.flatnonzero(self.about["unit_set"] == "candidate")

    def stand_ins(self) -> list[np.ndarray]:
        """Return, for each candidate unit, the places of itself and of its controls."""
        groups = self.about.groupby(["block", "of"]).indices
        own = self.about.iloc[self.candidates()]
        return [groups[place] for place in zip(own["block"], own["column"], strict=True)]


def _agreement(a: _Units, b: _Units, rng: np.random.Generator, draws: int) -> dict:
    sizes = correlation_sizes(a.profiles, b.profiles)
    observed = matched_mean(sizes, a.candidates(), b.candidates())
    stand_ins = [units.stand_ins() for units in (a, b)]
    n_controls = min((len(own) - 1 for model in stand_ins for own in model), default=0)
    result = {
        "n_units": min(len(model) for model in stand_ins),
        "n_controls": n_controls,
        "n_genes": len(a.profiles.index.union(b.profiles.index)),
        "firing_rate": _mean([a, b], "candidate", "firing_rate"),
        "control_firing_rate": _mean([a, b], "control", "firing_rate"),
        "mean_activation": _mean([a, b], "candidate", "mean_activation"),
        "control_mean_activation": _mean([a, b], "control", "mean_activation"),
        "mean_correlation": observed,
        "null": "",
    }
    if n_controls == 0 or np.isnan(observed):
        return result | dict.fromkeys(("control_mean", "control_low", "control_high", "p"), np.nan)
    drawn = [np.column_stack([rng.choice(own, draws) for own in model]) for model in stand_ins]
    means = np.array([matched_mean(sizes, *each) for each in zip(*drawn, strict=True)])
    low, high = np.quantile(means, [0.05, 0.95])
    return result | {
        "control_mean": means.mean(),
        "control_low": low,
        "control_high": high,
        # The same draw as the candidates themselves is as large, whatever the order of the sum.
        "p": (1 + int((means >= observed - 1e-12).sum())) / (1 + draws),
        "null": NULL,
    }


def _mean(models: list[_Units], unit_set: str, measure: str) -> float:
    """Return a measure's mean over one set of units of some models, NaN if there is none."""
    own = [m.about.loc[m.about["unit_set"] == unit_set, measure].to_numpy(float) for m in models]
    values = np.concatenate(own)
    return float(values.mean()) if values.size else np.nan


def correlation_sizes(a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
    """Return |r| of each unit of one model with each of another, shape (units of a, units of b).

    r is Pearson's over the genes of either model. A gene that a profile lacks counts as 0, and a
    profile that does not vary correlates with none. The sign is left out: that of a channel means
    nothing across starts.

    Parameters
    ----------
    a, b
        Gene profiles, genes × units.
    """
    genes = a.index.union(b.index)
    units = []
    for table in (a, b):
        values = table.reindex(genes).fillna(0.0).to_numpy(np.float64)
        values = values - (values.mean(axis=0) if len(values) else 0.0)
        norm = np.linalg.norm(values, axis=0)
        flat = norm <= 1e-12 * np.abs(table.to_numpy(np.float64)).max(initial=1e-300)
        units.append(np.divide(values, norm, out=np.zeros_like(values), where=~flat))
    return np.abs(units[0].T @ units[1]).clip(max=1.0)


def matched_mean(sizes: np.ndarray, a: Sequence[int], b: Sequence[int]) -> float:
    """Return the mean |r| of some units of either model, paired for the largest total.

    Parameters
    ----------
    sizes
        From `correlation_sizes`.
    a, b
        Places of the units; the pairs are as many as the smaller set has. NaN if one has none.
    """
    own = sizes[np.ix_(a, b)]
    return float(own[linear_sum_assignment(own, maximize=True)].mean()) if own.size else np.nan
