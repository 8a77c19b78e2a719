"""Candidates of the other families: attention outputs, whole rows and columns, norms' γ and β."""

from __future__ import annotations

import pandas as pd

from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.find import COLUMNS as FOUND
from scsw.superweight.find import find_candidates
from scsw.superweight.origins import BlockParts

COLUMNS = (
    "candidate_id family module parameter block row column spike_ratio share n_channels found_by"
).split()


def other_families(
    model, batches, blocks: list[BlockParts], origins: pd.DataFrame, *, max_candidates: int, **rules
) -> pd.DataFrame:
    """Return what else makes channels spike, best first within each family.

    Parameters
    ----------
    model, batches, blocks
        As for `spike_origins`.
    origins
        Its table.
    max_candidates
        Most candidates of each family.
    rules
        ``forward, token_mask`` and the rules of `find_candidates`.

    Returns
    -------
    pandas.DataFrame
        ``family`` is ``attn_out`` (weights of the attention's output projection, found as those of
        the down-projection are), ``row`` and ``norm_gamma, norm_beta`` (what drives a channel,
        from `spike_origins`; ``module`` says which norm), or ``column`` (a hidden unit that drives
        two channels or more). ``share`` is that of the sum, ``n_channels`` how many spiking
        channels it drives.
    """
    places = [place for place, block in enumerate(blocks) if block.attention_output]
    outputs = [blocks[place].attention_output for place in places]
    attention = pd.DataFrame(columns=FOUND)
    if outputs:
        attention = find_candidates(model, batches, outputs, max_candidates=max_candidates, **rules)
    attention = attention.assign(family="attn_out", parameter="weight", n_channels=1)
    attention["block"] = [places[block] for block in attention["block"]]
    attention["share"] = attention["contribution"].abs()
    driven = origins[origins["family"].isin(["row", "norm_gamma", "norm_beta"])]
    driven = driven.assign(column=pd.NA, n_channels=1, found_by="spike")
    # A norm may belong to the block before the one that spikes.
    owner = {
        norm: place
        for place, block in enumerate(blocks)
        for norm in (block.norms.before, block.norms.after)
    }
    driven["block"] = driven["module"].map(owner).fillna(driven["block"])
    columns = _columns(origins)
    rows = [row for part in (attention, driven, columns) for row in part.to_dict("records")]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.drop_duplicates(["family", "module", "row", "column"])
    table = table.groupby("family", sort=False).head(max_candidates).reset_index(drop=True)
    table = table.astype({"block": "int64", "row": "Int64", "column": "Int64"})
    places = table[["family", "block", "row", "column"]].astype(object)
    places = places.where(places.notna(), None).itertuples(index=False)
    table["candidate_id"] = [candidate_id(*place) for place in places]
    return table[COLUMNS]


def _columns(origins: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of down-projections that drive two channels or more."""
    own = origins[origins["family"] == "ffn_down"].drop_duplicates(["module", "row", "column"])
    grouped = own.groupby(["module", "block", "column"], sort=False)
    table = grouped.agg(
        spike_ratio=("spike_ratio", "max"), share=("share", "mean"), n_channels=("row", "size")
    ).reset_index()
    table = table[table["n_channels"] >= 2].assign(family="column", row=pd.NA, found_by="spike")
    table["parameter"] = "weight"
    return table.sort_values(["n_channels", "spike_ratio"], ascending=False)
