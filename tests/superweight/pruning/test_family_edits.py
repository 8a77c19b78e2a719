"""Edits of families that are no single weight of linear2, and the controls of each kind."""

from collections import Counter

import pandas as pd

from scsw.scgpt.model import encoder_layers
from scsw.superweight.pruning.family_edits import family_controls, family_edits


def families():
    """Return a table as the search writes it, of the model of tests/tiny.py."""
    rows = [
        ("attn_out.b1.r2.c3", "attn_out", "l.1.self_attn.out_proj", 1, 2, 3),
        ("row.b0.r4.c-", "row", "l.0.linear2", 0, 4, None),
        ("row.b0.r5.c-", "row", "l.0.linear2", 0, 5, None),
        ("column.b2.r-.c6", "column", "l.2.linear2", 2, None, 6),
        ("norm_gamma.b1.r7.c-", "norm_gamma", "l.1.norm1", 1, 7, None),
        ("norm_gamma.b1.r7.c-", "norm_gamma", "l.1.norm2", 1, 7, None),
        ("norm_beta.b0.r7.c-", "norm_beta", "l.0.norm2", 0, 7, None),
    ]
    table = pd.DataFrame(rows, columns="candidate_id family module block row column".split())
    return table.astype({"row": "Int64", "column": "Int64"})


def test_each_candidate_is_one_edit_of_its_own_tensor():
    edits = family_edits(families())
    assert [(e.family, e.block, e.row, e.column) for e in edits] == [
        ("attn_out", 1, 2, 3),
        ("row", 0, 4, None),
        ("row", 0, 5, None),
        ("column", 2, None, 6),
        ("norm1_gamma", 1, 7, None),
        ("norm2_gamma", 1, 7, None),
        ("norm2_beta", 0, 7, None),
    ]
    assert {(e.weight_set, e.mode) for e in edits} == {("family", "zero")}


def test_controls_are_others_of_the_same_kind_and_block(tuned):
    edits = family_edits(families())
    found = family_controls(tuned.network, edits, 5, seed=1)
    kinds = Counter((e.family, e.block) for e in found)
    assert kinds == dict.fromkeys({(e.family, e.block) for e in edits}, 5)
    own = {(e.family, e.block, e.row, e.column) for e in edits}
    places = [(e.family, e.block, e.row, e.column) for e in found]
    assert len(set(places)) == len(places) and not own & set(places)
    for edit in found:
        assert (edit.row is None) == (edit.family == "column")
        assert (edit.column is not None) == (edit.family in ("column", "attn_out"))
        assert not edit.detailed
    assert found == family_controls(tuned.network, edits, 5, seed=1)
    assert found != family_controls(tuned.network, edits, 5, seed=2)


def test_where_there_are_fewer_all_others_are_controls(tuned):
    found = family_controls(tuned.network, family_edits(families()), 1000, seed=0)
    n = Counter((e.family, e.block) for e in found)
    rows, columns = encoder_layers(tuned.network)[0].linear2.weight.shape
    assert n["row", 0] == rows - 2 and n["column", 2] == columns - 1
    assert n["norm1_gamma", 1] == n["norm2_beta", 0] == rows - 1
    assert n["attn_out", 1] == rows * rows - 1  # of 256, none of them the candidate
