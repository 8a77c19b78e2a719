"""A run that is killed goes on where it was and ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.cohort import layouts

COMMAND = "from scsw.cli import main; main()"
CONFIG = json.dumps({"preprocess": {**layouts.SETTINGS, "memory_gb": 0.3}})
# A file that takes some seconds to read: many short blocks.
SLOW = (
    "import time; from scsw.cohort.spool import Spool; write = Spool._write\n"
    "def slow(self, block):\n    write(self, block); time.sleep(2)\n"
    "Spool._write = slow\n"
)


def start(path, out, code):
    command = [sys.executable, "-c", code, "preprocess", path, "--out", out, "--config", CONFIG]
    return subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)


def wait_for(pattern, folder, process):
    until = time.monotonic() + 60
    while not list(folder.rglob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until, f"no {pattern} in {folder}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A cohort of many blocks at the smallest memory: 4,000 cells × 300 genes."""
    random = np.random.default_rng(0)

    def wide(adata):
        layer = np.asarray(random.poisson(2.0, (adata.n_obs, adata.n_vars)), np.float32)
        adata.layers["UMIs"] = layer

    path = tmp_path_factory.mktemp("restart") / "s.h5ad"
    return layouts.write_sea_ad(path, n_donors=10, per_donor=4_000, edit=wide)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    process = start(source, out, COMMAND)
    assert process.wait(timeout=120) == 0, process.stderr.read()
    return out


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on_where_it_was(source, whole, tmp_path, signal_number):
    out = tmp_path / "killed"
    killed = start(source, out, SLOW + COMMAND)
    wait_for("*.npy", out, killed)
    os.kill(killed.pid, signal_number)
    assert killed.wait(timeout=60) != 0
    blocks = {file.name: file.stat().st_mtime_ns for file in out.rglob("*.npy")}
    assert 0 < len(blocks) < 5 and not (out / "cohort.h5ad").exists()

    again = start(source, out, KEEP_BLOCKS + COMMAND)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    kept = json.loads((tmp_path / "killed.json").read_text())
    assert {name: kept[name] for name in blocks} == blocks
    for file in whole.iterdir():
        if "provenance" not in file.name:
            assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert not list(out.rglob("*.part")) and not (out / ".work").exists()


# Before the blocks are removed, tell when each was written.
KEEP_BLOCKS = (
    "import json, pathlib, sys; from scsw.cohort.spool import Spool; measures = Spool.measures\n"
    "def tell(self):\n"
    "    out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
    "    times = {f.name: f.stat().st_mtime_ns for f in self._folder.glob('*.npy')}\n"
    "    out.with_suffix('.json').write_text(json.dumps(times))\n"
    "    return measures(self)\n"
    "Spool.measures = tell\n"
)
