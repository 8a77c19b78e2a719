"""Gene scores of the controls, through the same code as those of the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scsw.biology.map.gene_strata import Stratum
from scsw.biology.map.unit_null import UNIT_NULL, against_units
from scsw.biology.matched_genes import matched_z, n_passing


class ControlScores:
    """z against matched genes of every control, over all cells.

    Parameters
    ----------
    names
        Names of all genes.
    scored
        Places of the genes that have a row.
    alpha
        Level at which genes of a control are counted as standing out.

    Attributes
    ----------
    n_passed
        By name of a control, how many genes do, see `n_passing`.
    """

    def __init__(self, names: np.ndarray, scored: np.ndarray, alpha: float) -> None:
        self._genes, self._scored, self._alpha = names[scored], scored, alpha
        self.n_passed: dict[str, float] = {}
        self._parts: list[np.ndarray] = []
        self._place: dict[str, int] = {}

    def add(self, name: str, stratum: Stratum | None, sums: np.ndarray) -> None:
        """Score a control.

        Parameters
        ----------
        name
            Its name.
        stratum
            All cells, with the genes that are scored, which have a row; None for no gene.
        sums
            Sums over cells by gene, shape (genes,).
        """
        z = np.full(self._scored.size, np.nan, np.float32)
        self.n_passed[name] = np.nan
        if stratum is not None:
            rows = np.searchsorted(self._scored, stratum.genes)
            z[rows] = found = matched_z(stratum.mean(sums), stratum.matched)
            self.n_passed[name] = n_passing(found, stratum.matched, self._alpha)
        self._place[name] = len(self._parts)
        self._parts.append(z)

    def of(self, names: Sequence[str], stratum: Stratum) -> np.ndarray:
        """Return the z of some controls at the genes of a stratum, float64, (controls, genes)."""
        rows = np.searchsorted(self._scored, stratum.genes)
        found = [self._parts[self._place[name]][rows] for name in names]
        return np.array(found, float).reshape(len(names), rows.size)

    def table(self) -> pd.DataFrame:
        """Return the contract ``control_scores.parquet``."""
        values = np.array(self._parts, np.float32).reshape(len(self._parts), self._genes.size).T
        table = pd.DataFrame(values, columns=list(self._place), index=range(self._genes.size))
        table.insert(0, "gene", self._genes)
        return table


def against_controls(
    table: pd.DataFrame,
    weight: float,
    names: Sequence[str],
    controls: ControlScores,
    stratum: Stratum,
) -> pd.DataFrame:
    """Return a candidate's rows with the columns of the unit-level null added.

    Parameters
    ----------
    table
        Rows of one candidate and view over all cells.
    weight
        Its weight. Controls are scored as if theirs were positive.
    names
        Controls that are its null, nearest first.
    controls, stratum
        Their scores, and all cells.
    """
    sign = -1.0 if weight < 0 else 1.0
    found = against_units(sign * table["z"].to_numpy(float), controls.of(names, stratum))
    return table.assign(
        unit_mean=sign * found.mean,
        unit_sd=found.sd,
        unit_z=sign * found.z,
        unit_p=found.p,
        unit_null=UNIT_NULL[table["view"].iloc[0]],
        n_units=found.n,
    )
