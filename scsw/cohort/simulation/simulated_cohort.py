"""A simulated cohort before it takes the layout of a source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scsw.cohort.simulation.cell_tree import CellType
from scsw.cohort.simulation.expression import STATES, Nuclei


@dataclass(frozen=True)
class SimulatedCohort:
    """What a layout writes.

    Attributes
    ----------
    genes
        ``symbol, ensembl_id``.
    types
        Cell types; state s of type t is `nuclei.state` = t * STATES + s.
    donors
        See `donors.donors`.
    nuclei
        Counts, donor and state of each nucleus.
    rng
        Source of chance for names, batches and other columns without meaning.
    """

    genes: pd.DataFrame
    types: list[CellType]
    donors: pd.DataFrame
    nuclei: Nuclei
    rng: np.random.Generator

    def of_type(self, names: list[str]) -> np.ndarray:
        """Spread one name per type over the nuclei."""
        return np.asarray(names, dtype=object)[self.nuclei.state // STATES]

    def of_state(self, names: list[str]) -> np.ndarray:
        """Spread one name per type and state over the nuclei."""
        return np.asarray(names, dtype=object)[self.nuclei.state]

    def barcodes(self) -> list[str]:
        """Return distinct 16-letter barcodes, one per nucleus."""
        n = len(self.nuclei.state)
        numbers = np.unique(self.rng.integers(4**16, size=2 * n))  # more than enough, ascending
        chosen = self.rng.permutation(numbers)[:n]
        letters = np.array(list("ACGT"))[(chosen[:, None] // 4 ** np.arange(16)) % 4]
        return ["".join(row) for row in letters]
