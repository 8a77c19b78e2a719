"""What a verdict needs beside the effects: the config, the test donors, the gap to the floor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.superweight.verdict.statistics import studentised_interval


@dataclass
class JudgedRun:
    """One model's test.

    Attributes
    ----------
    search, prune, statistics
        Sections of the config.
    n_donors
        Test donors.
    split_unit
        ``donor`` or ``cell``.
    gaps
        For each donor nats per cell from the intact NLL up to that of the training frequencies.
    n_cohort_donors
        Donors of the whole cohort.
    """

    search: SimpleNamespace
    prune: SimpleNamespace
    statistics: SimpleNamespace
    n_donors: int
    split_unit: str
    gaps: pd.Series
    n_cohort_donors: int = 0

    @property
    def assessable(self) -> bool:
        """Whether there are test donors enough for an interval."""
        return self.split_unit == "donor" and self.n_donors >= self.statistics.min_test_donors

    @property
    def gap(self) -> float:
        """Mean gap over donors, 0 where the donors do not show that there is one."""
        if not self.assessable:
            return max(float(self.gaps.mean()), 0.0)
        low, _ = self.interval(self.gaps.to_numpy())
        return float(self.gaps.mean()) if low > 0 else 0.0

    @property
    def min_effect(self) -> float:
        """Smallest effect that counts, nats per cell; NaN where nothing could collapse."""
        return self.prune.min_effect * self.gap if self.gap > 0 else math.nan

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Studentised interval over donors; NaN where there are too few."""
        if not self.assessable:
            return math.nan, math.nan
        return studentised_interval(
            values, n_resamples=self.statistics.bootstrap, seed=self.statistics.seed
        )

    def why_not_assessable(self) -> str:
        """Return a sentence that says why no candidate can be judged, or ""."""
        if self.assessable:
            return ""
        if self.n_cohort_donors == 1 or self.n_donors == 1:
            return "not assessable: one donor"
        if self.split_unit != "donor":
            return (
                f"not assessable: the cohort's {self.n_cohort_donors} donors are too few to keep "
                "test donors apart, so cells were split"
            )
        return (
            f"not assessable: {self.n_donors} test donors, at least "
            f"{self.statistics.min_test_donors} are needed"
        )
