"""Tables of several runs put together, and the numbers of the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scsw.files import read_json, read_table, write_json
from scsw.superweight.calibration.__main__ import gather
from scsw.superweight.calibration.figure import write
from scsw.superweight.calibration.page import (
    BEGIN,
    END,
    SUMMARIES,
    fill_in,
    numbers,
    write_summaries,
)
from tests.superweight.calibration.test_uniformity import rank_ps

N_CONTROLS = 60
DOCS = Path(__file__).parents[3] / "docs"


def test_runs_are_put_together_and_doubles_are_dropped(tmp_path):
    keys = ["kind", "strength", "number"]
    rows = [("implanted_constant", 2.0, i) for i in range(3)]
    for name, own in (("one", rows[:2]), ("two", rows[1:])):
        (tmp_path / name).mkdir()
        pd.DataFrame(own, columns=keys).to_parquet(tmp_path / name / "power.parquet")
    (tmp_path / "pieces").mkdir()
    piece = pd.DataFrame([("implanted_constant", 2.0, 3)], columns=keys)
    piece.to_parquet(tmp_path / "pieces" / "power-implanted_constant-2-3.parquet")
    folders = [tmp_path / name for name in ("two", "pieces", "one")]
    assert gather(folders, tmp_path / "out") == {"power": 4}
    assert read_table(tmp_path / "out" / "power.parquet")["number"].tolist() == [0, 1, 2, 3]


@pytest.fixture
def stored(tmp_path):
    """Return a folder with made-up tables of 4 models, 6 families each, and 6 implants."""
    p = rank_ps(np.random.default_rng(0), 24, 5, N_CONTROLS)
    number = np.repeat(np.arange(24), 5)
    null = pd.DataFrame({"model": number % 4, "family": number // 4, "p": p.ravel(), "q": 1.0})
    null["scope"] = np.where(null["family"] % 2, "all_blocks", "same_tensor")
    null["candidate_id"] = np.arange(len(null)).astype(str)
    null = null.assign(effect_nll=1e-4, effect_low=-1e-4, floor_nll=1e-9, min_effect=0.05)
    null = null.assign(n_tied=0, verdict="not causal", verdict_without_least="not causal")
    null.loc[0, ["q", "effect_low", "verdict_without_least"]] = (0.01, 1e-5, "causal, informative")
    numbers = {"accuracy": 0.7, "nll": 0.8, "min_effect": 0.05, "gap": 1.0}
    models = pd.DataFrame([{"model": k, "seed": k, **numbers} for k in range(4)])
    searched = pd.DataFrame({"model": [0, 1], "verdict": "not causal", "q": [0.04, 0.5]})
    searched["candidate_id"] = ["a", "b"]
    power = pd.DataFrame({"strength": [2.0, 2.0, 20.0], "number": [0, 1, 0]})
    power = power.assign(effect_nll=[-0.01, 0.02, 0.9], gap=1.0, found_rank=[-1, 3, 1])
    power = power.assign(q=[1.0, 0.01, 0.01], effect_low=[-0.02, 0.008, 0.07])
    power["verdict"] = ["not found", "not causal", "causal, constant"]
    kinds = ("implanted_constant", "implanted_informative")
    power = pd.concat([power.assign(kind=kind) for kind in kinds], ignore_index=True)
    for name, table in {
        "null": null,
        "models": models,
        "searched": searched,
        "power": power,
    }.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    run = {"part": "null", "slice": [0, 4], "workers": 2, "wall_seconds": 90.0}
    write_json(
        run | {"cpu_seconds": 360.0, "python": "3.11", "torch": "2"}, tmp_path / "run-null-0-4.json"
    )
    return tmp_path


def test_the_page_and_the_figure_hold_what_the_tables_do(stored, monkeypatch):
    monkeypatch.setattr("scsw.superweight.calibration.page.DRAWS", 99)
    page = stored / "page.md"
    page.write_text(f"before\n{BEGIN}\nstale numbers\n{END}\nafter\n", encoding="utf-8")
    write_summaries(stored, N_CONTROLS)
    fill_in(page, stored)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "stale numbers" not in text
    assert "4 models without an implant" in text and "24 families with 120 blind" in text
    assert "| called causal, if every effect above 0 counts | 1 of 24 | 4.2 % [" in text
    assert "(2 candidates, judged in the same way): 0 called, in 0 of 2 models; 1 have q" in text
    assert "| constant | 2 | 2 | 1 (9 %–91 %) | 0 (0 %–66 %) | 0 (0 %–66 %) | 0.5 % |" in text
    assert "| informative | 20 | 1 | 1 (21 %–100 %) | 1 (21 %–100 %) | 0 (0 %–79 %) |" in text
    assert "| 0.0 % | 1 of 24 | 2 of 3 | 2 of 3 |" in text  # the one random weight is tiny
    assert "| 0.5 % | 0 of 24 | 2 of 3 | 2 of 3 |" in text
    assert "| 1.0 % | 0 of 24 | 1 of 3 | 1 of 3 |" in text
    assert "| 10.0 % | 0 of 24 | 0 of 3 | 0 of 3 |" in text
    assert "| null | 0:4 | 2 | 1.5 min | 0.1 h |" in text
    fill_in(page, stored)
    assert page.read_text(encoding="utf-8") == text
    write(stored, N_CONTROLS, 0.05)
    assert "simulated" in (stored / "calibration.svg").read_text()
    assert (stored / "calibration.png").stat().st_size > 10_000


def test_the_stored_page_holds_what_the_stored_tables_do():
    assert numbers(DOCS / "calibration") in (DOCS / "calibration.md").read_text(encoding="utf-8")


def test_the_stored_summaries_are_those_of_the_stored_tables(tmp_path, monkeypatch):
    """But for the p of drawn families, which takes a minute."""
    monkeypatch.setattr("scsw.superweight.calibration.page.DRAWS", 1)
    for name in ("null", "power"):
        table = read_table(DOCS / "calibration" / f"{name}.parquet")
        table.to_parquet(tmp_path / f"{name}.parquet")
    n_controls = read_json(DOCS / "calibration" / "settings.json")["null"]["prune"]["n_controls"]
    write_summaries(tmp_path, n_controls)
    for name in SUMMARIES:
        new, old = (
            read_table(folder / f"{name}.tsv") for folder in (tmp_path, DOCS / "calibration")
        )
        dropped = [column for column in new if column == "p_families"]
        pd.testing.assert_frame_equal(new.drop(columns=dropped), old.drop(columns=dropped))


def test_the_stored_run_holds_what_was_asked_of_it():
    folder = DOCS / "calibration"
    uniform = read_table(folder / "uniformity.tsv").set_index("scope").loc["all"]
    assert uniform["models"] >= 5 and uniform["families"] >= 200
    assert min(uniform["p_families"], uniform["p_models"]) > 0.05
    false = read_table(folder / "false_verdicts.tsv").set_index("question").loc["causal"]
    assert false["passed"] <= 4 / 200 * false["families"]
    power = read_table(folder / "power_by_strength.tsv")
    constant = power[(power["kind"] == "implanted_constant") & (power["outcome"] == "causal")]
    assert len(constant) >= 4 and (constant["n"] >= 20).all()
