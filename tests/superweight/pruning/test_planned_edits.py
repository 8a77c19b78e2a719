"""The list of edits: what there is, how often, and that nothing is its own control."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.settings import section_settings
from scsw.superweight.pruning.control_sets import TOP_K
from scsw.superweight.pruning.edits import FAMILIES
from scsw.superweight.pruning.planned_edits import edits_of_weights

PLACES = [(0, 3, 5), (2, 1, 7), (0, 3, 6)]
SETTINGS = {"n_controls": 40, "n_matched": 6, "n_noise": 4, "scales": [0.5, 2], "n_pairs_among": 2}


def candidates(places=PLACES):
    columns = "rank candidate_id family block row column mean_hidden".split()
    return pd.DataFrame(
        [
            {
                "rank": rank,
                "candidate_id": f"ffn_down.b{b}.r{r}.c{c}",
                "family": "ffn_down",
                "block": b,
                "row": r,
                "column": c,
                "mean_hidden": 0.25 * rank,
            }
            for rank, (b, r, c) in enumerate(places, 1)
        ],
        columns=columns,
    )


def plan(places=PLACES, seed=0, shape=(16, 24), **settings):
    rng = np.random.default_rng(5)
    weights = [rng.normal(size=shape) for _ in range(3)]
    hidden = [rng.uniform(size=shape[1]) for _ in range(3)]
    prune = section_settings("prune", SETTINGS | settings)
    return edits_of_weights(weights, hidden, candidates(places), prune, seed), weights


def test_every_edit_is_there_as_often_as_it_should_be():
    edits, _ = plan()
    found = Counter((edit.weight_set, edit.mode) for edit in edits)
    assert found == {
        **{("candidate", mode): 3 for mode in ("zero", "mean", "shuffled", "restored")},
        ("candidate", "scale"): 3 * 2,
        ("candidate", "noise"): 3 * 4,
        ("cumulative", "zero"): 3,
        ("pair", "zero"): 1,
        ("wanda", "zero"): 3 * 6,
        ("row_neighbour", "zero"): 3 * 6,
        ("column_neighbour", "zero"): 3 * 6,
        **{(name, "zero"): 3 for name in ("row", "column", "gamma", "beta")},
        ("next_largest", "zero"): 2 * 6,  # of two tensors
        ("top_wanda", "zero"): 2 * 6,
        ("top_k", "zero"): 2 * 3,  # 1, 10, 100 of 384 weights
        ("random", "zero"): 2 * 40,
    }
    keys = [(e.weight_set, e.name, e.of, e.mode, e.scale, e.draw) for e in edits]
    assert len(set(keys)) == len(keys)
    assert {e.family for e in edits} <= set(FAMILIES)


def test_modes_do_what_their_names_say():
    edits, _ = plan()
    own = [e for e in edits if e.weight_set == "candidate" and e.name == "ffn_down.b2.r1.c7"]
    assert all((e.block, e.row, e.column) == (2, 1, 7) for e in own)
    modes = ("mean", "scale", "zero", "shuffled", "restored", "noise")
    by_mode = {mode: [e for e in own if e.mode == mode] for mode in modes}
    (mean,) = by_mode["mean"]
    assert (mean.scale, mean.offset) == (0.0, 0.5)
    assert [e.scale for e in by_mode["scale"]] == [0.5, 2.0]
    for mode in modes[2:]:
        assert all((e.scale, e.offset) == (0.0, 0.0) for e in by_mode[mode])
    channels = [e.channel for e in by_mode["noise"]]
    assert len(set(channels)) == 4 and 1 not in channels
    assert [e.draw for e in by_mode["noise"]] == [0, 1, 2, 3]


def test_candidates_are_removed_one_after_another_and_in_pairs():
    edits, _ = plan()
    cumulative = [e for e in edits if e.weight_set == "cumulative"]
    assert [(e.draw, e.others) for e in cumulative] == [
        (1, ()),
        (2, (PLACES[0],)),
        (3, (PLACES[0], PLACES[1])),
    ]
    (pair,) = [e for e in edits if e.weight_set == "pair"]
    assert (pair.name, pair.of) == ("ffn_down.b0.r3.c5", "ffn_down.b2.r1.c7")
    assert pair.others == ((2, 1, 7),)
    assert len([e for e in plan(n_pairs_among=3)[0] if e.weight_set == "pair"]) == 3


def test_no_candidate_is_a_control():
    edits, weights = plan(n_controls=382)  # all the others of block 0
    scalars = [e for e in edits if e.family == "ffn_down" and e.weight_set not in _OWN]
    touched = {(e.block, e.row, e.column) for e in scalars}
    touched |= {place for e in scalars for place in e.others}
    assert not touched & set(PLACES)
    assert len({p for p in touched if p[0] == 0}) == weights[0].size - 2


_OWN = ("candidate", "cumulative", "pair")


def test_like_weights_name_their_candidate_and_stand_in_its_row_or_column():
    edits, _ = plan()
    for place, name in zip(PLACES, candidates()["candidate_id"], strict=True):
        mine = [e for e in edits if e.of == name]
        assert {e.block for e in mine if e.weight_set != "pair"} == {place[0]}
        sets = {
            s: [e for e in mine if e.weight_set == s] for s in ("row_neighbour", "row", "gamma")
        }
        assert {e.row for e in sets["row_neighbour"]} == {place[1]}
        assert {e.column for e in mine if e.weight_set == "column_neighbour"} == {place[2]}
        (row,), (gamma,) = sets["row"], sets["gamma"]
        assert (row.family, row.row, row.column) == ("row", place[1], None)
        assert (gamma.family, gamma.row) == ("norm2_gamma", place[1])
        assert row.name == f"row.b{place[0]}.r{place[1]}.c-"


def test_the_top_sets_hold_the_largest_weights_of_the_tensor():
    edits, weights = plan()
    size = np.abs(weights[2]).copy()
    size[1, 7] = -1
    order = np.argsort(-size.ravel(), kind="stable")
    for edit in (e for e in edits if e.weight_set == "top_k" and e.block == 2):
        places = [(edit.row, edit.column), *[(r, c) for _, r, c in edit.others]]
        assert [24 * r + c for r, c in places] == order[: edit.draw].tolist()
    assert {e.draw for e in edits if e.weight_set == "top_k"} == {1, 10, 100} < set(TOP_K)


def test_the_top_wanda_set_holds_the_largest_contributions_of_the_tensor():
    edits, weights = plan()
    rng = np.random.default_rng(5)
    _ = [rng.normal(size=(16, 24)) for _ in range(3)]
    score = np.abs(weights[2]) * [rng.uniform(size=24) for _ in range(3)][2]
    score[1, 7] = -1  # the candidate
    order = np.argsort(-score.ravel(), kind="stable")[:6]
    own = [e for e in edits if e.weight_set == "top_wanda" and e.block == 2]
    assert [24 * e.row + e.column for e in own] == order.tolist()


def test_a_block_can_hold_no_candidate_and_a_model_none():
    edits, _ = plan(control_scope="all_blocks")
    assert {e.block for e in edits if e.weight_set == "random"} == {0, 1, 2}
    none, _ = plan(places=[], control_scope="all_blocks")
    assert {e.weight_set for e in none} == {"random"}


def test_the_seed_draws_noise_and_random_controls_alone():
    def drawn(seed):
        return {e for e in plan(seed=seed)[0] if e.mode == "noise" or e.weight_set == "random"}

    assert drawn(0) == drawn(0) != drawn(1)
    fixed = [{e for e in plan(seed=s)[0] if e.weight_set == "wanda"} for s in (0, 1)]
    assert fixed[0] == fixed[1]


def test_too_small_a_tensor_and_another_models_spikes_are_refused():
    with pytest.raises(ScswError, match="n_matched asks for 400"):
        plan(n_matched=400)
    prune = section_settings("prune", SETTINGS)
    weights = [np.ones((4, 6))] * 2
    for hidden in ([np.ones(6)], [np.ones(5)] * 2):
        with pytest.raises(ScswError, match="hidden units by block"):
            edits_of_weights(weights, hidden, candidates(), prune, 0)
