"""The rule that fetches the files of a cohort, in a workflow of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RULE = Path(__file__).parents[2] / "workflow" / "rules" / "fetch.smk"
SNAKEFILE = """
from scsw.fetch.places import fetched_files

RUN = "results/x"
COHORTS = {{
    "plain": {{"path": "data/own.h5ad"}},
    "one": {{"path": "data/one.h5ad", "fetch": "s3://bucket/it's one.h5ad"}},
    "two": {{"path": "data/two", "fetch": {{"a.mtx": "syn1", "meta/b.csv": "syn2.3"}}}},
}}

include: "{rule}"

rule all:
    default_target: True
    input: [path for cohort in COHORTS.values() for path in fetched_files(cohort)]
"""
# Writes what it was asked for into the file that it was to make.
STAND_IN = '#!/bin/sh\necho progress\nprintf \'%s|\' "$@" > "$4"\n'


@pytest.fixture
def workflow(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(rule=RULE))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scsw").write_text(STAND_IN)
    (tmp_path / "bin" / "scsw").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(RULE.parents[2])}

    def run(*arguments):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
        return subprocess.run(command, check=False, **options)

    return run


def test_each_file_is_fetched_once_to_its_path(workflow, tmp_path):
    result = workflow()
    assert result.returncode == 0, result.stderr
    made = {
        "data/one.h5ad": "fetch|s3://bucket/it's one.h5ad|--out|data/one.h5ad|",
        "data/two/a.mtx": "fetch|syn1|--out|data/two/a.mtx|",
        "data/two/meta/b.csv": "fetch|syn2.3|--out|data/two/meta/b.csv|",
    }
    assert {path: (tmp_path / path).read_text() for path in made} == made
    assert (tmp_path / "results/x/logs/fetch/one_1.log").read_text() == "progress\n"
    again = workflow()
    assert "Nothing to be done" in again.stdout + again.stderr
