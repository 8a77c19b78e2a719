"""Counting donors by part, stage, sex and study, without their names."""

from __future__ import annotations

import pandas as pd
import pytest

from scsw.report.donors import MAX_STUDIES, donors_by_level, levels, stratification


def donors(**given):
    """Six donors in four parts; the last is a reference donor without a stage."""
    table = {
        "split": ["train", "train", "validation", "discovery", "test", "train"],
        "donor_id": list("abcdef"),
        "n_cells": [10, 20, 30, 40, 50, 60],
        "sex": ["female", "male", "female", "male", "female", "female"],
        "adnc": [0, 3, 1, 0, 3, -1],
        "braak": [0, 6, 2, 1, 5, -1],
        "thal": -1,
        "cerad": -1,
        "cognition": -1,
        "is_reference": [False] * 5 + [True],
        "study": None,
    }
    return pd.DataFrame(table | given)


def test_donors_are_counted_by_part_and_stage():
    told = stratification(donors())
    assert told["groups"] == [
        {"name": "ADNC", "levels": ["not AD", "low", "high", "missing"]},
        {"name": "sex", "levels": ["female", "male"]},
    ]
    rows = {row["part"]: row for row in told["rows"]}
    assert list(rows) == ["train", "validation", "discovery", "test", "all"]
    assert rows["train"]["counts"] == [1, 0, 1, 1, 2, 1]
    assert rows["all"]["counts"] == [2, 1, 2, 1, 4, 2]
    assert [row["donors"] for row in rows.values()] == [3, 1, 1, 1, 6]
    assert [row["reference"] for row in rows.values()] == [1, 0, 0, 0, 1]
    assert [row["cells"] for row in rows.values()] == [90, 30, 40, 50, 210]


def test_braak_stands_in_where_no_donor_has_an_adnc():
    assert stratification(donors(adnc=-1))["groups"][0]["name"] == "Braak"
    unstaged = stratification(donors(adnc=-1, braak=-1, sex="unknown"))
    assert unstaged["groups"] == [] and unstaged["rows"][-1]["donors"] == 6


def test_a_donor_in_several_parts_is_counted_once_in_all():
    halves = pd.concat([donors(), donors(split="test")], ignore_index=True)
    told = stratification(halves)["rows"]
    assert [row["donors"] for row in told] == [3, 1, 1, 6, 6]
    assert told[-1]["cells"] == 420
    table = donors_by_level(halves)
    assert table.columns.tolist() == ["test", "several parts"]
    assert table.loc["ADNC high"].tolist() == [1, 1]  # donor e is in the test part twice
    assert table.loc[["sex female", "sex male"]].to_numpy().sum() == 6


def test_levels_that_no_donor_has_are_left_out():
    table = donors_by_level(donors())
    assert table.columns.tolist() == ["train", "validation", "discovery", "test"]
    assert table.loc[table.index.str.startswith("Braak")].to_numpy().sum() == 6
    assert not table.index.str.startswith(("Thal", "study")).any()
    assert (table.sum(axis=1) > 0).all()
    assert donors_by_level(donors(adnc=-1, braak=-1, sex="unknown")).empty


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (["MAP", "ROS", "MAP", None, "MAP", "ROS"], ["MAP", "ROS", "not given"]),
        ([2, 1, 1, 1, 1, 1], ["1", "2"]),
    ],
)
def test_studies_are_named(study, expected):
    assert levels(donors(study=study))["study"].cat.categories.tolist() == expected


def test_the_rarest_studies_are_put_together():
    many = pd.concat([donors(study=f"study {i}") for i in range(MAX_STUDIES + 2)])
    many = many.assign(donor_id=[f"d{i}" for i in range(len(many))]).iloc[:-1]
    many = many.reset_index(drop=True)
    named = levels(many)["study"]
    assert len(named.cat.categories) == MAX_STUDIES
    assert named.cat.categories[-1] == "others" and (named == "others").sum() == 3 * 6 - 1
