"""The annotation that all cohorts share: columns, types, codings (docs/outputs.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scsw.cohort.coding import text
from scsw.errors import ScswError

CELL_CLASSES = ("excitatory", "inhibitory", "glia", "vascular", "immune", "other")
SEXES = ("female", "male", "unknown")
SPLITS = ("train", "validation", "discovery", "test")
UNDIVIDED = "none"  # the split of cells that no model is fine-tuned on
APOE_GENOTYPES = ("", "22", "23", "24", "33", "34", "44")
ORIGINAL = "source:"


@dataclass(frozen=True)
class Coding:
    """Type, missing value and allowed values of one column of ``obs``."""

    dtype: str
    missing: Any = None  # None: the column may not be missing
    values: tuple[str, ...] | None = None
    low: float = -np.inf
    high: float = np.inf


def _ordinal(high: int) -> Coding:
    return Coding("int64", missing=-1, low=-1, high=high)


_FREE_TEXT = Coding("str", missing="")
_FLAG = Coding("bool", missing=False)

# In the order of docs/outputs.md.
CODINGS = {
    "cell_id": Coding("str"),
    "donor_id": Coding("str"),
    "cell_type": Coding("str"),
    "cell_class": Coding("str", missing="other", values=CELL_CLASSES),
    "region": _FREE_TEXT,
    "sex": Coding("str", missing="unknown", values=SEXES),
    "age_death": Coding("float64", missing=np.nan, low=0, high=130),
    "age_censored": _FLAG,
    "pmi": Coding("float64", missing=np.nan, low=0),
    "apoe_genotype": Coding("str", missing="", values=APOE_GENOTYPES),
    "braak": _ordinal(6),
    "thal": _ordinal(5),
    "cerad": _ordinal(3),
    "adnc": _ordinal(3),
    "cognition": _ordinal(2),
    "cps": Coding("float64", missing=np.nan, low=0, high=1),
    "is_reference": _FLAG,
    "total_counts": Coding("int64", low=0),
    "n_genes": Coding("int64", low=0),
    "pct_mito": Coding("float64", missing=np.nan, low=0, high=100),
    "split": Coding("str", values=(*SPLITS, UNDIVIDED)),
    "cohort": Coding("str"),
    "assay": _FREE_TEXT,
    "batch": _FREE_TEXT,
    "study": _FREE_TEXT,
    "supertype": _FREE_TEXT,
    "doublet_score": Coding("float64", missing=np.nan, low=0),
}
# One value per donor; a donor with two would count as two people in every donor statistic.
DONOR_COLUMNS = tuple(
    "sex age_death pmi apoe_genotype braak thal cerad adnc cognition cps is_reference".split()
)


def harmonise(obs: pd.DataFrame) -> pd.DataFrame:
    """Give a reader's table the shared columns, types and order; doing so twice changes nothing.

    Columns that may be missing are added with their missing value. Those that only later steps
    know (counts per cell, split, cohort) are taken over where they are given.

    Parameters
    ----------
    obs
        Coded columns and originals under ``source:<name>``, one row per cell.

    Returns
    -------
    pandas.DataFrame
        The columns of `CODINGS` in order, then the originals in their order. Texts are
        categorical, ``cell_id`` aside.

    Raises
    ------
    ScswError
        Naming the column and the value that its coding does not know.
    """
    shared = {}
    for name, coding in CODINGS.items():
        if name in obs:
            shared[name] = _typed(obs[name], coding)
        elif coding.missing is not None:
            shared[name] = _typed(pd.Series(coding.missing, index=obs.index, name=name), coding)
    originals = [name for name in obs.columns if str(name).startswith(ORIGINAL)]
    shared |= {name: obs[name] for name in originals}
    result = pd.DataFrame(shared, index=obs.index, copy=False)
    check_codings(result)
    return result


def check_codings(obs: pd.DataFrame) -> None:
    """Raise if a column of `obs` holds a value outside its coding.

    Raises
    ------
    ScswError
        Naming the column and the value.
    """
    for name, coding in CODINGS.items():
        if name in obs:
            _check_column(obs[name], coding)


def validate(obs: pd.DataFrame) -> None:
    """Check the finished annotation of a cohort against the whole contract.

    Raises
    ------
    ScswError
        A column is missing, a value stands outside its coding, a required text is empty, a
        ``cell_id`` occurs twice, or a donor has two values of a donor's property.
    """
    absent = [name for name in CODINGS if name not in obs]
    if absent:
        raise ScswError(f"the cohort's annotation lacks {', '.join(absent)}")
    check_codings(obs)
    for name in ("cell_id", "donor_id", "cell_type", "split"):
        if (obs[name] == "").any():
            raise ScswError(f"{name} is empty for {int((obs[name] == '').sum())} cells")
    if obs["cell_id"].duplicated().any():
        twice = obs.loc[obs["cell_id"].duplicated(), "cell_id"].iloc[0]
        raise ScswError(f"cell_id {twice!r} occurs more than once")
    check_donors(obs)


def _typed(column: pd.Series, coding: Coding) -> pd.Series:
    if coding.dtype == "str":
        return column.astype(str).astype(object) if column.name == "cell_id" else text(column)
    if coding.dtype == "bool" and not set(column.unique()) <= {True, False}:
        raise _refusal(column[~column.isin([True, False])], "true or false")
    try:
        typed = column.astype(coding.dtype)
    except (TypeError, ValueError) as error:
        raise _refusal(column, f"values of type {coding.dtype}") from error
    if coding.dtype == "int64" and not (typed == column).all():
        raise _refusal(column[typed != column], "whole numbers")
    return typed


def _check_column(column: pd.Series, coding: Coding) -> None:
    if coding.values is not None:
        wrong = column[~column.isin(coding.values)]
        if len(wrong):
            raise _refusal(wrong, "one of " + ", ".join(repr(v) for v in coding.values))
    elif coding.dtype in ("int64", "float64"):
        outside = (column < coding.low) | (column > coding.high) | np.isinf(column)
        if coding.missing is None:
            outside |= column.isna()
        if outside.any():
            raise _refusal(column[outside], f"numbers from {coding.low:g} to {coding.high:g}")


def check_donors(obs: pd.DataFrame) -> None:
    """Raise if the donors of an annotation cannot be those that they seem to be.

    Parameters
    ----------
    obs
        ``donor_id`` and the columns of `DONOR_COLUMNS`.

    Raises
    ------
    ScswError
        A donor has two values of a donor's property, or two names differ in nothing but case,
        separators, leading zeros or a trailing ".0": one person must not pass for two, of whom
        one might stand in training and one in test.
    """
    for name in DONOR_COLUMNS:
        pairs = obs[["donor_id", name]].drop_duplicates()
        sizes = pairs.dropna().groupby("donor_id", sort=True, observed=True)[name].size()
        if len(several := sizes.index[sizes > 1]):
            found = pairs.loc[pairs["donor_id"] == several[0], name].dropna()
            raise ScswError(
                f"donor {several[0]!r} has several values of {name}: "
                + ", ".join(sorted(map(str, found))),
                expected="one value per donor",
                fix="correct the source's annotation, name the right donor column under "
                f"`columns: donor_id:`, or leave the field out: `columns: {{{name}: ''}}`",
            )
    spelt: dict[str, str] = {}
    for donor in sorted(map(str, obs["donor_id"].unique())):
        if (other := spelt.setdefault(_spelling(donor), donor)) != donor:
            raise ScswError(
                f"the donors {other!r} and {donor!r} seem to be one person",
                expected="one spelling of each donor's name",
                fix="correct the source's annotation, or say in the config who it is: "
                f"`values: {{donor_id: {{{donor!r}: {other!r}}}}}`",
            )


def _spelling(donor: str) -> str:
    """Return what is left of a donor's name without case, separators and padding."""
    name = re.sub(r"[^\w]+|_", "-", donor.casefold().removesuffix(".0"))
    return name.lstrip("0") if name.isdigit() else name


def _refusal(column: pd.Series, expected: str) -> ScswError:
    values = ", ".join(repr(str(value)) for value in column.unique()[:5])
    return ScswError(f"column {column.name!r} holds {values}", expected=expected)
