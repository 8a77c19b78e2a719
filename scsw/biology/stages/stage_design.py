"""Which covariates a regression of donors can carry, by a written rule."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd


def design(
    included: pd.DataFrame,
    stage: str,
    covariates: Sequence[str],
    donors_per_term: int,
    *,
    n_donors: int | None = None,
    stage_terms: int = 1,
) -> tuple[pd.DataFrame, list[str], str]:
    """Choose covariates in their order, as many as the donors allow.

    Left out is, in this order of reasons, a covariate that the table lacks; that is missing for
    an included donor; that is the same in all; for which there would be fewer than
    `donors_per_term` donors per term (stage and covariates); that is a linear combination of
    the terms before it. ``sex`` enters as 0 (female) and 1 (male); ``assay`` as the share of
    the donor's cells that each assay has, but for the commonest: one term for each; ``region``
    likewise as one 0/1 term for each region but the commonest.

    Parameters
    ----------
    included
        One row per donor, or per donor and region.
    stage
        The column that the covariates adjust; always the first term.
    covariates
        Names, most needed first.
    donors_per_term
        Fewest donors per term.
    n_donors
        Number of donors; by default that of the rows.
    stage_terms
        Terms that the stage itself takes.

    Returns
    -------
    tuple
        Regressors, stage first, without an intercept; names of the covariates used; a sentence
        on those left out, or an empty text.
    """
    names, columns = [stage], [included[stage].to_numpy(float)]
    allowed = max(stage_terms, (n_donors or len(included)) // donors_per_term)
    used, left_out = [], []
    for covariate in covariates:
        own, why = _columns(included, covariate)
        if not why and len(names) - 1 + stage_terms + len(own) > allowed:
            why = f"fewer than {donors_per_term} donors per term"
        if not why and _adds_nothing([*columns, *own.values()]):
            why = "a linear combination of the terms before it"
        if why:
            left_out.append(f"{covariate} ({why})")
        else:
            names, columns = [*names, *own], [*columns, *own.values()]
            used.append(covariate)
    terms = pd.DataFrame(np.column_stack(columns), columns=names, index=included.index)
    return terms, used, "left out: " + "; ".join(left_out) if left_out else ""


def _columns(included: pd.DataFrame, name: str) -> tuple[dict[str, np.ndarray], str]:
    """Return a covariate's columns, or why it cannot be used."""
    source = "assay_shares" if name == "assay" else name
    if source not in included:
        return {}, "not in the table"
    if name in ("assay", "region"):
        own, missing = _categories(included[source], shares=name == "assay")
    else:
        numbers = _numeric(included[source])
        own, missing = {name: numbers}, int(np.isnan(numbers).sum())
    if missing:
        return {}, f"missing for {missing} {'donor' if missing == 1 else 'donors'}"
    varying = {key: values for key, values in own.items() if np.ptp(values) > 0}
    return varying, "" if varying else "the same in all donors"


def _categories(values: pd.Series, *, shares: bool) -> tuple[dict[str, np.ndarray], int]:
    """Return one column per category but the commonest, and for how many rows it is missing."""
    rows = [json.loads(text or "{}") if shares else {str(text): 1.0} for text in values]
    missing = sum(1 for row in rows if not row or "" in row)
    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows], float)
    if len(names) < 2:
        return {}, missing
    commonest = int(table.sum(0).argmax())
    return {
        name: table[:, place] for place, name in enumerate(names) if place != commonest
    }, missing


def _numeric(values: pd.Series) -> np.ndarray:
    """Return a covariate as numbers; what is missing (−1 in an APOE count too) becomes NaN."""
    if values.name == "sex":
        coded = {"female": 0.0, "male": 1.0}
        return np.array([coded.get(str(value), np.nan) for value in values])
    numbers = values.to_numpy(float)
    if str(values.name).startswith("apoe_"):
        numbers = np.where(numbers >= 0, numbers, np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _adds_nothing(columns: list[np.ndarray]) -> bool:
    every = np.column_stack(columns)
    centred = every - every.mean(axis=0)
    # Each column to unit length, so that the rank does not depend on units.
    return bool(np.linalg.matrix_rank(centred / np.linalg.norm(centred, axis=0)) < every.shape[1])
