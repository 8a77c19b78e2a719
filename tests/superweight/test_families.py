"""Candidates that are no single weight of a down-projection."""

import pandas as pd
import pytest

from scsw.superweight.ablate import ablate
from scsw.superweight.families import other_families
from scsw.superweight.origins import BlockParts
from tests.superweight.test_origins import CHANNEL, RUN, batches, network, traced


def families(model, **rules):
    origins, blocks = traced(model, **rules)
    return other_families(
        model, batches(), blocks, origins, max_candidates=5, **RUN, **rules
    ), origins


def test_a_column_that_drives_several_rows():
    model = network()
    model[1].up.bias[9] = 5.0
    for row, value in ((2, 60.0), (CHANNEL, -70.0), (11, 80.0)):
        model[1].down.weight[row, 9] = value
    table, _ = families(model, spike_ratio=10.0)
    column = table[table["family"] == "column"].iloc[0]
    assert (column["module"], column["column"], column["n_channels"]) == ("1.down", 9, 3)
    assert pd.isna(column["row"]) and column["candidate_id"] == "column.b1.r-.c9"
    # The whole column is one edit, after which none of the three channels spikes.
    with ablate(model, table[table["family"] == "column"]):
        assert traced(model, spike_ratio=10.0)[0].empty


def test_a_single_weight_is_no_column():
    model = network()
    model[1].down.weight[CHANNEL, 9], model[1].up.bias[9] = 60.0, 5.0
    assert not (families(model)[0]["family"] == "column").any()


def test_norms_and_rows_are_taken_from_the_origins():
    model = network()
    model[1].norm1.bias[3] = -90.0
    model[1].up.weight[:, 3] = 0.0
    model[0].down.weight[CHANNEL] = 3.0
    table, _ = families(model, min_share=0.4, spike_ratio=15.0)
    beta = table[table["family"] == "norm_beta"].iloc[0]
    assert (beta["module"], beta["row"]) == ("1.norm1", 3) and pd.isna(beta["column"])
    row = table[table["family"] == "row"].iloc[0]
    assert (row["module"], row["row"], row["n_channels"]) == ("0.down", CHANNEL, 1)


def test_a_norm_belongs_to_its_own_block():
    """Also where the spike that it makes is the next block's."""
    model = network()
    origins, blocks = traced(model)
    norms = [(block.norms.before, block.norms.after) for block in blocks]
    row = dict.fromkeys(origins.columns, pd.NA) | {
        "block": 1, "site": "pre_norm2", "row": 3, "spike_ratio": 50.0, "share": 0.9,
        "family": "norm_gamma", "module": norms[0][1], "parameter": "weight",
    }  # fmt: skip
    table = other_families(model, batches(), blocks, pd.DataFrame([row]), max_candidates=5, **RUN)
    gamma = table[table["family"] == "norm_gamma"].iloc[0]
    assert (gamma["block"], gamma["candidate_id"]) == (0, "norm_gamma.b0.r3.c-")


def test_a_weight_of_the_attentions_output_is_found_by_the_same_loop():
    model = network()
    model[1].mixer.out.weight[CHANNEL, 3] = 400.0
    model[1].mixer.values.bias[3] = 1.0
    best = families(model)[0].iloc[0]
    assert (best["family"], best["block"], best["row"], best["column"]) == (
        "attn_out",
        1,
        CHANNEL,
        3,
    )
    assert best["found_by"] == "spike" and best["candidate_id"] == f"attn_out.b1.r{CHANNEL}.c3"


@pytest.mark.parametrize("known", [[], [1]])
def test_blocks_whose_attention_is_not_followed_are_left_out(known):
    model = network()
    origins, blocks = traced(model)
    some = [b if n in known else BlockParts(b.down, b.norms) for n, b in enumerate(blocks)]
    table = other_families(model, batches(), some, origins, max_candidates=4, **RUN)
    assert set(table["block"]) == set(known)
