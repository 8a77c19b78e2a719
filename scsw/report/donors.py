"""Donors by disease stage, sex and study: how they were divided, in counts alone."""

from __future__ import annotations

from typing import Any

import pandas as pd

STAGES = {  # column → name, and its levels in the order of their codes
    "adnc": ("ADNC", ("not AD", "low", "intermediate", "high")),
    "braak": ("Braak", ("0", "I", "II", "III", "IV", "V", "VI")),
    "thal": ("Thal", ("0", "1", "2", "3", "4", "5")),
    "cerad": ("CERAD", ("none", "sparse", "moderate", "frequent")),
    "cognition": ("cognition", ("unimpaired", "mild imp.", "dementia")),
}
SEXES = ("female", "male", "unknown")
SPLITS = ("train", "validation", "discovery", "test")
SEVERAL = "several parts"
MAX_STUDIES = 6


def stage_name(stage: str) -> str:
    """Return how a stage is written in prose: ADNC for ``adnc``."""
    return STAGES[stage][0] if stage in STAGES else stage.upper().replace("_", " ")


def levels(donors: pd.DataFrame) -> pd.DataFrame:
    """Name what is known of each donor.

    Parameters
    ----------
    donors
        Rows of ``donors.tsv``.

    Returns
    -------
    pandas.DataFrame
        Ordered categories that occur, index as in `donors`: a column per staging that any donor
        has (`STAGES`), ``sex`` where it is known, and ``study`` where there is more than one.
    """
    named = {}
    for column, (name, of_stage) in STAGES.items():
        if (donors[column] >= 0).any():
            labels = dict(enumerate(of_stage)) | {-1: "missing"}
            named[name] = _ordered(donors[column].map(labels), [*of_stage, "missing"])
    if (donors["sex"] != "unknown").any():
        named["sex"] = _ordered(donors["sex"], SEXES)
    study = _studies(donors)
    if study.nunique() > 1:
        named["study"] = _ordered(study, list(study.sort_values(key=_last).unique()))
    return pd.DataFrame(named, index=donors.index)


def donors_by_level(donors: pd.DataFrame) -> pd.DataFrame:
    """Count donors per level (rows, such as ``ADNC low``) and part (columns).

    A donor whose cells stand in more than one part is counted once, under `SEVERAL`.
    """
    parts = donors.groupby("donor_id", sort=False)["split"].agg(
        lambda column: column.iloc[0] if column.nunique() == 1 else SEVERAL
    )
    named = levels(donors.drop_duplicates("donor_id").set_index("donor_id"))
    tables = []
    for name in named:
        table = pd.crosstab(named[name], parts.reindex(named.index))
        tables.append(table.set_axis([f"{name} {level}" for level in table.index]))
    order = [part for part in (*SPLITS, SEVERAL) if part in set(parts)]
    return pd.concat([pd.DataFrame(columns=order, dtype=int), *tables]).fillna(0).astype(int)


def stratification(donors: pd.DataFrame) -> dict[str, Any]:
    """Count donors and cells per part, by what the split is stratified by.

    Returns
    -------
    dict
        ``groups``: dictionaries of ``name`` and ``levels``, for ADNC (or Braak where no donor has
        an ADNC), sex and study. ``rows``: one per part and one for ``all``, with ``part, donors,
        reference, counts`` (donors per level of all groups, in order) and ``cells``.
    """
    named = levels(donors)
    stage = [name for name in ("ADNC", "Braak") if name in named][:1]
    named = named[[name for name in (*stage, "sex", "study") if name in named]]
    rows = []
    for part in (*SPLITS, "all"):
        here = donors if part == "all" else donors[donors["split"] == part]
        cells = int(here["n_cells"].sum())
        here = here.drop_duplicates("donor_id")
        counts = [named.loc[here.index, name].value_counts(sort=False) for name in named]
        rows.append(
            {
                "part": part,
                "donors": len(here),
                "reference": int(here["is_reference"].astype(bool).sum()),
                "counts": [int(n) for of_group in counts for n in of_group],
                "cells": cells,
            }
        )
    groups = [{"name": name, "levels": list(named[name].cat.categories)} for name in named]
    return {"groups": groups, "rows": rows}


def _ordered(labels: pd.Series, order: list[str] | tuple[str, ...]) -> pd.Series:
    """Make ordered categories of the labels that occur."""
    present = [label for label in order if label in set(labels)]
    return pd.Series(pd.Categorical(labels, present, ordered=True), index=labels.index)


def _studies(donors: pd.DataFrame) -> pd.Series:
    """Name each donor's study; the rarest are put together where there are many."""
    study = donors["study"].fillna("").astype(str).replace("", "not given")
    common = study.value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    if len(common) <= MAX_STUDIES:
        return study
    return study.where(study.isin(common[: MAX_STUDIES - 1]), "others")


def _last(studies: pd.Series) -> pd.Series:
    """Sort names, those that name no study at the end."""
    return studies.map(lambda name: (name in ("others", "not given"), name))
