"""Donors are divided into training, validation, discovery and test; none stands in two.

A candidate that is found on some donors must be judged on others, or the search itself would
count as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scsw.cohort.harmonise import SPLITS
from scsw.cohort.sampling import generator
from scsw.errors import ScswError

# One donor for each part.
FEWEST_DONORS = len(SPLITS)


@dataclass
class Split:
    """Which part each cell belongs to.

    Attributes
    ----------
    of_cell
        ``train``, ``validation``, ``discovery`` or ``test`` per cell, index as in ``obs``.
    unit
        ``donor``, or ``cell`` where there are too few donors.
    warnings
        Sentences for the report.
    """

    of_cell: pd.Series
    unit: str
    warnings: list[str] = field(default_factory=list)


def split_cells(obs: pd.DataFrame, shares: Mapping[str, float], seed: int) -> Split:
    """Divide a cohort by donor, or by cell where it has fewer than four donors.

    Reference donors and donors without a stage go to training, since they can say nothing about
    stages later. The others are stratified by ADNC (by Braak where no donor has an ADNC), sex and
    study.
    If fewer than three donors have a stage, all are divided alike and a warning says so.

    Parameters
    ----------
    obs
        ``cell_id, donor_id, cell_type, sex, study, adnc, braak, is_reference``.
    shares
        Share of donors of each part, adding up to 1.
    seed
        Seed of the draw.

    Raises
    ------
    ScswError
        If the shares do not add up to 1.
    """
    if abs(sum(shares[name] for name in SPLITS) - 1) > 1e-6:
        raise ScswError(
            "the donor shares in `preprocess` add up to "
            f"{sum(shares[name] for name in SPLITS):g}: {dict(shares)}",
            expected="shares that add up to 1",
        )
    donors = obs.drop_duplicates("donor_id").astype({"donor_id": str}).set_index("donor_id")
    donors = donors.sort_index()
    if len(donors) < FEWEST_DONORS:
        return Split(
            _by_cell(obs, shares, seed),
            "cell",
            [
                f"The cohort has {len(donors)} donor{'s' * (len(donors) > 1)}, fewer than the "
                f"{FEWEST_DONORS} that a split by donor needs, so cells of the same donor stand "
                "in training and test: nothing here speaks for donors that were not seen."
            ],
        )
    warnings = []
    stage = _stage(donors)
    eligible = ~donors["is_reference"] & (stage >= 0)
    if eligible.sum() < FEWEST_DONORS - 1:
        warnings.append(
            f"Only {int(eligible.sum())} of {len(donors)} donors have an ADNC or Braak stage, so "
            "donors were divided at random, without regard to disease stage, sex or study."
        )
        # One stratum of all donors, in place of stage and sex.
        eligible = pd.Series(True, index=donors.index)
        stage = pd.Series(0, index=donors.index)
        donors = donors.assign(sex="unknown", study="")
    counts = _counts_per_part(len(donors), int((~eligible).sum()), shares)
    order = _stratified_order(donors[eligible], stage[eligible], seed)
    part = pd.Series("train", index=donors.index, dtype=object)
    part[order] = deal(counts)
    return Split(obs["donor_id"].map(part), "donor", warnings)


def largest_remainder(n: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide `n` things by shares (Hamilton's method), at least one each if `n` allows.

    40 donors at 0.4, 0.1, 0.2, 0.3 are 16, 4, 8, 12.
    """
    total = sum(shares.values())
    # Rounding at 9 digits: 0.1 × 30 must be 3, not 3.0000000000000004.
    exact = {name: round(n * share / total, 9) for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    while n >= len(counts) and 0 in counts.values():
        counts[max(counts, key=counts.get)] -= 1
        counts[min(counts, key=counts.get)] += 1
    return counts


def deal(counts: Mapping[str, int]) -> list[str]:
    """Spread parts as evenly as possible over a sequence.

    Each place goes to the part that lags most behind its due. Dealt along an order of strata,
    every stratum is divided almost in proportion (systematic sampling).

    Returns
    -------
    list of str
        Part of each place; `counts` of each.
    """
    n, dealt, sequence = sum(counts.values()), dict.fromkeys(counts, 0), []
    for place in range(1, n + 1):
        open_parts = [name for name in counts if dealt[name] < counts[name]]
        # max() takes the first of equals, so ties follow the order of `counts`.
        name = max(open_parts, key=lambda part: counts[part] * place / n - dealt[part])
        dealt[name] += 1
        sequence.append(name)
    return sequence


def _stage(donors: pd.DataFrame) -> pd.Series:
    """Return each donor's ADNC, or Braak stage where no donor has an ADNC; −1 if missing."""
    return donors["adnc"] if (donors["adnc"] >= 0).any() else donors["braak"]


def _counts_per_part(n: int, n_fixed: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return how many donors to deal to each part, `n_fixed` standing in training already.

    The shares are of all donors. If more are fixed than training's share, the rest is divided
    among the other parts.
    """
    counts = largest_remainder(n, {name: shares[name] for name in SPLITS})
    if n_fixed > counts["train"]:
        others = {name: shares[name] for name in SPLITS if name != "train"}
        return {"train": 0, **largest_remainder(n - n_fixed, others)}
    return {**counts, "train": counts["train"] - n_fixed}


def _stratified_order(donors: pd.DataFrame, stage: pd.Series, seed: int) -> pd.Index:
    """Order donors by stage, then sex, then study, then at random.

    Studies run backwards in every other group of stage and sex: where groups are about as large
    as the places between two donors of a part, that part would else get one study only.
    """
    random = generator(seed, "split").permutation(len(donors))
    table = donors[["sex", "study"]].astype(str).assign(stage=stage, random=random)
    group = table.groupby(["stage", "sex"], sort=True).ngroup()
    study = pd.Series(pd.factorize(table["study"], sort=True)[0], index=table.index)
    table["study"] = study.where(group % 2 == 0, -study)
    return table.sort_values(["stage", "sex", "study", "random"]).index


def _by_cell(obs: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Divide the cells of each type by the shares."""
    part = pd.Series("train", index=obs.index, dtype=object)
    for cell_type, cells in obs.groupby("cell_type", sort=True, observed=True):
        counts = largest_remainder(len(cells), {name: shares[name] for name in SPLITS})
        parts = np.repeat(list(counts), list(counts.values()))
        rows = cells["cell_id"].sort_values().index
        part[rows] = generator(seed, "split", str(cell_type)).permutation(parts)
    return part
