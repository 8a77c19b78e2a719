"""How a candidate's gene sets compare with those of its matched controls.

A gene-set test asks whether a set is more common in a gene list than in random genes. A hidden
unit's list is not random: genes that are detected often, or that are expressed together, stand out
in any unit. The controls of a candidate carry the same bias, so they are the null here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.biology.tables import benjamini_hochberg


def lower_tail_p(own: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return (1 + number of controls with as small a value) / (1 + controls).

    Parameters
    ----------
    own
        The candidate's value per set, smaller is stronger, shape (sets,).
    null
        Those of its controls, shape (sets, controls).
    """
    return (1 + np.count_nonzero(null <= own[:, None], axis=1)) / (1 + null.shape[1])


def outer_tail_p(own: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return twice the add-one probability of a control's score beyond the candidate's, at most 1.

    Beyond is above a positive and below a negative score: a set for which the candidate is less
    enriched than its controls does not stand out. Both signs were looked at, hence the factor 2;
    the controls' scores need not be centred on zero, so |score| would not do. A control without a
    score is never beyond; without an own score p is 1.

    Parameters
    ----------
    own, null
        As for `lower_tail_p`, but with a sign.
    """
    beyond = np.where(own[:, None] >= 0, null >= own[:, None], null <= own[:, None])
    p = 2 * (1 + np.count_nonzero(beyond, axis=1)) / (1 + null.shape[1])
    return np.where(np.isnan(own), 1.0, np.minimum(p, 1.0))


def empirical_fdr(own: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Return the share of false discoveries if all sets as strong as each one were called.

    The sets are those of one library.

    At a threshold t it is the mean number of sets that pass t over candidate and controls, over
    the number that pass for the candidate. The candidate counts as one of its own controls, as in
    an add-one p, so it is never below 1 / (1 + controls). Each value is then lowered to the
    smallest at any laxer threshold, as q-values are (Storey and Tibshirani 2003).

    Parameters
    ----------
    own, null
        As for `lower_tail_p`.
    """
    order = np.argsort(own, kind="stable")
    thresholds = own[order]
    pool = np.sort(null, axis=None)
    n_null = np.searchsorted(pool, thresholds, side="right")
    n_own = np.searchsorted(thresholds, thresholds, side="right")
    share = (n_own + n_null) / (1 + null.shape[1]) / n_own
    fdr = np.empty(len(own))
    fdr[order] = np.minimum(np.minimum.accumulate(share[::-1])[::-1], 1.0)
    return fdr


def calibrated_columns(
    p: np.ndarray, fdr: np.ndarray, primary: np.ndarray, *, n_controls: int, floor: float, null: str
) -> pd.DataFrame:
    """Return the columns of ``pathways.parquet`` that calibration adds, one row per set.

    ``calibrated_q`` is Benjamini–Hochberg over the sets of the primary family, and missing for
    all others.
    """
    table = pd.DataFrame({"primary": primary, "calibrated_p": p})
    table["calibrated_q"] = benjamini_hochberg(table["calibrated_p"].where(table["primary"]))
    return table.assign(
        empirical_fdr=fdr, n_controls=n_controls, calibrated_floor=floor, calibrated_null=null
    )


def uncalibrated_columns(primary: np.ndarray) -> pd.DataFrame:
    """Return the same columns where a candidate has no controls."""
    missing = ["calibrated_p", "calibrated_q", "empirical_fdr", "calibrated_floor"]
    return pd.DataFrame({"primary": primary, **dict.fromkeys(missing, np.nan)}).assign(
        n_controls=0, calibrated_null=""
    )


def is_enriched(pathways: pd.DataFrame, alpha: float) -> pd.Series:
    """Tell which rows of ``pathways.parquet`` are enriched: the one rule of all later steps.

    A set is enriched at q ≤ `alpha`; and where the candidate has controls, only if it stands out
    from them too. In the primary family that is ``calibrated_q`` ≤ `alpha`. Elsewhere it is
    ``empirical_fdr`` ≤ `alpha` and ``calibrated_p`` ≤ `alpha`: the first speaks for the sets of a
    library together, so that one which all controls share could hide among many that none has.
    """
    q, calibrated_q, calibrated_p, fdr = (
        pathways[name].astype(float).le(alpha)
        for name in ("q", "calibrated_q", "calibrated_p", "empirical_fdr")
    )
    primary = pathways["primary"].astype(bool)
    stands_out = (primary & calibrated_q) | (~primary & fdr & calibrated_p)
    return q & (stands_out | pathways["n_controls"].eq(0))
