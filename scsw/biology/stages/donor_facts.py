"""What is known of a donor, as numbers that a regression can take."""

from __future__ import annotations

import json

import pandas as pd

STAGING = "adnc braak thal cerad cognition cps".split()
PLACE = ["donor_id", "cell_class", "cell_type", "region"]
UNKNOWN_REGION = "unknown"
_OF_DONOR = [*STAGING, *"apoe_genotype age_death age_censored sex pmi is_reference".split()]
FACTS = [*STAGING, *"apoe_e4 apoe_e2 age_death age_censored sex pmi is_reference".split()]


def donor_facts(obs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per donor.

    Parameters
    ----------
    obs
        Harmonised cells; a donor's cells agree on what is said of the donor.

    Returns
    -------
    pandas.DataFrame
        Columns `FACTS`, index ``donor_id``. ``apoe_e4`` is the number of ε4 alleles (0 to 2) and
        ``apoe_e2`` 1 in carriers of ε2, −1 where the genotype is missing.
    """
    first = obs.groupby(obs["donor_id"].astype(str))[_OF_DONOR].first()
    genotype = first["apoe_genotype"].astype(str)
    known = genotype.str.fullmatch("[234]{2}")
    first["apoe_e4"] = genotype.str.count("4").where(known, -1).astype("int64")
    first["apoe_e2"] = genotype.str.contains("2").astype("int64").where(known, -1).astype("int64")
    return first[FACTS]


def assay_shares(assays: pd.Series) -> str:
    """Return the share of some cells that each assay has, as JSON with sorted names."""
    shares = assays.astype(str).value_counts(normalize=True).round(6)
    return json.dumps({name: float(shares[name]) for name in sorted(shares.index)})


def places(obs: pd.DataFrame) -> pd.DataFrame:
    """Return donor, class, type and region of each cell as texts, with a plain index."""
    own = obs[PLACE].astype(str).reset_index(drop=True)
    return own.assign(region=own["region"].replace("", UNKNOWN_REGION))
