"""From a source's texts to the codings of the harmonised table.

Every decoder takes one text and returns its value, or raises `ValueError` if it cannot be read.
Decoders see each distinct value once, whatever the number of cells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scsw.errors import ScswError

Decoder = Callable[[str], Any]

# Never "none": in a plaque score it could mean that none were found. "missing or unknown" is of the
# AD Knowledge Portal; the last two are what R's missing texts and whole numbers become in an h5ad.
MISSING_TEXTS = frozenset(
    {"", "na", "n/a", "nan", "<na>", "null", "unknown", "unavailable", "missing"}
    | {f"not {word}" for word in ("available", "applicable", "reported", "provided", "collected")}
    | {"missing or unknown", "na_character_", "-2147483648"}
)
# In place of a name, of a donor or a cell type: what demultiplexing and annotation call the rest.
_NAMELESS = MISSING_TEXTS | {
    *("none", "unassigned", "ambiguous", "negative"),
    *("doublet", "doublets", "multiplet", "multiplets"),
}

_LOWER_BOUND = re.compile(r"^(>=?|≥)\s*|\s*\+$")
_ROMAN = {"0": 0, "i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}


def as_text(value: Any) -> str:
    """Return a cell of a table as stripped text: missing as "", 34.0 as "34"."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def text(values: pd.Series) -> pd.Series:
    """Return a column as stripped text, missing values as ""; categorical."""
    return mapped(values, lambda value: value)


def mapped(values: pd.Series, function: Callable[[str], Any]) -> pd.Series:
    """Apply a function to each distinct text of a column; texts come back categorical.

    A cohort of millions of nuclei has few distinct texts a column: categories hold each of them
    once, and a byte or two per cell.
    """
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    results = [function(as_text(value)) for value in distinct]
    if any(isinstance(result, str) for result in results):
        categories = sorted(set(results))
        place = {name: number for number, name in enumerate(categories)}
        numbers = np.array([place[result] for result in results], _smallest(len(categories)))
        column = pd.Categorical.from_codes(numbers[codes], categories)
    else:
        column = pd.Series(results).to_numpy()[codes]
    return pd.Series(column, index=values.index, name=values.name, copy=False)


def constant(value: str, index: pd.Index) -> pd.Series:
    """Return a categorical column that holds one text."""
    return pd.Series(pd.Categorical.from_codes(np.zeros(len(index), np.int8), [value]), index)


def is_nameless(name: str) -> bool:
    """Tell whether a text in place of a donor's or cell type's name names none."""
    return name.casefold() in _NAMELESS


def is_missing(names: pd.Series) -> np.ndarray:
    """Return where a column of donors or cell types names none; bool, shape (cells,)."""
    return mapped(names, is_nameless).to_numpy(bool)


def decoded(
    values: pd.Series,
    decode: Decoder,
    *,
    missing: Any,
    field: str,
    expected: str,
    also_missing: tuple[str, ...] = (),
    known: Mapping[str, Any] | None = None,
) -> pd.Series:
    """Decode a column of a source.

    Parameters
    ----------
    values
        The source's column; its name is used in messages.
    decode
        Decoder of one text.
    missing
        The value for missing texts.
    field
        Harmonised name of the column.
    expected
        What the decoder accepts, for the message.
    also_missing
        Further texts that mean missing, compared without regard to case.
    known
        Values of some texts, from the user; asked first. 34 and "34" are the same, and None is
        `missing`.

    Raises
    ------
    ScswError
        Naming the column and the values that the decoder refuses, or the user's that is none.
    """
    absent = MISSING_TEXTS | {word.casefold() for word in also_missing}
    refused = []

    def one(value: str) -> Any:
        if known and value in known:
            return _given(known[value], missing, field)
        if value.casefold() in absent:
            return missing
        try:
            return decode(value)
        except ValueError:
            refused.append(value)
            return missing

    result = mapped(values, one)
    if refused:
        raise ScswError(
            f"column {values.name!r} holds {_listed(refused)}, which is no value of {field}",
            expected=expected,
            fix=f"correct the file, or name another column under `columns: {field}:` "
            "in the config (an empty name leaves the field out)",
        )
    return result


def _given(value: Any, missing: Any, field: str) -> Any:
    """Return a user's value in the type of its field, that of `missing`; nothing is missing."""
    if value is None or isinstance(missing, str):
        return missing if value is None else as_text(value)
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError as error:
        raise ScswError(
            f"`values: {field}` gives {value!r}",
            expected="true or false" if isinstance(missing, bool) else "a number",
            fix="correct the value in the config",
        ) from error


def choice(values: Mapping[str, Any]) -> Decoder:
    """Return a decoder of whole texts, without regard to case; never of substrings.

    "1.0" is "1": a table that pandas wrote again holds codes so where some are missing.
    """
    folded = {key.casefold(): value for key, value in values.items()}

    def decode(value: str) -> Any:
        word = value.casefold()
        word = word if word in folded else word.removesuffix(".0")
        if word not in folded:
            raise ValueError(value)
        return folded[word]

    return decode


def number(low: float, high: float) -> Decoder:
    """Return a decoder of numbers within bounds, both included."""

    def decode(value: str) -> float:
        result = float(value)
        if not low <= result <= high:
            raise ValueError(value)
        return result

    return decode


def integer(low: int, high: int) -> Decoder:
    """Return a decoder of whole numbers within bounds, both included; "3.0" is 3."""

    def decode(value: str) -> int:
        result = number(low, high)(value)
        if not result.is_integer():
            raise ValueError(value)
        return int(result)

    return decode


def age_years(value: str) -> float:
    """Decode an age; "90+" and ">90" are 90."""
    return number(0, 130)(_LOWER_BOUND.sub("", value))


def age_is_censored(value: str) -> bool:
    """Tell whether an age is a lower bound, such as "90+" or ">89"."""
    return _LOWER_BOUND.search(value) is not None


def braak(value: str) -> int:
    """Decode a Braak stage: "Braak V", "Stage V", "V" or "5"."""
    stage = re.sub(r"^(braak)?\s*(stage)?\s*", "", value.casefold())
    return _ROMAN[stage] if stage in _ROMAN else integer(0, 6)(stage)


def thal(value: str) -> int:
    """Decode a Thal phase: "Thal 4", "Phase 4" or "4"."""
    return integer(0, 5)(re.sub(r"^(thal)?\s*(phase)?\s*", "", value.casefold()))


def apoe_genotype(value: str) -> str:
    """Decode an APOE genotype: "3/4", "34", "34.0", "E3/E4" and "e4/e3" are all "34"."""
    genotype = value.casefold().removesuffix(".0")
    alleles = re.fullmatch(r"[eε]?([234])[/|,\s]*[eε]?([234])", genotype)
    if not alleles:
        raise ValueError(value)
    return "".join(sorted(alleles.groups()))


def _smallest(n: int) -> type[np.signedinteger]:
    """Return the smallest integer type that numbers `n` things."""
    return next(t for t in (np.int8, np.int16, np.int32, np.int64) if n <= np.iinfo(t).max)


def _listed(values: list[str]) -> str:
    shown = ", ".join(repr(value) for value in sorted(set(values))[:5])
    return shown + (" and others" if len(set(values)) > 5 else "")
