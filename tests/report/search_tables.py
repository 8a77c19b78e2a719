"""Invented tables of the step `search` on one model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.report.shape import Shape

SITES = ("mlp_hidden", "mlp_out", "pre_norm2", "out", "attn_out")
CANDIDATE_COLUMNS = (
    "rank candidate_id family block row column weight weight_z spike_ratio hidden_ratio "
    "contribution residual_share stability first_order mean_hidden found_by iteration top_gene "
    "last_on_top share_on_top"
).split()


def candidate_table(rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for rank in range(1, shape.n_candidates + 1):
        block = (rank - 1) % shape.n_blocks
        row, column = int(rng.integers(0, 512)), int(rng.integers(0, 512)) * 1000 % 512 + rank
        by_spike = rank <= max(1, shape.n_candidates * 3 // 4)
        rows.append(
            {
                "rank": rank,
                "candidate_id": f"ffn_down.b{block}.r{row}.c{column}",
                "family": "ffn_down",
                "block": block,
                "row": row,
                "column": column,
                "weight": 1.0,
                "weight_z": 5.0,
                "spike_ratio": 150.0 / rank,
                "hidden_ratio": 40.0 / rank,
                "contribution": 0.8,
                "residual_share": 0.05,
                "stability": 0.9,
                "first_order": 0.01,
                "mean_hidden": 0.5,
                "found_by": "spike" if by_spike else "first_order",
                "iteration": 1,
                "top_gene": "<cls>",
                "last_on_top": block,
                "share_on_top": 0.25 if block < shape.n_blocks - 1 else np.nan,
                "first": rank == 1,
            }
        )
    return pd.DataFrame(rows, columns=[*CANDIDATE_COLUMNS, "first"])


def spike_table(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = []
    for block in range(shape.n_blocks):
        for site in SITES:
            ratios = np.sort(rng.gamma(4, 2, 8))[::-1]
            for channel, ratio in enumerate(ratios):
                rows.append((block, site, channel, "all", "all", ratio, "APOE"))
                rows.append((block, site, channel, "donor", shape.donors[0], 1e6, None))
    for row in candidates.itertuples():
        for site in ("mlp_out", "pre_norm2", "out"):
            rows.append((row.block, site, row.row, "all", "all", row.spike_ratio, "<cls>"))
    names = ["block", "site", "channel", "group_by", "group", "ratio", "top_gene"]
    table = pd.DataFrame(rows, columns=names)
    extra = ["n_tokens", "max", "mean", "q999", "kurtosis", "stability", "top_bin"]
    return table.assign(**dict.fromkeys(extra, 1.0))


def path_table(candidates: pd.DataFrame, rng, shape: Shape) -> pd.DataFrame:
    rows = [
        (c.candidate_id, block, site, rng.gamma(4, 3), 1, rng.gamma(2, 1), 3)
        for c in candidates.itertuples()
        for block in range(c.block, shape.n_blocks)
        for site in ("pre_norm2", "out")
    ]
    columns = "candidate_id block site amplitude rank amplitude_pruned rank_pruned".split()
    return pd.DataFrame(rows, columns=columns)


def origin_table(candidates: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (c.block, site, c.row, c.spike_ratio, "ffn_down" if c.rank % 3 else "residual")
        for c in candidates.itertuples()
        for site in ("mlp_out", "pre_norm2")
        if c.found_by == "spike"
    ]
    return pd.DataFrame(rows, columns=["block", "site", "row", "spike_ratio", "family"])


def other_input_table(candidates: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (kind, c.rank, c.candidate_id, c.found_by, c.rank != 2)
        for kind in ("with_cls", "without_cls", "random", "constant")
        for c in candidates.itertuples()
        if kind != "without_cls" or c.rank > 1  # the first is not found without <cls>
    ]
    return pd.DataFrame(rows, columns="kind rank candidate_id found_by in_family".split())
