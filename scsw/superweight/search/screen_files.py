"""What the jobs of a search in shards hand on: finds, first-order screen and slopes, on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scsw.errors import ScswError
from scsw.files import read_table, require, whole, write_table
from scsw.superweight.search.screen import Screen, with_slopes

TABLES = ("spiking", "first_order", "by_type")
EFFECTS = "effects.npz"


def write_screen(folder: Path, spiking: pd.DataFrame, found: Screen) -> None:
    """Write the finds of the spike search and a first-order screen without slopes."""
    tables = zip(TABLES, (spiking, found.table, found.by_type), strict=True)
    for name, table in tables:
        write_table(table, folder / f"{name}.parquet")
    arrays = {
        f"{loss}.{block}": effect
        for loss, effects in found.effects.items()
        for block, effect in enumerate(effects)
    }
    with whole(folder / EFFECTS) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_first_order(folder: Path) -> tuple[pd.DataFrame, Screen]:
    """Return what `write_screen` wrote, to the last digit."""
    spiking, table, by_type = (read_table(folder / f"{name}.parquet") for name in TABLES)
    with np.load(require(folder / EFFECTS)) as arrays:
        n_blocks = sum(name.startswith("nll.") for name in arrays)
        effects = {
            loss: [arrays[f"{loss}.{block}"] for block in range(n_blocks)]
            for loss in ("nll", "reconstruction")
        }
    return spiking, Screen(effects, table, by_type)


def slopes_file(folder: Path, shard: int, n_shards: int) -> Path:
    """Return where a shard's slopes are."""
    return folder / "slopes" / f"{shard}-of-{n_shards}.parquet"


def read_screen(folder: Path, n_shards: int) -> tuple[pd.DataFrame, Screen]:
    """Return the finds of the spike search, and the screen with the slopes of all shards.

    Raises
    ------
    ScswError
        If a file is missing, or the slopes are not those of this screen's weights.
    """
    spiking, found = read_first_order(folder)
    parts = [read_table(slopes_file(folder, shard, n_shards)) for shard in range(n_shards)]
    slopes = pd.concat(parts, ignore_index=True)
    wanted = set(map(tuple, found.places().tolist()))
    given = set(slopes[["block", "row", "column"]].itertuples(index=False, name=None))
    if wanted != given:
        raise ScswError(
            f"the slopes in {folder} are those of {len(given)} weights, of which the screen wants "
            f"{len(wanted & given)} of {len(wanted)}",
            expected="the shards of one `scsw search-screen`",
            fix="run `scsw search-slopes` again for every shard",
        )
    return spiking, with_slopes(found, slopes)
