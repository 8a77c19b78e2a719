"""Cells for the passes that are too long for all: as many of each donor and cell type as can be."""

from __future__ import annotations

import numpy as np
import pandas as pd


def spread_cells(obs: pd.DataFrame, keys: np.ndarray, n: int | None) -> np.ndarray:
    """Choose cells in turn from every donor and cell type.

    Parameters
    ----------
    obs
        ``donor_id, cell_type`` of each cell.
    keys
        Number of each cell by its name (`Tokenizer.cell_keys`), by whose order cells of one donor
        and type are taken, so that the choice does not hang on the order of the cells.
    n
        Most cells; None for all.

    Returns
    -------
    numpy.ndarray
        Rows of the chosen cells, ascending, int64.
    """
    if n is None or n >= len(obs):
        return np.arange(len(obs))
    table = obs[["donor_id", "cell_type"]].astype(str).reset_index(drop=True).assign(key=keys)
    table = table.sort_values("key", kind="stable")
    turn = table.groupby(["donor_id", "cell_type"]).cumcount()
    order = np.lexsort([table["key"].to_numpy(), turn.to_numpy()])
    return np.sort(table.index.to_numpy()[order[:n]])
