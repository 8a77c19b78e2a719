"""Made-up effects tables, of which every verdict is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.settings import section_settings
from scsw.superweight.verdict.judged_run import JudgedRun

N_CONTROLS = 199
N_DONORS = 12
QUIET = 0.0005  # an effect like that of a random weight


def candidates(names, **changes):
    """Return a frozen family."""
    base = {
        "cohort": "x",
        "arm": "real",
        "seed": 0,
        "family": "ffn_down",
        "block": 0,
        "row": 1,
        "column": 2,
        "weight": 0.3,
        "spike_ratio": 50.0,
        "found_by": "spike",
        "contribution": 0.9,
        "stability": 1.0,
        "iteration": 1,
    } | changes
    return pd.DataFrame(
        [base | {"rank": i + 1, "candidate_id": name} for i, name in enumerate(names)]
    )


def effects(
    rises,
    *,
    wanda=QUIET,
    row_neighbour=QUIET,
    noise=QUIET,
    n_matched=20,
    pairs=None,
    n_donors=N_DONORS,
    spread=0.01,
    seed=0,
    floor=0.0,
):
    """Build effects.

    Parameters
    ----------
    rises
        For each candidate its mean rise of the NLL when zeroed and when set to its mean.
    wanda, row_neighbour, noise
        Rise of every edit of these sets, or a list of one for each edit.
    pairs
        Rise of two candidates zeroed together.
    spread
        Standard deviation over donors of a candidate's rise; it moves all modes of it alike.
    """
    rng = np.random.default_rng(seed)
    donors = [f"d{i}" for i in range(n_donors)]
    rows = []

    def add(weight_set, name, mode, rise, of="", draw=0, by_donor=0.0, block=0):
        for donor, own in zip(donors, rise + np.broadcast_to(by_donor, n_donors), strict=True):
            place = (weight_set, name, of, block, 1, 2, mode, 0.0, draw)
            rows.append((*place, donor, "A", "MTG", 10, 5.0, 10 * own))

    moved = {}
    for name, (zero, mean) in rises.items():
        shift = moved[name] = rng.normal(0, spread, n_donors)
        for mode, rise in {"zero": zero, "mean": mean, "shuffled": mean, "restored": 0.1}.items():
            add("candidate", name, mode, rise, by_donor=shift)
        for draw, rise in enumerate(np.broadcast_to(noise, n_matched)):
            add("candidate", name, "noise", rise, draw=draw)
        for set_, levels in {"wanda": wanda, "row_neighbour": row_neighbour}.items():
            for i, rise in enumerate(np.broadcast_to(levels, np.shape(levels) or n_matched)):
                add(set_, f"{set_}{i}", "zero", rise, of=name)
    for (one, other), rise in (pairs or {}).items():
        add("pair", one, "zero", rise, of=other, by_donor=moved[one] + moved[other])
    for i in range(N_CONTROLS):
        add("random", f"c{i}", "zero", rng.normal(0, 0.001))
    columns = (
        "weight_set candidate_id of block row column mode scale draw donor_id cell_type region "
        "n_cells sum_nll_intact sum_d_nll"
    )
    return pd.DataFrame(rows, columns=columns.split()).assign(
        n_correct=8,
        n_correct_intact=9,
        sum_d_sq_error=10.0,
        sum_sq_error_intact=100.0,
        floor_nll=10 * floor,
    )


def run(gap=2.0, split_unit="donor", n_donors=N_DONORS, bootstrap=1000, **prune):
    """Return the test of one model whose donors are alike in their gap, but not the same."""
    return JudgedRun(
        section_settings("search"),
        section_settings("prune", {"n_controls": N_CONTROLS, **prune}),
        section_settings("statistics", {"bootstrap": bootstrap}),
        n_donors=n_donors,
        split_unit=split_unit,
        gaps=pd.Series(gap + 0.01 * np.linspace(-1, 1, n_donors)),
        n_cohort_donors=3 * n_donors if n_donors > 1 else 1,
    )
