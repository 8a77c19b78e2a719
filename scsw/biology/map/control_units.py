"""Which hidden units and edits are the null of a candidate's gene scores.

*Read-in* is compared with other hidden units, *write-out* with the same L2 change made to other
output channels. Units are alike that fire as often and as strongly: both are ranked over all units
of the model, and the distance is Euclid's over the two ranks, in shares of the number of units
(`scsw.superweight.search.matched_units` measures it within a block). No candidate is a control.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from scsw.biology.map.unit_null import FEWEST_UNITS

SHARE_OF_BLOCK = 0.25  # of a block's units, the nearest are the null of a unit's p
ROWS_OF_ALIKE = 8  # output channels that each unit like a candidate's writes into
UNITS = (
    "candidate_id view control distance in_unit_p l2_ratio linearity n_passed own_passed"
).split()


class Alike:
    """How alike the hidden units of a model are.

    Parameters
    ----------
    firing, activation
        By block: share of tokens at which a unit fires, and its mean; shape (units,).
    """

    def __init__(self, firing: Sequence[np.ndarray], activation: Sequence[np.ndarray]) -> None:
        self.block = np.repeat(np.arange(len(firing)), [len(own) for own in firing])
        self.column = np.concatenate([np.arange(len(own)) for own in firing])
        measures = np.column_stack([np.concatenate(firing), np.concatenate(activation)])
        self._ranks = rankdata(measures, axis=0) / len(measures)

    def index(self, block: int, column: int) -> int:
        """Return the place of a unit among all."""
        return int(np.flatnonzero((self.block == block) & (self.column == column))[0])

    def nearest(self, block: int, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of all units, nearest first, and the distance of each unit."""
        own = self._ranks[self.index(block, column)]
        distance = np.sqrt(np.square(self._ranks - own).sum(1))
        return np.argsort(distance, kind="stable"), distance


def read_in_controls(candidates: pd.DataFrame, alike: Alike, n_controls: int) -> pd.DataFrame:
    """Choose the hidden units that each candidate's unit is compared with.

    First the nearest quarter of its own block (in a small block the fewest that can be tested),
    which are the null of ``unit_p``; then the nearest of all other units of the model, until there
    are `n_controls`.

    Parameters
    ----------
    candidates
        The frozen family: ``candidate_id, block, column``.
    alike
        Of all hidden units.
    n_controls
        Most controls of a candidate.

    Returns
    -------
    pandas.DataFrame
        ``candidate_id, view, control, distance, in_unit_p``, then ``block, column``.
    """
    taken = {alike.index(c.block, c.column) for c in candidates.itertuples()}
    rows = []
    for c in candidates.itertuples():
        order, distance = alike.nearest(c.block, c.column)
        order = np.array([unit for unit in order if unit not in taken], int)
        own_block = order[alike.block[order] == c.block]
        first = own_block[: max(FEWEST_UNITS, int(SHARE_OF_BLOCK * (alike.block == c.block).sum()))]
        others = order[~np.isin(order, first)]
        for place, unit in enumerate([*first, *others][:n_controls]):
            block, column = int(alike.block[unit]), int(alike.column[unit])
            name = f"read_in.b{block}.c{column}"
            own = (c.candidate_id, "read_in", name, distance[unit], place < len(first))
            rows.append((*own, block, column))
    return pd.DataFrame(rows, columns=[*UNITS[:5], "block", "column"])


def write_out_controls(
    candidates: pd.DataFrame,
    alike: Alike,
    size: Sequence[np.ndarray],
    n_rows: int,
    n_controls: int,
    seed: int,
) -> pd.DataFrame:
    """Choose the edits that each candidate's is compared with.

    Half, and at least the fewest that can be tested, are the candidate's own token-wise change
    made to other output channels, which are the null of ``unit_p``; the others are the change of
    units of its block that are like its own, each made to a few channels and scaled to the
    candidate's L2. Channels are drawn at random from those of no candidate of the block, alike for
    all candidates, so that edits are shared.

    Parameters
    ----------
    candidates
        The frozen family: ``candidate_id, block, row, column, weight``.
    alike
        Of all hidden units.
    size
        By block: root mean square of each unit, shape (units,).
    n_rows
        Output channels of a block.
    n_controls
        Most controls of a candidate.
    seed
        Draws the channels.

    Returns
    -------
    pandas.DataFrame
        ``candidate_id, view, control, distance, in_unit_p, l2_ratio``, then ``block, row, column``
        and ``factor``: the control's change is -factor·h of unit `column`, made to `row`.
        ``l2_ratio`` is the candidate's L2 change over the control's: above or below 1 where an
        edit was computed at the size of a candidate that comes before.
    """
    computed: dict[str, float] = {}
    rows = []
    for c in candidates.itertuples():
        found = _edits(c, candidates, alike, size, n_rows, n_controls, seed)
        for row, column, distance, own in found:
            name = f"write_out.b{c.block}.r{row}.c{column}"
            ratio = 1.0 if own else size[c.block][c.column] / size[c.block][column]
            factor = abs(c.weight) * ratio
            used = computed.setdefault(name, factor or 1.0)
            start = (c.candidate_id, "write_out", name, distance, own, factor / used)
            rows.append((*start, c.block, row, column, used))
    names = [*UNITS[:6], "block", "row", "column", "factor"]
    return pd.DataFrame(rows, columns=names)


def _edits(
    c,
    candidates: pd.DataFrame,
    alike: Alike,
    size: Sequence[np.ndarray],
    n_rows: int,
    n_controls: int,
    seed: int,
) -> Iterator[tuple[int, int, float, bool]]:
    """Yield ``row, column, distance, own unit`` of a candidate's controls, best first."""
    same = candidates[candidates["block"] == c.block]
    free = np.setdiff1d(np.arange(n_rows), same["row"])
    n_own = min(free.size, n_controls, max(FEWEST_UNITS, n_controls // 2))

    def drawn(column: int, n: int) -> list[int]:
        rng = np.random.default_rng([seed, c.block, column])
        return [int(row) for row in rng.permutation(free)[:n]]

    for row in drawn(c.column, n_own):
        yield row, int(c.column), 0.0, True
    order, distance = alike.nearest(c.block, c.column)
    wanted = n_controls - n_own
    for unit in order:
        column = int(alike.column[unit])
        silent = size[c.block][column] == 0 if alike.block[unit] == c.block else True
        if silent or column in set(same["column"]):
            continue
        for row in drawn(column, min(ROWS_OF_ALIKE, wanted)):
            yield row, column, float(distance[unit]), False
            wanted -= 1
        if wanted <= 0:
            return
