"""The shards of `prune` put together, and whether they hold what was planned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.superweight.verdict.statistics import EDIT

CELLS = ["donor_id", "cell_type", "region"]  # what tells the groups of cells apart
FIX = "give every shard of one model and one config, each once"


def gather(shards: Iterable[str | Path]) -> pd.DataFrame:
    """Return the effects of all shards in one fixed order."""
    table = pd.concat([read_table(path) for path in shards], ignore_index=True)
    order = ["block", *EDIT, *CELLS]
    return table.sort_values(order, kind="stable").reset_index(drop=True)


def check_complete(effects: pd.DataFrame, family: pd.DataFrame, prune: SimpleNamespace) -> None:
    """Raise unless the shards hold each edit of one model exactly once.

    Parameters
    ----------
    effects
        Rows of all shards.
    family
        The frozen candidates.
    prune
        Section of the config.

    Raises
    ------
    ScswError
        If a shard is missing, given twice, or of another model or config.
    """
    if effects.duplicated([*EDIT, *CELLS]).any():
        raise ScswError("the shards hold the same edit twice", fix=FIX)
    model = ["cohort", "arm", "seed"]
    found = set(effects[model].drop_duplicates().itertuples(index=False, name=None))
    if found != set(family[model].itertuples(index=False, name=None)):
        raise ScswError(f"the shards are of {sorted(found)}, not of the candidates' model", fix=FIX)
    edits = effects[[*EDIT, "block"]].drop_duplicates(EDIT)
    sizes = edits.groupby(["weight_set", "mode"]).size()
    for key, n in _expected(family, prune).items():
        held = int(sizes.get(key, 0))
        if held != n:
            what = f"{held} random controls" if key[0] == "random" else f"{held} {' '.join(key)}"
            raise ScswError(f"the shards hold {what}", expected=str(n), fix=FIX)
    draws = edits.loc[edits["mode"] == "noise", "candidate_id"].value_counts()
    if len(draws) != len(family) * (prune.n_noise > 0) or draws.nunique() > 1:
        raise ScswError("the shards do not hold as many noise edits of each candidate", fix=FIX)


def _expected(family: pd.DataFrame, prune: SimpleNamespace) -> dict[tuple[str, str], int]:
    """Return how many edits there are of what does not depend on the sizes of the model."""
    m, among = len(family), min(len(family), prune.n_pairs_among)
    n_tensors = family["block"].nunique() if prune.control_scope == "same_tensor" else 1
    return {
        ("random", "zero"): prune.n_controls * n_tensors,
        **{("candidate", mode): m for mode in ("zero", "mean", "shuffled", "restored")},
        ("candidate", "scale"): m * len(prune.scales),
        ("wanda", "zero"): m * prune.n_matched,
        ("cumulative", "zero"): m,
        ("pair", "zero"): among * (among - 1) // 2,
        **{(name, "zero"): m for name in ("row", "column", "gamma", "beta")},
    }
