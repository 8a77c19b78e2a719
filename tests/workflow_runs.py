"""Runs of the workflow in a copy of the project, for tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cohort.readers import layout_adni, layout_sea_ad_merfish

ROOT = Path(__file__).parents[1]
# Of the edits beside the random controls; the shipped configs have many.
FEW = {"n_matched": 3, "n_noise": 3, "scales": [0.5], "n_pairs_among": 3, "n_family_controls": 3}


def snakemake(*arguments, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(cwd), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def write_config(path: Path, config: dict) -> Path:
    path.write_text(yaml.safe_dump(config))
    return path


def without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a copy of the project, so that runs and edits touch nothing here."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("scsw", "workflow", "config", "profiles", "resources", "envs"):
        ignore = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "Snakefile", folder)
    layout_adni.write(folder / "adni")
    layout_sea_ad_merfish.write(folder / "merfish.h5ad")
    return folder


def planned(result) -> set[str]:
    """Return the rules that a dry run would run."""
    assert result.returncode == 0, result.stderr
    lines = (result.stdout + result.stderr).splitlines()
    return {
        line.split()[1].rstrip(":") for line in lines if line.startswith(("rule ", "localrule "))
    }
