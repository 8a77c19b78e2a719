"""Stability over groups, seeds and starts, on tables whose answer is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.files import read_table, write_table
from scsw.settings import section_settings
from scsw.superweight.search.search import search
from scsw.superweight.stability.gather import gather_cohort
from scsw.superweight.stability.profile_agreement import COLUMNS as AGREEMENT_COLUMNS
from scsw.superweight.stability.profile_agreement import profile_agreement
from scsw.superweight.stability.stability import (
    CANDIDATE_COLUMNS,
    SPIKE_COLUMNS,
    SUMMARY_COLUMNS,
    candidate_stability,
    spike_stability,
    spike_summary,
    start_names,
)
from tests.superweight.search.unit_profiles import profiles_of
from tests.tiny import COMPUTE, SIZES

RULE = 20.0
GROUPS = {
    "donor": ["D1", "D2", "D3", "D4"],
    "cell_type": ["A", "B"],
    "region": ["MTG"],
    "token": ["<cls>", "genes"],
}
SITES = ("mlp_hidden", "mlp_out", "pre_norm2", "out")


def model_spikes(arm="real", seed=0, high=(), before=(), reach=None, n_channels=4):
    """Return one model's table: quiet but at `high`; its start was quiet but at `before`.

    `high` and `before` hold (block, site, channel); `reach` names the groups in which a high
    channel is high, by kind, where not in all.
    """
    rows = []
    for block in range(2):
        for site in SITES:
            for channel in range(n_channels):
                place = (block, site, channel)
                tall = place in high
                start = np.nan if arm in ("untrained", "pretrained") else 3.0
                start = 50.0 if place in before else start
                ratio = 100.0 + channel if tall else 5.0
                rows.append((*place, "all", "all", 400, ratio, 0.5, "APOE", start))
                for kind, names in GROUPS.items():
                    for name in names:
                        own = ratio if name in (reach or {}).get(kind, names) else 4.0
                        rows.append((*place, kind, name, 100, own, np.nan, "", np.nan))
    names = "block site channel group_by group n_tokens ratio stability top_gene start_ratio"
    table = pd.DataFrame(rows, columns=names.split())
    return table.assign(cohort="x", arm=arm, seed=seed)


def candidates_of(seed, *places):
    rows = [(f"ffn_down.b{b}.r{r}.c{c}", b, r, c) for b, r, c in places]
    table = pd.DataFrame(rows, columns=["candidate_id", "block", "row", "column"])
    return table.assign(cohort="x", arm="real", seed=seed)


def other_inputs_of(seed, with_cls=(), without_cls=(), below=()):
    """Return the finds on cells with and without `<cls>`: spikes, and `below` in both."""
    rows = [("with_cls", name, "spike") for name in with_cls]
    rows += [("without_cls", name, "spike") for name in without_cls]
    rows += [(kind, name, "below_rule") for kind in ("with_cls", "without_cls") for name in below]
    table = pd.DataFrame(rows, columns=["kind", "candidate_id", "found_by"])
    return table.assign(cohort="x", arm="real", seed=seed)


NO_OTHER_INPUTS = other_inputs_of(0)
OLD, NEW, ONCE = (0, "mlp_out", 1), (1, "mlp_out", 2), (1, "pre_norm2", 3)


@pytest.fixture
def three_seeds():
    """OLD is inherited by all, NEW acquired by two of three, ONCE by one."""
    reach = {"donor": ["D1", "D2", "D3"], "cell_type": ["A"], "token": ["<cls>"]}
    return pd.concat(
        [
            model_spikes(seed=0, high=[OLD, NEW], before=[OLD]),
            model_spikes(seed=1, high=[OLD, NEW], before=[OLD], reach=reach),
            model_spikes(seed=2, high=[OLD, ONCE], before=[OLD]),
            model_spikes("pretrained", high=[OLD]),
            model_spikes("untrained"),
        ],
        ignore_index=True,
    )


def starts_of(spikes, **given):
    models = spikes[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    return start_names(list(models), **({"one_start": True, "checkpoint": True} | given))


def at(table, place, arm="real", seed=0):
    own = table[(table["arm"] == arm) & (table["seed"] == seed)]
    found = own[(own[["block", "site", "channel"]] == list(place)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_only_acquired_spikes_of_one_start_count_as_agreement(three_seeds):
    table = spike_stability(three_seeds, rule=RULE, starts=starts_of(three_seeds))
    assert list(table.columns) == SPIKE_COLUMNS
    assert at(table, OLD)["origin"] == "inherited" and at(table, OLD)["n_models"] == 3
    assert at(table, NEW)["origin"] == "acquired" and at(table, NEW)["n_models"] == 2
    assert at(table, NEW, seed=2)["origin"] == "not a spike"
    assert at(table, ONCE, seed=2)["origin"] == "acquired"
    assert at(table, OLD, "pretrained")["origin"] == "own start"
    counted = table[table["counts_as_agreement"]]
    assert set(counted["seed"]) == {0, 1} and set(counted["channel"]) == {NEW[2]}
    # One row per position and model of the start; the untrained model has another start.
    assert len(table) == 3 * 4 and "untrained" not in set(table["arm"])
    assert set(table["of_models"]) == {3}


def test_shares_and_tokens_are_those_of_the_groups(three_seeds):
    table = spike_stability(three_seeds, rule=RULE, starts=starts_of(three_seeds))
    row = at(table, NEW, seed=1)
    assert (row["share_of_donors"], row["n_donors"]) == (0.75, 4)
    assert (row["share_of_cell_types"], row["n_cell_types"]) == (0.5, 2)
    assert (row["share_of_regions"], row["n_regions"]) == (1, 1)
    assert (row["cls_ratio"], row["genes_ratio"]) == (102, 4)
    assert row["share_of_cells"] == 0.5 and row["top_gene"] == "APOE"
    assert at(table, NEW, seed=0)["share_of_donors"] == 1


def test_positions_of_other_starts_are_never_compared():
    spikes = pd.concat([model_spikes(seed=seed, high=[NEW]) for seed in (0, 1)])
    table = spike_stability(spikes, rule=RULE, starts=starts_of(spikes, one_start=False))
    assert table["n_models"].tolist() == [1, 1] and table["of_models"].tolist() == [1, 1]
    assert not table["counts_as_agreement"].any()


def test_starts():
    models = [("real", 0), ("real", 1), ("untrained", 0), ("shuffled", 0)]
    names = start_names(models, one_start=False, checkpoint=False)
    assert names["real", 0] == names["untrained", 0] == names["shuffled", 0] != names["real", 1]
    names = start_names(models, one_start=True, checkpoint=True)
    assert names["real", 0] == names["real", 1] != names["untrained", 0]
    assert len(set(start_names(models, one_start=True, checkpoint=False).values())) == 1


def test_a_lost_spike_is_told_of():
    spikes = model_spikes(before=[OLD])
    table = spike_stability(spikes, rule=RULE, starts=starts_of(spikes))
    assert at(table, OLD)["origin"] == "lost" and not at(table, OLD)["passes"]
    assert spike_summary(spikes, rule=RULE, starts=starts_of(spikes))["n_lost"].tolist() == [1]


def test_a_group_without_tokens_is_no_group():
    spikes = model_spikes(high=[NEW])
    spikes.loc[spikes["group"] == "D4", ["n_tokens", "ratio"]] = 0
    table = spike_stability(spikes, rule=RULE, starts=starts_of(spikes))
    assert at(table, NEW)["n_donors"] == 3 and at(table, NEW)["share_of_donors"] == 1


def test_other_sites_hold_no_spikes_and_the_hidden_layer_is_counted_apart():
    spikes = model_spikes(high=[(0, "out", 1), (0, "mlp_hidden", 2)])
    starts = starts_of(spikes)
    assert spike_stability(spikes, rule=RULE, starts=starts).empty
    row = spike_summary(spikes, rule=RULE, starts=starts).iloc[0]
    assert (row["n_spikes"], row["largest_ratio"]) == (0, 5)
    assert (row["n_hidden_spikes"], row["largest_hidden_ratio"]) == (1, 102)
    assert np.isnan(row["share_from_start"]) and np.isnan(row["share_of_start_kept"])


def test_summary_by_arm(three_seeds):
    table = spike_summary(three_seeds, rule=RULE, starts=starts_of(three_seeds))
    assert list(table.columns) == SUMMARY_COLUMNS and len(table) == 5
    first = table.iloc[0]
    assert (first["n_positions"], first["n_spikes"]) == (2 * 2 * 4, 2)
    assert (first["n_inherited"], first["n_acquired"], first["n_lost"]) == (1, 1, 0)
    assert (first["share_from_start"], first["share_of_start_kept"]) == (0.5, 1)
    place = first["largest_block"], first["largest_site"], first["largest_channel"]
    assert place == NEW and first["largest_ratio"] == 102
    assert table["n_spikes"].tolist() == [2, 2, 2, 1, 0]
    assert table["largest_ratio"].tolist() == [102, 102, 103, 101, 5]
    assert table.loc[3:, "share_from_start"].isna().all()


def test_a_model_without_its_start_is_an_error():
    spikes = model_spikes(high=[NEW]).assign(start_ratio=np.nan)
    with pytest.raises(ScswError, match="before fine-tuning"):
        spike_stability(spikes, rule=RULE, starts=starts_of(spikes))


def test_candidates_over_seeds(three_seeds):
    found = pd.concat(
        [
            candidates_of(0, (0, 1, 7), (1, 2, 5), (1, 2, 6), (0, 0, 0)),
            candidates_of(1, (0, 1, 7), (1, 2, 5), (0, 0, 0)),
            candidates_of(2, (0, 1, 7), (1, 3, 5)),
        ]
    )
    real = three_seeds[three_seeds["arm"] == "real"]
    other = pd.concat(
        [
            other_inputs_of(0, ["ffn_down.b1.r2.c5"], ["ffn_down.b0.r1.c7"]),
            other_inputs_of(1, ["ffn_down.b1.r2.c5", "ffn_down.b0.r1.c7"], ["ffn_down.b0.r1.c7"]),
            other_inputs_of(2, below=["ffn_down.b0.r1.c7"]),
        ]
    )
    table = candidate_stability(found, real, other, rule=RULE, n_seeds=3, one_start=True)
    assert list(table.columns) == CANDIDATE_COLUMNS
    table = table.set_index("candidate_id")
    old, new, once, quiet = (
        table.loc[f"ffn_down.{name}"] for name in ("b0.r1.c7", "b1.r2.c5", "b1.r3.c5", "b0.r0.c0")
    )
    assert (old["origin"], old["share_of_seeds"]) == ("inherited", 1)
    assert not old["counts_as_agreement"]
    assert (new["origin"], new["found_in"], new["n_seeds"]) == ("acquired", "0,1", 3)
    assert new["counts_as_agreement"]
    assert new["share_of_donors"] == (1 + 0.75) / 2 and new["share_of_cell_types"] == 0.75
    assert new["passes_at_cls"] and new["passes_at_genes"]  # at genes in seed 0 alone
    assert (new["spikes_with_cls"], new["spikes_without_cls"]) == (1, 0)
    assert (old["spikes_with_cls"], old["spikes_without_cls"]) == (1 / 3, 2 / 3)
    assert once["origin"] == "acquired" and not once["counts_as_agreement"]
    assert quiet["origin"] == "not a spike" and quiet["share_of_donors"] == 0
    assert not quiet["counts_as_agreement"] and not quiet["passes_at_cls"]
    # Two candidates of one channel are two candidates.
    assert table.loc["ffn_down.b1.r2.c6", "found_in"] == "0"


@pytest.mark.parametrize(("before", "origin"), [([], "acquired"), ([2], "inherited")])
def test_a_channel_that_spiked_before_at_the_other_site_is_inherited(before, origin):
    """It stands out more at mlp_out now; the start had it at the sum of the same block."""
    spikes = model_spikes(high=[NEW], before=[(1, "pre_norm2", channel) for channel in before])
    table = candidate_stability(
        candidates_of(0, (1, 2, 5)), spikes, NO_OTHER_INPUTS, rule=RULE, n_seeds=1, one_start=True
    )
    assert table["origin"].tolist() == [origin]


def test_the_same_coordinate_of_two_starts_is_two_candidates():
    spikes = pd.concat([model_spikes(seed=seed, high=[NEW]) for seed in (0, 1)])
    found = pd.concat([candidates_of(seed, (1, 2, 5)) for seed in (0, 1)])
    table = candidate_stability(
        found, spikes, NO_OTHER_INPUTS, rule=RULE, n_seeds=2, one_start=False
    )
    assert table["found_in"].tolist() == ["0", "1"]
    assert table["share_of_seeds"].tolist() == [0.5, 0.5]
    assert not table["comparable"].any() and not table["counts_as_agreement"].any()


def test_no_candidate_gives_the_columns():
    table = candidate_stability(
        candidates_of(0), model_spikes(), NO_OTHER_INPUTS, rule=RULE, n_seeds=1, one_start=True
    )
    assert table.empty and list(table.columns) == CANDIDATE_COLUMNS


@pytest.fixture
def folders(tmp_path, three_seeds):
    """Folders of the models, with every table that is gathered."""
    rng = np.random.default_rng(5)
    planted = rng.normal(size=(40, 2))
    made = {}
    for (arm, seed), spikes in three_seeds.groupby(["arm", "seed"]):
        folder = made[arm, seed] = tmp_path / arm / str(seed)
        found = candidates_of(seed, (0, 1, 7), (1, 2, 5)).assign(arm=arm)
        tables = {
            "search/spikes": spikes,
            "search/candidates": found,
            "search/profiles": profiles_of(rng, planted),
            "search/other_inputs": other_inputs_of(seed, with_cls=["ffn_down.b1.r2.c5"]),
            "prune/verdicts": found,
            "enrich/pathways": found,
            "stages/stages": found,
            "stages/change_points": found,
            "stages/stage_order": found,
            "model/performance": found,
        }
        for name, table in tables.items():
            write_table(table, folder / f"{name}.parquet")
    return made


def test_gather_writes_the_tables(folders, tmp_path):
    real = {seed: path for (arm, seed), path in folders.items() if arm == "real"}
    controls = {model: path for model, path in folders.items() if model[0] != "real"}
    rules = {"one_start": True, "checkpoint": True, "spike_ratio": RULE}
    gather_cohort(real, controls, tmp_path / "out", **rules)
    tables = {path.stem: read_table(path) for path in (tmp_path / "out").glob("*.parquet")}
    assert set(tables) == {
        *("verdicts", "performance", "pathways", "stages", "change_points", "stage_order"),
        *("stability", "spike_stability", "spike_summary", "profile_agreement"),
    }
    assert tables["stability"]["counts_as_agreement"].sum() == 1
    assert tables["spike_stability"]["counts_as_agreement"].sum() == 2
    assert len(tables["spike_summary"]) == 5
    assert tables["profile_agreement"]["mean_correlation"].tolist() == pytest.approx([1, 1, 1])
    assert tables["profile_agreement"]["p"].lt(0.05).all()
    record = (tmp_path / "out" / "gather.provenance.json").read_text()
    assert "profiles.parquet" in record and '"spike_ratio": 20.0' in record


def test_models_of_two_cohorts_are_not_gathered(folders, tmp_path):
    table = folders["real", 1] / "prune" / "verdicts.parquet"
    write_table(read_table(table).assign(cohort="another"), table)
    real = {seed: path for (arm, seed), path in folders.items() if arm == "real"}
    rules = {"one_start": True, "checkpoint": True, "spike_ratio": RULE}
    with pytest.raises(ScswError, match="of several cohorts: another, "):
        gather_cohort(real, {}, tmp_path / "out", **rules)
    assert not (tmp_path / "out").exists()


def test_the_page_lists_the_same_columns():
    page = (Path(__file__).parents[3] / "docs" / "outputs.md").read_text(encoding="utf-8")
    for name, columns in {
        "stability": CANDIDATE_COLUMNS,
        "spike_stability": SPIKE_COLUMNS,
        "spike_summary": SUMMARY_COLUMNS,
        "profile_agreement": AGREEMENT_COLUMNS,
    }.items():
        part = page.split(f"`<cohort>/{name}.parquet`, one row")[1].split("\n\n")[1]
        cells = [line.split(" | ")[0] for line in part.splitlines()[2:]]
        assert re.findall(r"\w+", " ".join(cells)) == list(columns)


def test_tables_of_a_real_search(tuned, tmp_path):
    """The search's own tables, of a model beside its start, twice as if of two seeds."""
    low = {"spike_ratio": 3.0, "max_candidates": 6, "profile_min_cells": 1}
    low |= {"first_order_top": 30, "gradient_cells": 9}
    settings = section_settings("search", low)
    folders = {seed: tmp_path / "real" / str(seed) for seed in (0, 1)}
    for seed, folder in folders.items():
        search(
            tuned.model,
            tuned.cohort,
            folder / "search",
            settings=settings,
            compute=COMPUTE,
            start=tuned.init,
            seed=seed,
        )
    folders["untrained", 0] = tmp_path / "untrained" / "0"
    search(
        tuned.init,
        tuned.cohort,
        folders["untrained", 0] / "search",
        settings=settings,
        compute=COMPUTE,
        arm="untrained",
    )
    spikes = pd.concat([read_table(f / "search" / "spikes.parquet") for f in folders.values()])
    starts = starts_of(spikes, checkpoint=False)
    summary = spike_summary(spikes, rule=3.0, starts=starts).set_index(["arm", "seed"])
    table = spike_stability(spikes, rule=3.0, starts=starts)
    own, start = summary.loc["real", 0], summary.loc["untrained", 0]
    assert own["n_positions"] == start["n_positions"] == 2 * SIZES["nlayers"] * SIZES["embsize"]
    assert own["n_spikes"] == own["n_inherited"] + own["n_acquired"] > 0
    # What the search wrote of the start is what the untrained model, which is the start, shows.
    assert own["n_inherited"] + own["n_lost"] == start["n_spikes"]
    both = table.pivot(index=["block", "site", "channel"], columns=["arm", "seed"], values="ratio")
    np.testing.assert_array_equal(both["real", 0], both["real", 1])
    real = table[table["arm"] == "real"]
    assert (real["counts_as_agreement"] == (real["origin"] == "acquired")).all()
    assert real["n_donors"].gt(0).all() and real["share_of_donors"].between(0, 1).all()
    largest = real[["cls_ratio", "genes_ratio"]].max(axis=1)
    np.testing.assert_allclose(largest, real["ratio"])
    found = pd.concat([read_table(folders[s] / "search" / "candidates.parquet") for s in (0, 1)])
    other = pd.concat([read_table(folders[s] / "search" / "other_inputs.parquet") for s in (0, 1)])
    candidates = candidate_stability(found, spikes, other, rule=3.0, n_seeds=2, one_start=True)
    assert candidates["share_of_seeds"].eq(1).all()
    assert candidates["counts_as_agreement"].any()
    profiles = {s: read_table(folders[s] / "search" / "profiles.parquet") for s in (0, 1)}
    row = profile_agreement(profiles, cohort="x", one_start=True, seed=0, draws=50).iloc[0]
    assert row["mean_correlation"] == pytest.approx(1)
    assert row["n_units"] == found.query("seed == 0").drop_duplicates(["block", "column"]).shape[0]
