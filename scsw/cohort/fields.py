"""Harmonised fields that the sources write alike."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.cohort import coding
from scsw.cohort.columns import Columns

TRUTH = {"True": True, "False": False, "Y": True, "N": False, "1": True, "0": False}
_AGE = "years, such as 84, 90+ or >89"
_APOE = "a genotype such as 3/4, 34 or E3/E4"
# Tissue is of no use for RNA long before; minutes and codes such as 999 are above it.
_MOST_HOURS = 240


def cell_fields(found: Columns) -> dict[str, pd.Series]:
    """Read what is said of a cell: donor, region, assay, batch, study, supertype, doublet score."""
    names = ("donor_id", "region", "assay", "batch", "study", "supertype")
    return {name: found.text(name) for name in names} | {
        "doublet_score": found.decoded(
            "doublet_score", coding.number(0, 1e3), np.nan, "a number from 0 up"
        )
    }


def donor_fields(
    found: Columns, sexes: dict[str, str], also_missing: tuple[str, ...] = ()
) -> dict[str, pd.Series]:
    """Read sex, age, post-mortem interval, APOE genotype, pseudo-progression and reference mark.

    Parameters
    ----------
    found
        The source's columns.
    sexes
        The source's words for ``female`` and ``male``.
    also_missing
        Words that stand for a missing value in this source.
    """
    sex = coding.choice(sexes)
    return {
        "sex": found.decoded("sex", sex, "unknown", ", ".join(sexes), also_missing),
        "age_death": found.decoded("age_death", coding.age_years, np.nan, _AGE, also_missing),
        # Of the text: a value of the user's in its place is a number of years, and no truth value.
        "age_censored": coding.mapped(found.text("age_death"), coding.age_is_censored),
        "pmi": found.decoded(
            "pmi",
            coding.number(0, _MOST_HOURS),
            np.nan,
            f"hours, at most {_MOST_HOURS}",
            also_missing,
        ),
        "apoe_genotype": found.decoded(
            "apoe_genotype", coding.apoe_genotype, "", _APOE, also_missing
        ),
        "cps": found.decoded("cps", coding.number(0, 1), np.nan, "0 to 1", also_missing),
        "is_reference": found.decoded("is_reference", coding.choice(TRUTH), False, "True or False"),
    }
