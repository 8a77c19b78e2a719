import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.superweight.pruning.random_controls import draw_controls

CANDIDATES = pd.DataFrame({"block": [0, 2], "row": [1, 3], "column": [2, 4]})
SHAPES = [(8, 10)] * 3


def draw(**changes):
    settings = {"n_controls": 50, "scope": "same_tensor", "seed": 0}
    return draw_controls(CANDIDATES, SHAPES, **settings | changes)


def test_same_tensor_draws_in_each_block_with_a_candidate():
    found = draw()
    assert found["block"].value_counts().to_dict() == {0: 50, 2: 50}
    assert not found.duplicated().any()
    merged = found.merge(CANDIDATES)
    assert merged.empty
    assert found["row"].between(0, 7).all() and found["column"].between(0, 9).all()


def test_all_blocks_draws_the_total():
    assert draw(scope="all_blocks")["block"].value_counts().to_dict() == {0: 17, 1: 17, 2: 16}


def test_every_free_weight_can_be_drawn():
    assert len(draw(n_controls=79)) == 158


def test_the_seed_decides():
    assert draw().equals(draw())
    assert not draw().equals(draw(seed=1))


def test_more_controls_than_weights_is_refused():
    with pytest.raises(ScswError, match="n_controls"):
        draw(n_controls=80)
