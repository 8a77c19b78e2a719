"""Age and sex of ADNI's subjects, from its merged table (ADNIMERGE.csv), where that is named."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.text_table import need_columns, read_text_table
from scsw.errors import ScswError

SEX = {"Female": "female", "Male": "male"}
_YEARS = (40, 110)


def with_age_and_sex(samples: pd.DataFrame, path: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Add ``age`` (years at the subject's baseline visit) and ``sex`` to a table of samples.

    Parameters
    ----------
    samples
        Has ``donor_id``, ADNI's PTID.
    path
        ADNIMERGE.csv, whose columns ``PTID, AGE, PTGENDER`` are read; one row per visit. Without
        it the age is NaN and the sex ``unknown``.

    Returns
    -------
    samples
        With both columns.
    warnings
        A sentence if some subjects, or all, lack them.

    Raises
    ------
    ScswError
        If the table lacks a column, holds another word for a sex or no number for an age, gives a
        subject two of either, or names none of the subjects.
    """
    if path is None:
        return samples.assign(age=np.nan, sex="unknown"), [
            "Age and sex are not known: no table of subjects (ADNIMERGE.csv) was given."
        ]
    table = read_text_table(path, ",")
    need_columns(table, ["PTID", "AGE", "PTGENDER"], path, "ADNI's merged table, ADNIMERGE.csv")
    years = {"field": "age", "missing": np.nan, "expected": "ages from {} to {}".format(*_YEARS)}
    words = {"field": "sex", "missing": "", "expected": "Female or Male"}
    age = coding.decoded(table["AGE"], coding.number(*_YEARS), **years).astype(float)
    sex = coding.decoded(table["PTGENDER"], coding.choice(SEX), **words).astype(str)
    people = pd.DataFrame({"donor_id": table["PTID"].str.strip(), "age": age})
    people["sex"] = sex.where(sex.ne(""))
    groups = people.groupby("donor_id")[["age", "sex"]]
    twice = groups.nunique().gt(1).any(axis=1)
    if twice.any():
        raise ScswError(f"{path} gives subject {twice.idxmax()} two ages at baseline or two sexes")
    known = groups.first().reindex(samples["donor_id"])
    if known.isna().all(axis=None):
        raise ScswError(
            f"{path} names none of the {samples['donor_id'].nunique()} subjects",
            expected="ADNI's merged table, ADNIMERGE.csv",
            fix="use the table as downloaded",
        )
    without = known.isna().any(axis=1)
    added = samples.assign(
        age=known["age"].to_numpy(float), sex=known["sex"].fillna("unknown").to_numpy(object)
    )
    n = int(without.sum())
    return added, [f"Age or sex is missing for {n} of {len(samples)} samples."] if n else []
