"""The command line as a user meets it."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from scsw.files import write_table
from tests.tiny import write_cohort

ROOT = Path(__file__).parents[1]


def scsw(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "scsw.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or ROOT,
    )


def test_help_is_quick_and_names_every_step_of_the_workflow():
    started = time.perf_counter()
    shown = scsw("--help")
    assert shown.returncode == 0
    assert time.perf_counter() - started < 10  # torch or scgpt at import would take longer
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    steps = set(re.findall(r'"scsw ([a-z]+) ', rules))
    assert len(steps) >= 15
    assert all(re.search(rf"\b{step}\b", shown.stdout) for step in steps)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["preprocess", "none.h5ad", "--out", "o", "--source", "sea_ad"], "does not exist"),
        (["preprocess", "none.h5ad", "--out", "o", "--source", "adni2"], "adni2"),
        (["search", "none", "--cohort", "none.h5ad", "--out", "o"], "none does not exist"),
        (["init", "--cohort", "none.h5ad", "--out", "o"], "none.h5ad does not exist"),
        (["table", "none.parquet"], "none.parquet does not exist"),
        (["check-config", "{}"], "'run' is a required property"),
        (["check-config", '{"run": "x", "cohorts": [], "colour": 1}'], "colour"),
        (
            [
                "finetune",
                "x",
                "--cohort",
                "y",
                "--out",
                "o",
                "--config",
                '{"finetune": {"lr": -1}}',
            ],
            "finetune.lr",
        ),
        (
            ["init", "--cohort", "y", "--out", "o", "--config", '{"serach": {}}'],
            "unknown config sections: serach",
        ),
        (["init", "--cohort", "y", "--out", "o", "--config", "[1]"], "neither JSON nor a file"),
        (["gather", "x/real/zero", "--out", "o"], "not folders of one model"),
        (["checkpoint", "get", "human", "--out", "o"], "'human' is no address of a checkpoint"),
        (["checkpoint", "inspect", "none"], "none does not exist"),
    ],
)
def test_a_users_mistake_is_one_message_and_no_output(tmp_path, arguments, text):
    result = scsw(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ") and text in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_with_one_cell_type_stops_at_init(tmp_path):
    cohort = write_cohort(tmp_path / "c", cells=1)
    result = scsw("init", "--cohort", cohort, "--out", tmp_path / "o" / "init")
    assert result.returncode == 2 and "nothing to classify" in result.stderr
    assert not (tmp_path / "o").exists() or list((tmp_path / "o").iterdir()) == []


def test_a_table_is_printed_as_tsv(tmp_path):
    write_table(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "t.parquet")
    assert scsw("table", tmp_path / "t.parquet").stdout == "a\tb\n1\tx\n2\ty\n"
    assert scsw("table", tmp_path / "t.parquet", "--rows", "1").stdout == "a\tb\n1\tx\n"
