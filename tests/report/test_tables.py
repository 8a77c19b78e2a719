"""Reading the tables, and the small functions that sum them up."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.report import style, words
from scsw.report.captions import caption
from scsw.report.effects import cell_type_effect, mean_effect
from scsw.report.figures import collapse, genes, stage_order
from scsw.report.figures.cohort import cells_by_type
from scsw.report.figures.genes import gene_rows
from scsw.report.figures.pathways import set_label
from scsw.report.figures.pruning import control_effects
from scsw.report.figures.spikes import largest_channels
from scsw.report.names import AD_GENES, FIGURES, figure_names
from scsw.report.provenance_records import read_records
from scsw.report.tables import input_files, read_tables
from tests.report.tables import Shape, config_of, write_run

TINY = Shape(seeds=(0,), arms=("shuffled",), n_candidates=2, n_types=2, n_controls=8)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path, TINY)


def read(run):
    return read_tables(run.folder, config=run.config, cohort=run.cohort)


def test_what_a_run_of_another_config_left_is_not_shown(tmp_path):
    """Two seeds, an arm, heads and MLPs, tissue, bulk expression and shards, then none of them."""
    before = Shape(seeds=(0, 1), arms=("shuffled",), bulk=("adni",), spatial="go on")
    run = write_run(tmp_path, before)
    left = "real/1/finetune shuffled/0/init spatial external real/0/components/components"
    left += " real/0/prune/shards/prune-0-of-2 real/0/search/screen/search-screen"
    left += " real/0/search/screen/slopes/search-slopes-1-of-2 real/0/enrich/shards/enrich-0-of-3"
    own = "real/0/search/search real/0/prune/shards/prune-0-of-1"
    record = json.loads((run.folder / "preprocess.provenance.json").read_text())
    for place in f"{left} {own}".split():
        record |= {"step": place, "commit": "now" if place in own.split() else "before"}
        path = run.folder / f"{place}.provenance.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    everything = read(run)
    assert len(everything.spatial) and len(everything.external) and len(everything.components)
    records = read_records(run.folder, run.config, run.cohort)
    assert "real/1/finetune" in [step["step"] for step in records.steps]

    config = config_of(Shape(seeds=(0,), arms=(), components=False))
    tables = read_tables(run.folder, config=config, cohort=run.cohort)
    shown = (tables.spatial, tables.external, tables.components, tables.component_stages)
    assert [len(table) for table in shown] == [0] * 4
    assert not {"spatial.parquet", "external.parquet"} & set(
        input_files(run.folder, config, run.cohort)
    )
    records = read_records(run.folder, config, run.cohort)
    assert set(own.split()) < {step["step"] for step in records.steps}
    assert records.commits == ["abc1234", "now"]


def test_donors_count_alike_and_cells_within_them():
    effects = pd.DataFrame(
        {
            "arm": "real",
            "seed": 0,
            "weight_set": "candidate",
            "candidate_id": "a",
            "family": "ffn_down",
            "block": 0,
            "row": 1,
            "column": 2,
            "donor_id": ["x", "x", "y", "y"],
            "cell_type": ["A", "B", "A", "B"],
            "n_cells": [10, 30, 1, 0],
            "sum_d_nll": [10.0, 10.0, 2.0, 0.0],
        }
    )
    # x: 20 / 40 = 0.5; y: 2 / 1 = 2.
    assert mean_effect(effects)["effect_nll"].tolist() == [1.25]
    # A: x 1.0 and y 2.0; B: x 1/3, and y has no cell of it.
    by_type = cell_type_effect(effects).set_index("cell_type").loc[["A", "B"]]
    np.testing.assert_allclose(by_type["effect_nll"], [1.5, 1 / 3])
    assert by_type["n_donors"].tolist() == [2, 1]
    assert by_type["n_cells"].tolist() == [11, 30]


def test_only_zeroing_of_candidates_and_random_weights_is_read(run):
    path = run.folder / "real" / "0" / "prune" / "effects.parquet"
    table = pd.read_parquet(path)
    first = table[table["mode"] == "zero"].head(1)
    others = [first.assign(weight_set=name, of="a") for name in ("wanda", "pair", "cumulative")]
    pd.concat([table, *others]).to_parquet(path)
    tables = read(run)
    assert len(tables.effects) == TINY.n_candidates + TINY.n_controls
    assert not tables.effects.duplicated(["candidate_id"]).any()


def test_rows_of_seeds_that_are_no_longer_in_the_config_are_left_out(run):
    path = run.folder / "verdicts.parquet"
    table = pd.read_parquet(path)
    stale = table[table["arm"] == "real"].assign(seed=7, causal=True, verdict="causal, constant")
    pd.concat([table, stale]).to_parquet(path)
    tables = read(run)
    assert set(tables.verdicts["seed"]) == {0}
    assert set(tables.arm_verdicts["arm"]) == {"shuffled"}


def test_a_missing_column_is_named(run):
    path = run.folder / "verdicts.parquet"
    pd.read_parquet(path).drop(columns="detectable_effect").to_parquet(path)
    with pytest.raises(
        ScswError, match=r"verdicts\.parquet lacks the columns \['detectable_effect'\]"
    ):
        read(run)


def test_sites_without_a_median_have_no_ratio(run):
    path = run.folder / "real" / "0" / "search" / "spikes.parquet"
    table = pd.read_parquet(path)
    table.loc[table["site"] == "out", "ratio"] = np.inf
    table.to_parquet(path)
    tables = read(run)
    assert "out" not in set(tables.spikes.query("arm == 'real'")["site"])
    assert np.isfinite(tables.spikes["ratio"]).all()


def test_controls_of_a_candidate_are_those_of_its_tensor(run):
    tables = read(run)
    first, second = (row for row in tables.verdicts.itertuples())
    assert first.block != second.block
    assert len(control_effects(tables, first)) == TINY.n_controls / 2
    tables.config["prune"]["control_scope"] = "all_blocks"
    assert len(control_effects(tables, first)) == TINY.n_controls


def test_best_candidates_are_causal_first(run):
    tables = read(run)
    tables.verdicts["causal"] = tables.verdicts["rank"] == 2
    assert tables.best_candidates(2)["rank"].tolist() == [2, 1]


def test_largest_channels():
    table = pd.DataFrame({"channel": [0, 1, 2, 0], "ratio": [3.0, 9.0, 5.0, 1.0]})
    table = table.assign(arm="real", seed=0, site="out", block=[0, 0, 0, 1])
    found = largest_channels(table, 2)
    assert found[["block", "channel"]].values.tolist() == [[0, 1], [0, 2], [1, 0]]


def test_cells_are_counted(run):
    tables = read(run)
    assert cells_by_type(tables.obs).to_numpy().sum() == len(tables.obs)


def test_ad_genes_are_shown_scored_or_not(run):
    tables = read(run)
    name = tables.verdicts["candidate_id"].iloc[0]
    rows = gene_rows(tables.genes, 0, name, "read_in")
    known = rows[rows["known"]]
    assert known["gene"].tolist() == list(AD_GENES)
    assert known["z"].isna().tolist() == [False] * 5 + [True] * 3
    top = rows.loc[~rows["known"], "z"]
    assert top.is_monotonic_decreasing  # read-in is ordered from the strongest driver on
    middle = (known["unit_low"] + known["unit_high"]) / 2
    sign = known["z"].iloc[0] / tables.genes.query("gene == 'APP'")["z"].iloc[0]
    assert sign in (-1, 1) and middle.isna().tolist() == known["z"].isna().tolist()
    own = tables.genes[tables.genes["candidate_id"].eq(name) & tables.genes["view"].eq("read_in")]
    own = own[own["seed"].eq(0)].set_index("gene")["unit_mean"]
    assert middle.iloc[0] == pytest.approx(sign * own["APP"])


def test_figures_follow_the_config_alone():
    everything = config_of(Shape(cohorts=("a", "b"), spatial="go on"))
    assert figure_names(everything, "a") == list(FIGURES)
    config = config_of(Shape(arms=(), components=False))
    assert set(FIGURES) - set(figure_names(config, "simcohort")) == {
        "controls",
        "components",
        "external",
        "replication",
        "spatial",
    }


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption(name):
    simulated = caption(name, {"simulated": True})
    plain = caption(name, {"simulated": False})
    assert simulated == plain + " Simulated data."
    assert len(plain) > 100 and not set("{}`*|") & set(plain)


@pytest.mark.parametrize(
    ("value", "count", "amount", "effect", "percent"),
    [
        (0.012345, "0", "0.0123", "+0.0123", "1.23 %"),
        (-1234.5, "-1,234", "−1,234", "−1,234", "−123,450 %"),
        (1.5e-7, "0", "1.5e−7", "+1.5e−7", "1.5e−5 %"),
        (float("nan"), "not available", "not available", "not available", "not available"),
        (None, "not available", "not available", "not available", "not available"),
        (0.0, "0", "0", "0", "0 %"),
    ],
)
def test_numbers_are_written_one_way(value, count, amount, effect, percent):
    written = (words.count(value), words.amount(value), words.effect(value), words.percent(value))
    assert written == (count, amount, effect, percent)


def test_words():
    assert words.interval(float("nan"), 1.0) == "no interval available"
    assert words.interval(-0.1, 0.2) == "95 % interval −0.1 to +0.2"
    assert words.interval(0.0, 0.0) == "the same in every donor"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.several(1, "model") == "1 model"
    assert words.several(2000, "head or MLP", "heads and MLPs") == "2,000 heads and MLPs"
    assert words.span(0.1, 0.1001) == "0.1"
    assert words.shortened("abcdefghijkl", 8) == "abcde…kl"


def test_ticks_have_no_raised_exponents():
    assert [style.tick_text(x) for x in (0, 0.01, -1e-5, 250)] == ["0", "0.01", "−1e−5", "250"]
    assert style.symlog_ticks(-0.02, 2.0, 0.001) == [-0.01, 0.0, 0.001, 0.01, 0.1, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 4e4, [1, 10, 100, 1000, 10_000]),
        (0.9, 2e6, [1, 100, 10_000, 1_000_000]),
        (150, 3000, [200, 500, 1000, 2000]),
    ],
)
def test_a_logarithmic_axis_has_few_ticks(low, high, expected):
    ax = style.new_figure(style.SINGLE, 40).subplots()
    style.log_axis(ax, "x", low, high)
    assert ax.get_xticks().tolist() == pytest.approx(expected)


def test_colours_reach_the_smallest_relevant_effect_and_noise_stays_dark():
    noise = np.array([-0.004, 0.001, 0.006])
    scale = collapse.colour_scale(noise, 0.08)
    assert scale.vmax == pytest.approx(0.1) and scale.vmin == pytest.approx(-0.004)
    assert scale(noise).max() < 0.15 and scale(0.08) > 0.75
    assert collapse.colour_scale(np.array([0.0, 3.0]), 0.08).vmax == pytest.approx(3.0)
    assert collapse.colour_scale(noise, float("nan")).vmax == pytest.approx(0.006)


def test_a_symlog_axis_marks_every_power_on_both_sides():
    with style.applied():
        ax = style.new_figure(style.SINGLE, 40).subplots()
        style.symlog_axis(ax, "x", np.array([-0.02, 0.2]), 0.9e-3)
        low, high = ax.get_xlim()
        ticks = [*ax.get_xticks(), *ax.get_xticks(minor=True)]
    inside = {round(tick, 6) for tick in ticks if low <= tick <= high}
    assert inside == {-0.01, -0.001, 0, 0.001, 0.01, 0.1}


def test_candidates_of_one_hidden_unit_read_the_same_and_the_title_says_so():
    best = pd.DataFrame(
        {"seed": [0, 1, 0], "family": "ffn_down", "block": 0, "column": [4, 4, 4], "row": [1, 1, 2]}
    )
    said = [genes._shared(best, place, "read_in") for place in range(3)]
    assert said == ["", "", " (as a)"]
    assert genes._shared(best, 2, "write_out") == ""


def test_orders_that_cannot_be_tested_are_said_in_one_sentence():
    orders = ["synapse → tau", "tau → microglia"]
    rows = pd.DataFrame({"order": orders * 2, "depth": ["as measured"] * 2 + ["thinned"] * 2})
    rows = rows.assign(status="not testable", probability=np.nan, chance=np.nan)
    with style.applied():
        left, right = style.new_figure(style.DOUBLE, 60).subplots(1, 2)
        stage_order._orders(left, rows)
        rows.loc[0, ["status", "probability", "chance"]] = ["supported", 0.97, 0.5]
        stage_order._orders(right, rows)
    assert [text.get_text().split(":")[0] for text in left.texts] == ["No order can be tested"]
    assert [text.get_text() for text in right.texts] == ["not testable"] * 2


def test_gene_set_names_are_readable():
    assert set_label("hallmark", "HALLMARK_DNA_REPAIR") == "DNA REPAIR (H)"
    assert len(set_label("reactome", "REACTOME_" + "X" * 90)) < 50
