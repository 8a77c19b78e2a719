"""Hidden units like those of the candidates: the controls of what a unit reads.

How often and how strongly a unit fires shapes its gene profile: one that fires at most tokens reads
what every such unit reads. So a unit is compared with its neighbours in these two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

MOST_OF_A_BLOCK = 0.1
COLUMNS = "unit_set block column of firing_rate mean_activation".split()


def matched_units(
    firing: Sequence[np.ndarray],
    activation: Sequence[np.ndarray],
    wanted: Iterable[tuple[int, int]],
    *,
    n_controls: int,
    seed: int,
) -> pd.DataFrame:
    """Return some hidden units and, for each, the units of its block that fire most like it.

    Both measures are ranked within the block, and the distance is Euclid's over the two ranks. In
    each round every unit, in random order, takes the nearest one that is neither wanted itself nor
    taken already, until each has `n_controls` or the block is used up; ties go by a random order.
    A unit gets no more controls than a tenth of its block, at least one: in a small block, further
    ones would be unlike it.

    Parameters
    ----------
    firing, activation
        By block: share of tokens at which a unit fires, and its mean, shape (units,).
    wanted
        ``block, column`` of units; one that is named twice counts once.
    n_controls
        Most controls of each.
    seed
        Seed of the random orders.

    Returns
    -------
    pandas.DataFrame
        ``unit_set`` (``candidate``, ``control``), ``block, column, of`` (column of the unit whose
        control it is; a candidate's own)``, firing_rate, mean_activation``.
    """
    columns: dict[int, list[int]] = {}
    for block, column in sorted({(int(block), int(column)) for block, column in wanted}):
        columns.setdefault(block, []).append(column)
    parts = []
    for block, own in columns.items():
        rng = np.random.default_rng([seed, block])
        measures = np.column_stack([firing[block], activation[block]])
        n = min(n_controls, max(1, int(MOST_OF_A_BLOCK * len(measures))))
        taken = _nearest(rankdata(measures, axis=0), np.array(own), n, rng)
        units = [("candidate", column, column) for column in own]
        units += [("control", column, of) for of, found in taken.items() for column in found]
        table = pd.DataFrame(units, columns=["unit_set", "column", "of"])
        rates, means = measures[table["column"]].T
        parts.append(table.assign(block=block, firing_rate=rates, mean_activation=means))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _nearest(
    ranks: np.ndarray, own: np.ndarray, n_controls: int, rng: np.random.Generator
) -> dict[int, list[int]]:
    """Return the controls of each unit, the nearest first."""
    free = rng.permutation(np.setdiff1d(np.arange(len(ranks)), own))
    order = np.argsort(cdist(ranks[own], ranks[free]), axis=1, kind="stable")
    queues = [iter(free[places].tolist()) for places in order]
    found: dict[int, list[int]] = {column: [] for column in own.tolist()}
    taken: set[int] = set()
    for _ in range(n_controls):
        for index in rng.permutation(own.size):
            nearest = next((unit for unit in queues[index] if unit not in taken), None)
            if nearest is not None:
                taken.add(nearest)
                found[int(own[index])].append(nearest)
    return found
