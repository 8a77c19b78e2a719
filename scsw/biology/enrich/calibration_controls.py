"""The gene scores of the controls that each candidate is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from scsw.errors import ScswError
from scsw.files import read_columns, require

UNITS = "cohort arm seed candidate_id view control distance".split()


@dataclass(frozen=True)
class Controls:
    """The controls of one model's candidates.

    Attributes
    ----------
    scores
        ``map/control_scores.parquet``: column ``gene`` and one column of z per control.
    units
        ``map/control_units.parquet``: which controls are the null of which candidate and view.
    """

    scores: Path
    units: pd.DataFrame

    def z(
        self, candidate: str, view: str, genes: list[str], *, nearest: bool = False
    ) -> np.ndarray:
        """Return the z-scores of one candidate's controls, float32, shape (controls, genes).

        A gene that a control does not score is NaN. Controls without any score are left out.
        With `nearest` only those that are in the null of ``unit_p`` are taken.

        Raises
        ------
        ScswError
            If a control has no scores or a gene has two rows.
        """
        own = self.units[self.units["candidate_id"].eq(candidate) & self.units["view"].eq(view)]
        own = own[own["in_unit_p"].astype(bool)] if nearest else own
        names = list(dict.fromkeys(own["control"].astype(str)))
        if not names:
            return np.empty((0, len(genes)), np.float32)
        table = read_columns(self.scores, ["gene", *names]).set_index("gene")
        if table.index.has_duplicates:
            raise ScswError(
                f"{self.scores} has two rows for a gene", expected="one row per gene scored"
            )
        z = table.reindex(genes).to_numpy(np.float32).T
        return z[np.isfinite(z).any(axis=1)]


def read_controls(folder: str | Path) -> Controls:
    """Read which controls there are in a folder of `scsw map`.

    Raises
    ------
    ScswError
        If a table is missing or not as described.
    """
    scores = require(Path(folder) / "control_scores.parquet")
    units = read_columns(Path(folder) / "control_units.parquet", UNITS, optional=["in_unit_p"])
    known = set(pq.read_schema(scores).names)
    if absent := sorted(set(units["control"].astype(str)) - known):
        raise ScswError(
            f"{scores} has no scores of {len(absent)} controls, such as {absent[0]}",
            expected="a column for each control of control_units.parquet",
            fix="run the step `map` again, which writes both",
        )
    return Controls(scores, units)
