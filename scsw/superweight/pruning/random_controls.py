"""Random control weights: the null of every rank p-value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.superweight.pruning.control_sets import free_weights


def draw_controls(
    candidates: pd.DataFrame,
    shapes: list[tuple[int, int]],
    *,
    n_controls: int,
    scope: str,
    seed: int,
) -> pd.DataFrame:
    """Draw random scalars of the down-projections, without the candidates.

    Parameters
    ----------
    candidates
        Frozen family with ``block, row, column``.
    shapes
        Shape of each block's down-projection.
    n_controls, scope
        As in the config: per tensor that holds a candidate, or in total over all blocks.
    seed
        Seed of the draw.

    Returns
    -------
    pandas.DataFrame
        ``block, row, column``, each scalar once.
    """
    taken = set(zip(candidates["block"], candidates["row"], candidates["column"], strict=True))
    if scope == "same_tensor":
        counts = dict.fromkeys(sorted(set(candidates["block"])), n_controls)
    else:
        base, extra = divmod(n_controls, len(shapes))
        counts = {block: base + (block < extra) for block in range(len(shapes))}
    drawn = []
    for block, n in counts.items():
        rows, columns = shapes[block]
        free = np.flatnonzero(free_weights((rows, columns), block, taken))
        if n > free.size:
            raise ScswError(
                f"prune.n_controls asks for {n} random weights of block {block}, which has "
                f"{free.size} besides the candidates",
                fix="lower prune.n_controls and search.max_candidates, or use a larger model",
            )
        chosen = np.random.default_rng([seed, block]).choice(free, n, replace=False)
        drawn += [(block, *divmod(int(i), columns)) for i in np.sort(chosen)]
    return pd.DataFrame(drawn, columns=["block", "row", "column"])
