"""Step `gather`: a cohort's tables over the seeds of the real arm and over its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from scsw.files import read_table, write_table
from scsw.provenance import recorded

STABILITY_COLUMNS = "cohort candidate_id n_seeds found_in share_of_seeds comparable".split()


def gather_cohort(
    real: Mapping[int, str | Path],
    controls: Mapping[tuple[str, int], str | Path],
    out: str | Path,
    *,
    one_start: bool,
    simulated: bool = False,
) -> None:
    """Write ``verdicts``, ``performance``, ``stability``, ``pathways`` and ``stages``.

    Parameters
    ----------
    real
        Folder ``results/<run>/<cohort>/real/<seed>`` by seed.
    controls
        Folder of each control arm by ``(arm, seed)``; those that were fine-tuned give rows of
        ``performance``, all give rows of ``verdicts``.
    out
        The cohort's folder.
    one_start
        Whether the models of all seeds began with the same weights. Only then does a coordinate
        mean the same in each.
    simulated
        Whether the cohort is simulated; for the provenance.
    """
    out = Path(out)
    folders = [Path(f) for f in [*real.values(), *controls.values()]]
    own = [Path(f) for f in real.values()]
    sources = {
        "verdicts": [f / "prune" / "verdicts.parquet" for f in folders],
        "performance": [p for f in folders if (p := f / "model" / "performance.parquet").exists()],
        "pathways": [f / "enrich" / "pathways.parquet" for f in own],
        "stages": [f / "stages" / "stages.parquet" for f in own],
    }
    inputs = {f"{name}{i}": p for name, paths in sources.items() for i, p in enumerate(paths)}
    with recorded(
        "gather", out, inputs=inputs, parameters={"one_start": one_start}, simulated=simulated
    ):
        for name, paths in sources.items():
            write_table(joined(paths), out / f"{name}.parquet")
        verdicts = read_table(out / "verdicts.parquet")
        table = stability(verdicts[verdicts["arm"] == "real"], one_start=one_start)
        write_table(table, out / "stability.parquet")


def joined(paths: Sequence[Path]) -> pd.DataFrame:
    """Return tables one under the other; empty ones only lend their columns."""
    tables = [read_table(path) for path in paths]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def stability(verdicts: pd.DataFrame, *, one_start: bool) -> pd.DataFrame:
    """Return in how many seeds each candidate was found (contract: ``stability.parquet``)."""
    n_seeds = verdicts["seed"].nunique()
    found = verdicts.groupby(["cohort", "candidate_id"])["seed"].agg(lambda s: sorted(set(s)))
    table = found.rename("seeds").reset_index()
    table["n_seeds"] = n_seeds
    table["found_in"] = [",".join(map(str, seeds)) for seeds in table["seeds"]]
    table["share_of_seeds"] = table["seeds"].map(len) / max(n_seeds, 1)
    table["comparable"] = one_start
    order = ["share_of_seeds", "candidate_id"]
    return table[STABILITY_COLUMNS].sort_values(order, ascending=[False, True], ignore_index=True)
