"""Shards of `prune`: what is missing, double or of another model is found before judging."""

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.settings import section_settings
from scsw.superweight.pruning.planned_edits import edits_of_weights
from scsw.superweight.pruning.shards import check_complete, gather
from tests.superweight.verdict.made_up_effects import candidates

PRUNE = section_settings(
    "prune",
    {"n_controls": 30, "n_matched": 4, "n_noise": 3, "scales": [0.5], "n_pairs_among": 2},
)


def family():
    table = candidates(["ffn_down.b0.r1.c2", "ffn_down.b0.r3.c4"], mean_hidden=0.5)
    return table.assign(row=[1, 3], column=[2, 4])


def whole():
    """Return the rows of every planned edit on two donors, one of which has two regions."""
    rng = np.random.default_rng(0)
    edits = edits_of_weights([rng.normal(size=(8, 12))], [np.ones(12)], family(), PRUNE, 0)
    rows = [
        (e.weight_set, e.name, e.of, e.block, e.mode, e.scale, e.draw, donor, "A", region)
        for e in edits
        for donor, region in (("d0", "MTG"), ("d0", "PFC"), ("d1", "MTG"))
    ]
    columns = "weight_set candidate_id of block mode scale draw donor_id cell_type region".split()
    return pd.DataFrame(rows, columns=columns).assign(cohort="x", arm="real", seed=0)


def test_what_was_planned_is_complete():
    check_complete(whole(), family(), PRUNE)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: pd.concat([t, t.head(5)]), "same edit twice"),
        (lambda t: t[t["mode"] != "mean"], "hold 0 candidate mean"),
        (lambda t: t.drop(t[t["mode"] == "scale"].index[:3]), "hold 1 candidate scale"),
        (lambda t: t.drop(t[t["mode"] == "noise"].index[:3]), "as many noise edits"),
        (lambda t: t[t["weight_set"] != "pair"], "hold 0 pair zero"),
        (lambda t: t.drop(t[t["weight_set"] == "wanda"].index[:3]), "hold 7 wanda zero"),
        (lambda t: t.drop(t[t["weight_set"] == "random"].index[:3]), "hold 29 random controls"),
        (lambda t: t.assign(seed=1), "not of the candidates' model"),
    ],
)
def test_incomplete_or_mixed_shards_are_refused(change, text):
    with pytest.raises(ScswError, match=text):
        check_complete(change(whole()), family(), PRUNE)


def test_shards_are_gathered_in_one_order(tmp_path):
    table = whole()
    for name, part in {"a": table.iloc[::2], "b": table.iloc[1::2]}.items():
        part.sample(frac=1, random_state=0).to_parquet(tmp_path / f"{name}.parquet")
    one = gather([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    other = gather([tmp_path / "b.parquet", tmp_path / "a.parquet"])
    pd.testing.assert_frame_equal(one, other)
    assert len(one) == len(table)
