"""Who counts as a case of Alzheimer's disease and who as a control: one written rule."""

from __future__ import annotations

import pandas as pd

# The first of these that any donor has decides for the whole cohort: lowest value of a case,
# highest of a control. Donors between the two are left out.
RULES = {"adnc": (2, 1), "braak": (4, 3), "cognition": (2, 0)}
_WORDS = {
    "adnc": "AD: ADNC intermediate or high; control: ADNC low or not AD",
    "braak": "AD: Braak IV to VI; control: Braak 0 to III (no donor has ADNC)",
    "cognition": "AD: dementia; control: no impairment (no donor has ADNC or Braak)",
}
BULK_RULE = "AD: dementia at the person's last sample with a diagnosis; control: CN there"
NONE = "no donor has ADNC, Braak or cognition"


def donor_diagnosis(donors: pd.DataFrame) -> tuple[pd.Series, str]:
    """Tell cases from controls among the donors of a harmonised cohort.

    Parameters
    ----------
    donors
        One row per donor: ``adnc, braak, cognition`` (int, −1 missing), ``is_reference`` (bool).
        Neurotypical reference donors are left out, as in the tests of stages: they are younger.

    Returns
    -------
    diagnosis
        1 case, 0 control, −1 neither; int64, index of `donors`.
    rule
        The rule in words.
    """
    known = donors[~donors["is_reference"].astype(bool)]
    for stage, (case, control) in RULES.items():
        if known[stage].ge(0).any():
            value = known[stage]
            codes = value.ge(case).astype("int64").where(value.ge(case) | value.le(control), -1)
            codes = codes.where(value.ge(0), -1)
            return codes.reindex(donors.index, fill_value=-1).astype("int64"), _WORDS[stage]
    return pd.Series(-1, index=donors.index, dtype="int64"), NONE


def last_samples(samples: pd.DataFrame) -> pd.Series:
    """Choose one sample of each person of a bulk cohort, and tell cases from controls.

    Parameters
    ----------
    samples
        ``obs`` of ``external.h5ad``: ``donor_id, year`` (−1 missing), ``diagnosis`` (0 CN, 1 MCI,
        2 AD, −1 missing); index = sample.

    Returns
    -------
    pandas.Series
        1 case, 0 control; int64, index = the chosen samples. A person's latest sample with a
        diagnosis counts (ties: the last by name), because people convert; who has MCI there is
        left out.
    """
    known = samples[samples["diagnosis"].ge(0)].assign(_name=lambda table: table.index.astype(str))
    last = known.sort_values(["donor_id", "year", "_name"]).groupby("donor_id").tail(1)
    last = last[last["diagnosis"].ne(1)]
    return last["diagnosis"].eq(2).astype("int64")
