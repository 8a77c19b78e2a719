"""The command line as a user meets it."""

import errno
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from scsw.cli.app import _of_the_machine
from scsw.files import write_table
from tests.tiny import write_cohort

ROOT = Path(__file__).parents[1]


CONFIG = '{"run": "x", "cohorts": [{"name": "a", "path": "a.h5ad"}]}'


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def scsw(*arguments, cwd=None, **more):
    return subprocess.run(
        [sys.executable, "-m", "scsw.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or ROOT,
        env=environment(),
        **more,
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
        (["preprocess", "x", "--out", "o", "--columns", "{braak: x}"], "--columns cannot be read"),
        (["preprocess", "x", "--out", "o", "--columns", '{"sex": ["F"]}'], "--columns.sex: ['F']"),
        (["preprocess", "x", "--out", "o", "--values", '{"sex": "F"}'], "--values.sex: 'F'"),
        # Before the cohort is read, which takes longer.
        (
            [
                *("preprocess", "none.h5ad", "--out", "o", "--config"),
                '{"preprocess": {"vocabulary": "checkpoint"}, "model": {"checkpoint": "none"}}',
            ],
            "none/best_model.pt does not exist",
        ),
        (["report", ".", "--cohort", "b", "--config", CONFIG], "the config has no cohort 'b'"),
        (["init", "--cohort", "x", "--out", "o", "--seed", "-1"], "greater than or equal to 0"),
        (["simulate", "--out", "/dev/null/s.h5ad"], "/dev/null: File exists"),
    ],
)
def test_a_users_mistake_is_one_message_and_no_output(tmp_path, arguments, text):
    result = scsw(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.count("Error") == 1 and text in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_with_one_cell_type_stops_at_init(tmp_path):
    cohort = write_cohort(tmp_path / "c", cells=1)
    result = scsw("init", "--cohort", cohort, "--out", tmp_path / "o" / "init")
    assert result.returncode == 2 and "nothing to classify" in result.stderr
    assert not (tmp_path / "o").exists() or list((tmp_path / "o").iterdir()) == []


def test_a_file_that_the_disk_does_not_take_is_one_message(tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = ("simulate", "--source", "rosmap", "--out", tmp_path / "s")
    result = scsw(*command, preexec_fn=small_files)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ") and "File too large" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "x", "a/b"), "a/b: No space left on device.*make room on the disk"),
        (PermissionError(errno.EACCES, "x", "a/b"), "a/b: Permission denied.*check the path"),
        (  # as h5py raises it
            RuntimeError("Can't close (file write failed\n, filename = 'a/b', errno = 28, error"),
            "a/b: No space left on device",
        ),
        (MemoryError("Unable to allocate 9 GiB"), r"memory .*\(Unable to allocate 9 GiB\)"),
        (  # as torch raises it
            RuntimeError("[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory"),
            "the memory of this machine does not suffice",
        ),
    ],
)
def test_what_the_machine_refuses_is_told_in_a_users_words(error, message):
    assert re.search(message, str(_of_the_machine(error)))


def test_a_full_disk_is_told_where_a_library_stumbles_over_it():
    """As matplotlib does when it closes a PDF that it could not write."""
    with pytest.raises(AttributeError) as caught:
        try:
            raise OSError(errno.ENOSPC, "")
        finally:
            None.pos  # noqa: B018
    assert "No space left" in str(_of_the_machine(caught.value))


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shape"):
        _of_the_machine(RuntimeError("shape mismatch"))


def test_a_command_that_is_asked_to_end_removes_what_it_was_writing(tmp_path):
    program = """
import time
from scsw.cli.app import app, main
from scsw.files import whole

@app.command()
def wait():
    with whole("out") as part:
        part.write_text("half")
        print("ready", flush=True)
        time.sleep(60)

main()
"""
    command = [sys.executable, "-c", program, "wait"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=environment()) as run:
        assert run.stdout.readline() == b"ready\n"
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
        run.terminate()
        assert run.wait(30) == 143
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_printed_as_tsv(tmp_path):
    write_table(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "t.parquet")
    assert scsw("table", tmp_path / "t.parquet").stdout == "a\tb\n1\tx\n2\ty\n"
    assert scsw("table", tmp_path / "t.parquet", "--rows", "1").stdout == "a\tb\n1\tx\n"
