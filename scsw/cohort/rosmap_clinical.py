"""ROSMAP's clinical table (Synapse syn3191087), which all of its single-nucleus sets share.

It gives each donor's Braak stage and CERAD score but no ADNC, which stays missing: it cannot be
derived without the Thal phase. The sets name a donor by projid or by individualID, and share many
donors, so that in all of them ``donor_id`` is projid with 8 digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scsw.cohort import coding
from scsw.cohort.columns import Columns
from scsw.cohort.fields import donor_fields
from scsw.cohort.request import Request
from scsw.cohort.text_table import need_columns, read_text_table
from scsw.errors import ScswError

CLINICAL = "ROSMAP_clinical.csv"
CANDIDATES = {
    "sex": ("msex",),
    "age_death": ("age_death",),
    "pmi": ("pmi",),
    "apoe_genotype": ("apoe_genotype",),
    "braak": ("braaksc",),
    "cerad": ("ceradsc",),
    "cognition": ("cogdx",),
    "study": ("Study",),
}

LEAVE_OUT = (
    "or leave out such donors' cells: `values: {donor_id: {NAME: ''}}`, the name as the cells' own "
    "column has it"
)
SEX = {"0": "female", "1": "male"}
# ceradsc runs from 1 = definite to 4 = no AD; ours from none to frequent.
CERAD = {"1": 3, "2": 2, "3": 1, "4": 0}
# 1 none; 2, 3 mild impairment; 4, 5 Alzheimer's dementia; 6 other dementia.
COGNITION = {"1": 0, "2": 1, "3": 1, "4": 2, "5": 2, "6": 2}


def read_clinical(path: Path, key: str = "projid") -> pd.DataFrame:
    """Read the clinical table.

    Parameters
    ----------
    path
        The comma-separated file.
    key
        Column that names the donors: ``projid``, padded to 8 digits here, or ``individualID``.

    Returns
    -------
    pandas.DataFrame
        ``donor_id`` (projid, padded) and all columns but `key`, categorical texts; index = donor,
        donors without a name left out.

    Raises
    ------
    ScswError
        If the file is no such table, names a donor twice, or has no projid for one.
    """
    donors = read_text_table(path, ",")
    need_columns(donors, [key, "projid"], path, f"the comma-separated table {CLINICAL}")
    projid = padded_projid(donors["projid"]).astype(str)
    names = projid if key == "projid" else blank_missing(donors[key]).astype(str)
    donors = donors.assign(donor_id=projid).set_index(pd.Index(names, dtype=object))
    donors = donors[donors.index != ""]
    _check_named_once(pd.Index(donors.index), key, path)
    if unnamed := sorted(donors.index[donors["donor_id"] == ""]):
        raise ScswError(
            f"{path} has no projid for {len(unnamed)} of {len(donors)} participants, such as "
            + ", ".join(unnamed[:5]),
            expected="a projid for each, which names the donor in every set of ROSMAP",
        )
    _check_named_once(pd.Index(donors["donor_id"]), "projid", path)
    return donors.drop(columns=key).astype("category")


def blank_missing(names: pd.Series) -> pd.Series:
    """Return names as text, "" where they say that none is known, such as NA; categorical."""
    return coding.mapped(names, lambda name: "" if coding.is_nameless(name) else name)


def padded_projid(projid: pd.Series) -> pd.Series:
    """Return ROSMAP's participant number as 8 digits, from text or number, padded or not.

    Raises
    ------
    ScswError
        If a value is no such number.
    """
    return coding.decoded(
        projid,
        lambda value: f"{coding.integer(0, 99_999_999)(value):08d}",
        missing="",
        field="donor_id",
        expected="a number of up to 8 digits",
    )


def with_donor_rows(
    cells: pd.DataFrame, donor: pd.Series, donors: pd.DataFrame, path: Path
) -> pd.DataFrame:
    """Give each cell its donor's row, and the column ``donor_id`` ("" if it is not known).

    Parameters
    ----------
    cells
        Columns of the cells; they stand before the donors' of the same name.
    donor
        Donor of each cell, "" if it is not known; categorical, index as in `cells`.
    donors
        Rows of the donors, with ``donor_id``; index = donor.
    path
        Their file, for the message.

    Raises
    ------
    ScswError
        If a donor has no row.
    """
    named = set(donor.cat.categories) - {""}
    if unknown := sorted(named - set(donors.index)):
        raise ScswError(
            f"{len(unknown)} of {len(named)} donors have no row in {path}, "
            f"such as {', '.join(unknown[:5])}",
            expected="a row for each donor of the cells",
            fix="use the complete table, or name it: clinical with --clinical, donors with "
            "--donor-table (in the config: `clinical:`, `donor_table:`); " + LEAVE_OUT,
        )
    place = donors.index.get_indexer(donor.cat.categories)[donor.cat.codes]

    def of_cells(name: str) -> pd.Categorical:
        return donors[name].array.take(place, allow_fill=True)

    own = {name: cells[name].array for name in cells.columns}
    new = {name: of_cells(name) for name in donors.columns if name not in cells.columns}
    donor_id = coding.text(pd.Series(of_cells("donor_id"))).array
    table = {**own, **new, "donor_id": donor_id}
    return pd.DataFrame(table, index=cells.index, copy=False)


def donor_names(
    cells: pd.DataFrame,
    candidates: Sequence[str],
    request: Request,
    where: str,
    present: Sequence[str],
) -> pd.Series:
    """Return the name of each cell's donor as the source or the user gives it.

    Parameters
    ----------
    cells
        Columns of the cells.
    candidates
        Columns that may hold the names, in this order, unless the request names another.
    request
        The user's columns and values.
    where
        Name of the table for messages.
    present
        Names of all columns of the source, for messages.

    Returns
    -------
    pandas.Series
        Categorical text, "" where no donor is known.

    Raises
    ------
    ScswError
        If there is no such column.
    """
    columns, values = (
        {field: known for field, known in asked.items() if field == "donor_id"}
        for asked in (request.columns, request.values)
    )
    found = Columns(cells, {"donor_id": candidates}, columns, where, (), present, values)
    column = found.need("donor_id")
    return blank_missing(found.text("donor_id")).rename(column.name)


def beside(path: str, role: str) -> Path:
    """Return the path of a table that stands beside the counts, if it is there.

    Parameters
    ----------
    path
        The table.
    role
        What it is of: ``cells``, ``donors`` or ``clinical``.

    Raises
    ------
    ScswError
        Saying how to name the table.
    """
    if not Path(path).exists():
        option = {"cells": "--cell-table", "donors": "--donor-table"}.get(role, "--clinical")
        key = option.removeprefix("--").replace("-", "_")
        raise ScswError(
            f"{path} does not exist",
            expected="this table beside the counts",
            fix=f"put it there, or name it with {option} (in the config: `{key}:`)",
        )
    return Path(path)


def with_clinical(cells: pd.DataFrame, donor: pd.Series, path: Path) -> pd.DataFrame:
    """Give each cell its donor's clinical row, by whichever of its two names the donor goes.

    Parameters
    ----------
    cells
        Columns of the cells; they stand before the clinical ones of the same name.
    donor
        Donor of each cell, by projid (padded or not) or by individualID, such as R1234567; "" if
        it is not known; categorical, index as in `cells`.
    path
        The clinical table.

    Raises
    ------
    ScswError
        If the table cannot be read, or a donor has no row.
    """
    if any(re.fullmatch(r"R\d+", name) for name in donor.cat.categories):
        return with_donor_rows(cells, donor, read_clinical(path, "individualID"), path)
    return with_donor_rows(cells, padded_projid(donor), read_clinical(path), path)


def clinical_fields(found: Columns) -> dict[str, pd.Series]:
    """Decode the clinical columns of each cell's donor."""
    return {
        **donor_fields(found, SEX),
        "study": found.text("study"),
        "braak": found.decoded("braak", coding.braak, -1, "0 to 6"),
        "cerad": found.decoded("cerad", coding.choice(CERAD), -1, "1 to 4"),
        "cognition": found.decoded("cognition", coding.choice(COGNITION), -1, "1 to 6"),
    }


def _check_named_once(names: pd.Index, key: str, path: Path) -> None:
    if names.has_duplicates:
        twice = sorted(set(names[names.duplicated()]))
        raise ScswError(
            f"{key} {', '.join(twice[:5])} occurs more than once in {path}",
            expected="one row per participant",
        )
