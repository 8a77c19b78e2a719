"""A search in shards: the same tables to the last digit, and clear errors where a part is amiss."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.settings import section_settings
from scsw.superweight.search.screen import PLACE, slopes
from scsw.superweight.search.search import search
from scsw.superweight.search.search_shards import search_screen, search_slopes
from tests.tiny import COMPUTE, TYPES

CPU = torch.device("cpu")
SMALL = {"max_candidates": 6, "first_order": 2, "first_order_top": 12, "gradient_cells": 9}
SHARDS = 4  # one more than there are blocks


def settings(shards):
    return section_settings("search", SMALL | {"shards": shards})


@pytest.fixture(scope="module")
def parts(tuned, tmp_path_factory):
    """Return a folder with the screen and every shard of the slopes."""
    folder = tmp_path_factory.mktemp("screen")
    given = {"settings": settings(SHARDS), "compute": COMPUTE}
    search_screen(tuned.model, tuned.cohort, folder, **given)
    for shard in range(SHARDS):
        search_slopes(tuned.model, tuned.cohort, folder, shard=shard, **given)
    return folder


def test_the_only_weight_of_a_shard_has_the_slopes_that_it_has_among_others(tuned):
    rows = np.arange(len(tuned.tokenizer))
    all_cells = SimpleNamespace(gradient_cells=len(rows))
    given = {"settings": all_cells, "compute": COMPUTE, "device": CPU}
    places = np.array([(0, 5, 11), (1, 3, 2), (1, 0, 7), (2, 15, 23), (0, 5, 12)])
    whole, alone = (
        slopes(tuned.network, tuned.tokenizer, rows, own, **given)
        for own in (places, places[places[:, 0] == 2])
    )
    assert len(whole) == 5 * len(TYPES) and whole["g0"].abs().max() > 1e-6
    own = whole[whole["block"] == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone, check_exact=True)


def test_the_tables_are_the_same_to_the_last_digit(tuned, parts, tmp_path):
    given = {"compute": COMPUTE, "start": tuned.init, "seed": 3}
    search(tuned.model, tuned.cohort, tmp_path / "one", settings=settings(1), **given)
    out = tmp_path / "several"
    search(tuned.model, tuned.cohort, out, settings=settings(SHARDS), screened=parts, **given)
    names = {path.name for path in (tmp_path / "one").glob("*.parquet")}
    assert "candidates.parquet" in names
    assert names == {path.name for path in out.glob("*.parquet")}
    for name in names:
        one, several = read_table(tmp_path / "one" / name), read_table(out / name)
        pd.testing.assert_frame_equal(one, several, check_exact=True)
    found = read_table(out / "candidates.parquet")["found_by"]
    assert (found == "first_order").any()  # so that the slopes had a say


def test_shards_divide_the_weights_by_block(parts):
    tables = [read_table(path) for path in sorted((parts / "slopes").glob("*.parquet"))]
    assert [set(table["block"]) for table in tables] == [{0}, {1}, {2}, set()]
    record = (parts / "slopes" / "search-slopes-2-of-4.provenance.json").read_text()
    assert "first_order.parquet" in record


def test_a_missing_shard_and_those_of_another_screen_are_errors(tuned, parts, tmp_path):
    folder = shutil.copytree(parts, tmp_path / "screen")
    given = {"settings": settings(SHARDS), "compute": COMPUTE, "screened": folder}
    own = read_table(folder / "slopes" / "0-of-4.parquet")
    first = (own[PLACE] == own[PLACE].iloc[0]).all(axis=1)
    own[~first].to_parquet(folder / "slopes" / "0-of-4.parquet", index=False)
    with pytest.raises(ScswError, match="of which the screen wants"):
        search(tuned.model, tuned.cohort, tmp_path / "out", **given)
    (folder / "slopes" / "0-of-4.parquet").unlink()
    with pytest.raises(ScswError, match=r"0-of-4\.parquet does not exist"):
        search(tuned.model, tuned.cohort, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_shard_that_there_is_not_is_refused(tuned, parts):
    given = {"settings": settings(SHARDS), "compute": COMPUTE}
    with pytest.raises(ScswError, match="no shard 4 of 4"):
        search_slopes(tuned.model, tuned.cohort, parts, shard=4, **given)
