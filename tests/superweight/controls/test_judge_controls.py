"""Whether each control arm came out as it must."""

import json

import numpy as np
import pandas as pd
import pytest

from scsw.errors import ScswError
from scsw.files import read_table, write_table
from scsw.superweight.controls.judge_controls import judge_controls


def arm_folder(root, arm, verdicts, sealed=None):
    folder = root / arm / "0"
    table = pd.DataFrame(verdicts).assign(cohort="x", arm=arm, seed=0, reason="because")
    table["rank"] = range(1, len(table) + 1)
    table["causal"] = table["verdict"].str.startswith("causal")
    if "min_effect" not in table:
        table = table.assign(min_effect=0.1, q=0.5)
    if "effect_high" not in table:
        table["effect_high"] = 0.2
    if "effect_gep_mse" not in table:
        table["effect_gep_mse"] = 0.0
    write_table(table, folder / "prune" / "verdicts.parquet")
    if sealed:
        (folder / "implant").mkdir()
        (folder / "implant" / "sealed.json").write_text(json.dumps(sealed))
    return folder


@pytest.mark.parametrize(
    ("arm", "verdict", "passed", "rank"),
    [
        ("untrained", "not causal", True, None),
        ("untrained", "causal, constant", False, None),
        ("untrained", "masked pair", False, None),
        ("shuffled", "not causal", True, None),
        ("shuffled", "not assessable", None, None),
        ("implanted_constant", "causal, constant", True, 1),
        ("implanted_constant", "causal, informative", False, 1),
        ("implanted_constant", "not causal", False, 1),
        ("implanted_constant", "not assessable", None, 1),
        ("pretrained", "causal, constant", None, None),
    ],
)
def test_control_arms_are_judged(tmp_path, arm, verdict, passed, rank):
    sealed = {"kind": arm, "block": 1, "row": 2, "column": 3} if "implanted" in arm else None
    rows = [{"candidate_id": "ffn_down.b1.r2.c3", "verdict": verdict}]
    folder = arm_folder(tmp_path, arm, rows, sealed)
    judge_controls({arm: folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert (None if pd.isna(row["passed"]) else bool(row["passed"])) == passed
    assert (None if pd.isna(row["found_rank"]) else int(row["found_rank"])) == rank


@pytest.mark.parametrize(
    ("verdicts", "passed", "said"),
    [
        (["not causal", "not assessable"], True, "no candidate is causal; 0 of 2"),
        (["causal, constant", "not causal"], False, "one candidate is causal; 0 of 2"),
        (["causal, constant", "causal, informative"], False, "2 candidates are causal; 0 of 2"),
        (["masked pair", "masked pair"], False, "no candidate is causal, 2 in masked pairs; 0"),
    ],
)
def test_what_an_empty_model_shows_is_counted(tmp_path, verdicts, passed, said):
    rows = [{"candidate_id": str(i), "verdict": verdict} for i, verdict in enumerate(verdicts)]
    judge_controls({"untrained": arm_folder(tmp_path, "untrained", rows)}, tmp_path / "c.parquet")
    row = read_table(tmp_path / "c.parquet").iloc[0]
    assert row["passed"] == passed and row["outcome"].startswith(said)


def test_an_arm_that_could_not_fail_does_not_pass(tmp_path):
    rows = [{"candidate_id": "a", "verdict": "not causal", "min_effect": np.nan, "q": 0.01}]
    folder = arm_folder(tmp_path, "untrained", rows)
    judge_controls({"untrained": folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert pd.isna(row["passed"])
    assert "none could be" in row["outcome"] and "1 of 1 have q at most 0.05" in row["outcome"]


@pytest.mark.parametrize("min_effect", [0.1, np.nan])
def test_what_shuffled_labels_do_to_reconstruction_is_shown_and_not_judged(tmp_path, min_effect):
    rows = [
        {"candidate_id": name, "verdict": "not causal", "min_effect": min_effect, "q": 0.5}
        | {"effect_gep_mse": change}
        for name, change in (("a", 0.004), ("b", -0.0312), ("c", np.nan))
    ]
    folders = {arm: arm_folder(tmp_path, arm, rows) for arm in ("shuffled", "untrained")}
    judge_controls(folders, tmp_path / "controls.parquet")
    table = read_table(tmp_path / "controls.parquet").set_index("arm")
    said = "shown, not judged: the error of its masked expression changes most, by -3.12 %, when b"
    assert said in table.loc["shuffled", "outcome"]
    assert "masked expression" not in table.loc["untrained", "outcome"]
    # However large, it decides nothing.
    assert table["passed"].isna().all() if np.isnan(min_effect) else table["passed"].all()


def test_the_real_arm_is_no_control(tmp_path):
    with pytest.raises(ScswError, match="real is no control arm"):
        judge_controls({"real": tmp_path}, tmp_path / "controls.parquet")


@pytest.mark.parametrize(("arm", "passed"), [("untrained", None), ("implanted_constant", False)])
def test_an_arm_without_a_candidate_has_a_row(tmp_path, arm, passed):
    sealed = {"kind": arm, "block": 1, "row": 2, "column": 3}
    folder = arm_folder(tmp_path / "x", arm, [{"candidate_id": "a", "verdict": ""}], sealed)
    path = folder / "prune" / "verdicts.parquet"
    write_table(read_table(path).iloc[:0], path)
    judge_controls({arm: folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert (row["cohort"], row["seed"], row["n_causal"]) == ("x", 0, 0)
    assert (None if pd.isna(row["passed"]) else bool(row["passed"])) == passed


def test_an_implant_that_was_missed_is_said(tmp_path):
    sealed = {"kind": "implanted_constant", "block": 1, "row": 9, "column": 9}
    rows = [{"candidate_id": "ffn_down.b1.r2.c3", "verdict": "causal, constant"}]
    folder = arm_folder(tmp_path, "implanted_constant", rows, sealed)
    judge_controls({"implanted_constant": folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert row["found_rank"] == -1 and not row["passed"]
    assert "not among the candidates" in row["outcome"]


@pytest.mark.parametrize(("high", "passed"), [(0.09, None), (0.11, False)])
def test_an_implant_that_training_left_idle_is_no_failure(tmp_path, high, passed):
    sealed = {"kind": "implanted_informative", "block": 1, "row": 2, "column": 3}
    rows = [{"candidate_id": "ffn_down.b1.r2.c3", "verdict": "not causal", "effect_high": high}]
    folder = arm_folder(tmp_path, "implanted_informative", rows, sealed)
    judge_controls({"implanted_informative": folder}, tmp_path / "controls.parquet")
    row = read_table(tmp_path / "controls.parquet").iloc[0]
    assert (None if pd.isna(row["passed"]) else bool(row["passed"])) == passed
    assert ("at most 0.09 nats, of the 0.1 that would count" in row["outcome"]) == (passed is None)


def test_no_control_arms_give_an_empty_table(tmp_path):
    judge_controls({}, tmp_path / "controls.parquet")
    assert read_table(tmp_path / "controls.parquet").empty
