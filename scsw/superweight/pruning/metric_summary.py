"""What zeroing the candidates does to every metric, over donors (contract: ``metrics.parquet``).

All of it describes; only the NLL over all cells makes a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scsw.superweight.pruning.derived_metrics import metric_table, over_donors, with_donors
from scsw.superweight.verdict.judged_run import JudgedRun

STAGES = ["adnc", "braak"]
BY = ["cell_type", "region", "donor_id", *STAGES]  # marginal, never crossed
IDENTITY = "weight_set candidate_id of mode scale draw".split()
COLUMNS = [
    *IDENTITY,
    *"by group metric intact pruned effect effect_low effect_high floor unresolved".split(),
    *"majority n_donors n_cells".split(),
]


def metric_summary(
    effects: pd.DataFrame,
    types: Sequence[str],
    donors: pd.DataFrame,
    frequencies: pd.Series,
    run: JudgedRun,
) -> pd.DataFrame:
    """Return every metric of the edits that all metrics were kept of.

    Parameters
    ----------
    effects
        Rows of ``effects.parquet`` of one model.
    types
        Cell types in the classifier's order.
    donors
        ``donor_id`` and `STAGES` of the test cells.
    frequencies
        Share of each cell type among the training cells.
    run
        Gives the donor intervals.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`; each donor counts alike. Intervals stand where ``by`` is ``all``.
    """
    own = effects[effects["predicted_counts"].notna()]
    if own.empty:
        return pd.DataFrame(columns=COLUMNS)
    parts = [_over_all(own, types, frequencies, run)]
    zeroed = own[(own["weight_set"] == "candidate") & (own["mode"] == "zero")]
    if len(zeroed):
        zeroed = with_donors(zeroed, donors, STAGES)
        parts += [
            _over(known, types, frequencies, by)
            for by in BY
            if len(known := zeroed[zeroed[by] != -1] if by in STAGES else zeroed)
        ]
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _over_all(
    effects: pd.DataFrame, types: Sequence[str], frequencies: pd.Series, run: JudgedRun
) -> pd.DataFrame:
    by_donor = metric_table(effects, types, frequencies=frequencies)
    table = over_donors(by_donor).assign(by="all", group="all")
    keys = [*IDENTITY, "metric"]
    bounds = by_donor.groupby(keys, sort=False)["effect"].agg(lambda x: run.interval(x.to_numpy()))
    table = table.join(bounds.rename("bounds"), on=keys)
    table["effect_low"], table["effect_high"] = zip(*table.pop("bounds"), strict=True)
    return table


def _over(
    effects: pd.DataFrame, types: Sequence[str], frequencies: pd.Series, by: str
) -> pd.DataFrame:
    # A donor stands for itself: its copy is averaged over one donor.
    effects = effects.assign(group=effects[by].astype(str))
    table = metric_table(
        effects,
        types,
        by=["group", "donor_id"],
        frequencies=frequencies,
        one_type=by == "cell_type",
    )
    table = over_donors(table)
    return table.assign(
        by=by.removesuffix("_id"), effect_low=float("nan"), effect_high=float("nan")
    )
