"""The section and the figure on stability: what they say where little was found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.report import style
from scsw.report.figures.stability import draw, group_shares, positions
from scsw.report.numbers import plain
from scsw.report.sections import stability
from scsw.report.tables import read_tables
from tests.report.overlaps import drawn_texts
from tests.report.prose import unsupported
from tests.report.tables import Shape, write_run

SMALL = Shape(seeds=(0, 1), arms=("untrained",), n_candidates=2, n_types=2, n_controls=8)


def read(run):
    return read_tables(run.folder, config=run.config, cohort=run.cohort)


def told(tables) -> str:
    """Return the section's prose; every number in it stands in the numbers."""
    numbers = plain(stability.numbers(tables))
    text = " ".join(stability.reading(numbers))
    assert unsupported(text, numbers) == []
    return text


def texts(tables) -> list[str]:
    with style.applied():
        fig = draw(tables)
        fig.draw_without_rendering()
        return [text.get_text() for text in drawn_texts(fig)]


def test_counts_are_those_of_the_tables(tmp_path):
    tables = read(write_run(tmp_path, replace(SMALL, n_positions=30)))
    numbers = stability.numbers(tables)
    real = tables.spike_stability.query("arm == 'real' and passes")
    assert numbers["tuned"]["n_spikes"] == len(real) > 0
    parts = numbers["tuned"]["n_inherited"], numbers["tuned"]["n_acquired"]
    assert parts == tuple((real["origin"] == name).sum() for name in ("inherited", "acquired"))
    assert numbers["n_at_cls"] == (real["cls_ratio"] >= 20).sum()
    text = told(tables)
    assert f"{len(real)} spiking positions of at least 20 medians" in text
    assert "The untrained model has 10 spiking positions" in text
    assert "no two regions to compare" in text and "4 donors and" in text
    assert "p < 0.05 in 1 of 1 pair" in text
    assert "fire at 61 % of the tokens, their controls at 58 %" in text


def test_cells_without_cls_are_told_beside_the_same_with_it(tmp_path):
    tables = read(write_run(tmp_path, replace(SMALL, n_candidates=4)))
    finds = tables.other_inputs
    assert stability.numbers(tables)["cls"] == {
        "spikes_with": 6,  # three of four candidates spike, in each of two models
        "spikes_without": 4,
        "spikes_both": 4,
        "finds_with": 8,
        "finds_without": 6,
        "finds_both": 6,
    }
    text = told(tables)
    assert "finds 6 weights that make a spike; on the same cells without the <cls>" in text
    assert "token 4, 4 of them the same" in text
    quiet = told(replace(tables, other_inputs=finds.assign(found_by="below_rule")))
    assert "no weight that makes a spike, with the <cls> token or without it" in quiet
    assert "of the 8 strongest finds below the rule with it, 6 are found without it too" in quiet
    assert "<cls> token or" not in told(replace(tables, other_inputs=finds.iloc[:0]))


def test_other_cohorts_are_pointed_to(tmp_path):
    run = write_run(tmp_path, SMALL)
    own = next(entry for entry in run.config["cohorts"] if entry["name"] == run.cohort)
    run.config["cohorts"] = [own]
    assert "Replication across cohorts" not in told(read(run))
    run.config["cohorts"] = [own, own | {"name": "another"}]
    assert "Candidates of another are matched with these by the genes" in told(read(run))


def test_positions_count_once_over_seeds(tmp_path):
    tables = read(write_run(tmp_path, SMALL))
    row = tables.spike_stability.query("arm == 'real'").head(1)
    row = row.assign(passes=True, origin="acquired", counts_as_agreement=True)
    tables.spike_stability.drop(tables.spike_stability.index, inplace=True)
    both = pd.concat([row, row.assign(seed=1)], ignore_index=True)
    numbers = stability.numbers(replace(tables, spike_stability=both))
    assert (numbers["n_acquired_positions"], numbers["n_agreeing_positions"]) == (1, 1)


def test_no_spike_is_said_plainly(tmp_path):
    tables = read(write_run(tmp_path, replace(SMALL, n_positions=0, n_candidates=0)))
    text = told(tables)
    assert text.startswith("No channel of any model reaches the rule of 20 medians")
    assert "the largest is 9.4 medians high" in text
    assert "none has an acquired spike" in text and "could not be tested" in text
    shown = texts(tables)
    assert any(line.startswith("No channel of any model reaches 20 medians") for line in shown)
    assert "no profiles to match" in shown


def test_one_seed_has_nothing_to_agree_with(tmp_path):
    tables = read(write_run(tmp_path, replace(SMALL, seeds=(0,), arms=())))
    text = told(tables)
    assert "With one fine-tuned model" in text and "no gene profiles to match" in text
    assert not any("gene profiles" in line for line in texts(tables))


def test_other_starts_are_not_compared_by_position(tmp_path):
    tables = read(write_run(tmp_path, replace(SMALL, one_start=False)))
    text = told(tables)
    assert "channels are permuted: positions are not compared" in text
    assert "share a start" not in text
    # A position of one start is not that of another.
    assert len(positions(tables.spike_stability)) == 2 * SMALL.n_positions


def test_a_position_is_shown_where_it_is_largest():
    table = pd.DataFrame({"seed": [0, 1, 0], "channel": [4, 4, 5], "ratio": [30.0, 80.0, 50.0]})
    table = table.assign(start="one start", block=0, site="mlp_out")
    found = positions(table)
    assert found[["channel", "seed"]].values.tolist() == [[4, 1], [5, 0]]


def test_a_share_of_one_group_is_none():
    table = pd.DataFrame({"share_of_regions": [1.0, 0.5], "n_regions": [1, 2]})
    np.testing.assert_array_equal(group_shares(table, "regions"), [np.nan, 0.5])


def test_models_that_left_the_config_are_not_shown(tmp_path):
    run = write_run(tmp_path, replace(SMALL, seeds=(0, 1, 2)))
    run.config["seeds"] = [0, 1]
    tables = read(run)
    assert set(tables.spike_summary["seed"]) == {0, 1}
    assert tables.profile_agreement[["seed_a", "seed_b"]].values.tolist() == [[0, 1]]


def test_an_older_table_is_refused(tmp_path):
    run = write_run(tmp_path, SMALL)
    path = run.folder / "stability.parquet"
    pd.read_parquet(path).drop(columns="origin").to_parquet(path)
    with pytest.raises(ScswError, match=r"stability\.parquet lacks the columns \['origin'\]"):
        read(run)
