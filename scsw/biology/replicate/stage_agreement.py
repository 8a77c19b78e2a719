"""Whether the stage slopes of matched candidates agree between two cohorts."""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from scsw.biology.replicate.matching import unit_ranks

ROW_NULL = "one-sided t-test in cohort b, direction from cohort a"
RANK_NULL = (
    "permutation of the cell classes of cohort b, the same for all pairs of candidates, one-sided"
)
FEWEST_CLASSES = 3


def slope_rows(a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Set the slopes of each pair of candidates side by side wherever both cohorts tested.

    p is one-sided in cohort b, for the direction seen in cohort a.

    Parameters
    ----------
    a, b
        ``candidate_id, cell_class, stage, beta, p`` of the two models, oriented.
    pairs
        ``candidate_a, candidate_b``.

    Returns
    -------
    pandas.DataFrame
        ``candidate_a, candidate_b, cell_class, stage, beta_a, beta_b, same_sign, p, null``.
    """
    first = pairs.merge(a, left_on="candidate_a", right_on="candidate_id")
    keys = ["candidate_b", "cell_class", "stage"]
    table = first.merge(
        b.rename(columns={"candidate_id": "candidate_b"}), on=keys, suffixes=("_a", "_b")
    )
    same = np.sign(table["beta_a"]) == np.sign(table["beta_b"])
    p = np.where(same, table["p_b"] / 2, 1 - table["p_b"] / 2)
    names = ["candidate_a", "candidate_b", "cell_class", "stage", "beta_a", "beta_b"]
    return table[names].assign(same_sign=same, p=p, null=ROW_NULL)


def rank_rows(
    slopes: pd.DataFrame, *, permutations: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Test, for each stage, whether the order of the slopes over cell classes recurs.

    The statistic is the mean over pairs of candidates of Spearman's rho over cell classes, of the
    classes that are tested for every pair. Candidates of one model are seen in the same donors, so
    the classes are permuted for all of them at once (`scipy.stats.permutation_test`, which goes
    through all orders where these are no more than `permutations`).

    Parameters
    ----------
    slopes
        Table from `slope_rows` of one pair of models.
    permutations, rng
        Number of permutations and their source.

    Yields
    ------
    dict
        ``stage, n_pairs, n_classes, spearman, p, p_floor, null``; p_floor is the smallest p that
        so few classes can give. With fewer than three classes p is NaN.
    """
    for stage, own in slopes.groupby("stage"):
        a, b = (
            own.pivot(index="cell_class", columns=["candidate_a", "candidate_b"], values=name)
            for name in ("beta_a", "beta_b")
        )
        kept = (a.notna() & b.notna()).all(axis=1)
        row = {"stage": stage, "n_pairs": a.shape[1], "n_classes": int(kept.sum()), "null": ""}
        if row["n_classes"] < FEWEST_CLASSES:
            yield row | {"spearman": np.nan, "p": np.nan, "p_floor": np.nan}
            continue
        first, second = (unit_ranks(table[kept]) for table in (a, b))

        def mean_rho(order: np.ndarray, first=first, second=second) -> float:
            rho = np.einsum("ck,ck->k", first, second[order]).mean()
            # Rounding keeps the last digits, which depend on the order of sums, out of p.
            return float(np.round(rho, 10))

        n = row["n_classes"]
        found = permutation_test(
            (np.arange(n),), mean_rho, permutation_type="pairings", vectorized=False,
            n_resamples=permutations, alternative="greater", rng=rng,
        )  # fmt: skip
        exact = factorial(n) <= permutations
        floor = 1 / factorial(n) if exact else 1 / (1 + permutations)
        yield row | {
            "spearman": found.statistic,
            "p": found.pvalue,
            "p_floor": floor,
            "null": RANK_NULL,
        }
