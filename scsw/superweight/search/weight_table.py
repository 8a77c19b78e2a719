"""Every down-projection weight and its first-order effect (contract: ``weights.parquet``)."""

from __future__ import annotations

import numpy as np
import pandas as pd


def weight_table(weights: list[np.ndarray], first_order: list[np.ndarray]) -> pd.DataFrame:
    """Return one row per weight, block by block and row by row.

    Parameters
    ----------
    weights
        ``linear2.weight`` of each block, shape (rows, columns).
    first_order
        First-order effect on the cell-type NLL of each weight, of the same shapes.

    Returns
    -------
    pandas.DataFrame
        ``block, row, column`` (int32)``, weight, first_order`` (float32).
    """
    parts = []
    for block, (weight, effect) in enumerate(zip(weights, first_order, strict=True)):
        rows, columns = np.indices(weight.shape, dtype=np.int32)
        parts.append(
            pd.DataFrame(
                {
                    "block": np.full(weight.size, block, np.int32),
                    "row": rows.ravel(),
                    "column": columns.ravel(),
                    "weight": weight.ravel().astype(np.float32),
                    "first_order": effect.ravel().astype(np.float32),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
