"""Two processes train as one does; what stops one stops all."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from scsw.errors import ScswError
from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.scgpt.training.distributed import launch
from scsw.settings import section_settings
from tests.scgpt.training.small_runs import DONORS, history
from tests.scgpt.training.two_processes import adding, failing
from tests.tiny import COMPUTE, model_settings, write_cohort

# 24 training cells: steps of 23 and of 1, which leaves a process without a cell.
GIVEN = {"epochs": 10, "max_steps": 6, "lr": 0.003, "batch_size": 23, "evaluations": 3}
TWO = {**vars(COMPUTE), "devices": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    cohort = write_cohort(folder, split=DONORS)
    init(cohort, folder / "init", model=model_settings(dropout=0.0), seed=0)
    return folder / "init", cohort


def run(start, out, compute, **changes):
    settings = section_settings("finetune", GIVEN | changes)
    compute = section_settings("compute", compute)
    finetune(start[0], start[1], out, settings=settings, compute=compute)
    return history(out)


def test_two_processes_have_the_loss_curve_of_one(start, tmp_path):
    changes = {"weight_ecs": 1.0, "class_weights": "balanced"}
    one = run(start, tmp_path / "one", {**TWO, "devices": 1}, **changes)
    two = run(start, tmp_path / "two", TWO, **changes)
    pd.testing.assert_frame_equal(two, one, check_exact=False, rtol=1e-6)
    ours, theirs = (
        torch.load(tmp_path / name / "best_model.pt", weights_only=True) for name in ("two", "one")
    )
    # AdamW divides by the size of a gradient: where that is nothing but rounding (a bias of keys
    # shifts all scores of a query alike), weights differ.
    for name in theirs:
        if not name.endswith("in_proj_bias"):
            close = torch.isclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)
            assert close.float().mean() > 0.99, name
    record = json.loads((tmp_path / "finetune.provenance.json").read_text())
    assert record["parameters"]["devices"] == 2
    assert not (tmp_path / ".work").exists()


def process(out, start, wait=""):
    """Start a run on two processes of its own command; `wait` is run in each of them."""
    given = {"finetune": GIVEN | {"save_minutes": 0}, "compute": TWO}
    arguments = ["finetune", start[0], "--cohort", start[1], "--out", out]
    arguments += ["--config", json.dumps(given)]
    program = out.with_name("program.py")  # new processes read it again
    program.write_text(f"{wait}\nfrom scsw.cli import main\nif __name__ == '__main__': main()\n")
    command = [sys.executable, program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


WAIT = """
import time
from scsw.scgpt.training.step import Step
take = Step.__call__
def slow(self, batch):
    time.sleep(2 if self.run.step == 3 else 0)
    return take(self, batch)
Step.__call__ = slow
"""


def until(condition, running):
    end = time.monotonic() + 90
    while not condition():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def children(running):
    return [
        int(pid) for pid in open(f"/proc/{running.pid}/task/{running.pid}/children").read().split()
    ]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_processes_and_the_run_goes_on(start, tmp_path, number):
    whole = run(start, tmp_path / "whole", TWO)
    running = process(tmp_path / "model", start, WAIT)
    until(lambda: list(tmp_path.rglob("last.ckpt")), running)
    members = children(running)
    assert len(members) >= 2
    running.send_signal(number)
    printed, errors = running.communicate(timeout=60)
    assert running.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL), errors
    if number == signal.SIGTERM:
        assert "asked to end after step" in printed
    for _ in range(200):
        if not any(os.path.exists(f"/proc/{pid}") for pid in members):
            break
        time.sleep(0.05)
    else:
        pytest.fail("processes of a run that is gone are still there")
    again = process(tmp_path / "model", start)
    printed, errors = again.communicate(timeout=90)
    assert again.returncode == 0, errors
    assert printed.count("going on after step") == 1
    found = history(tmp_path / "model")
    pd.testing.assert_frame_equal(found, whole, check_exact=True)


@pytest.mark.slow
def test_a_mistake_is_told_once(start, tmp_path):
    told = []
    for devices in (1, 2):
        with pytest.raises(ScswError, match="two experimental batches") as raised:
            run(start, tmp_path / "model", {**TWO, "devices": devices}, weight_dab=1)
        told.append(str(raised.value))
    assert told[0] == told[1]
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("mistaken", ScswError, r"^a mistake\. To mend it: mend it\.$"),
        ("broken", RuntimeError, "ZeroDivisionError: broken on purpose"),
        ("killed", ScswError, "ended by signal 9"),
    ],
)
def test_one_that_fails_ends_all_with_its_message(how, kind, message):
    with pytest.raises(kind, match=message):
        launch(failing, 2, False, how=how)
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere locks have names that leak")
def test_processes_that_end_leave_no_word_of_leaks():
    program = (
        "from scsw.scgpt.training.distributed import launch\n"
        "from tests.scgpt.training.two_processes import locking\n"
        "launch(locking, 2, False)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_sums_rows_and_gradients(tmp_path):
    launch(adding, 2, False, folder=tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["sum"] == second["sum"] == [1.0, 3.0]
    assert first["gathered"] == second["gathered"] == [0, 1]
    assert first["rows"] == second["rows"] == [[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]
    assert first["own gradient"] == [[1.0, 0.0]]
    assert second["own gradient"] == [[2.0, 0.0], [3.0, 0.0]]
    assert first["gradients"] == second["gradients"] == [[1.0, 2.0], [6.0]]
