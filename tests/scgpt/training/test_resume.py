"""A fine-tuning run that is killed goes on, and ends with the weights of one that was not."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.scgpt.training.step import Step
from scsw.settings import section_settings
from tests.scgpt.training.small_runs import DONORS, history, weights
from tests.tiny import COMPUTE, model_settings, write_cohort

GIVEN = {"epochs": 30, "max_steps": 24, "lr": 0.003, "batch_size": 8, "evaluations": 4}


class Killed(BaseException):
    """What no step catches."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A cohort, a starting model, and the model of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("run")
    cohort = write_cohort(folder, split=DONORS)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    run(folder / "init", cohort, folder / "whole")
    return folder / "init", cohort, folder / "whole"


def run(init_folder, cohort, out, **changes):
    settings = section_settings("finetune", GIVEN | changes)
    finetune(init_folder, cohort, out, settings=settings, compute=COMPUTE)


def assert_same(folder, whole):
    ours, theirs = weights(folder), weights(whole)
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    pd.testing.assert_frame_equal(history(folder), history(whole), check_exact=True)
    for name in ("labels.json", "vocab.json", "args.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def kill_at(monkeypatch, step):
    """Let the process die as it begins a step; return the steps that were begun."""
    begun, take = [], Step.__call__

    def dying(self, batch):
        begun.append(self.run.step)
        if begun[-1] == step and begun.count(step) == 1:
            raise Killed
        return take(self, batch)

    monkeypatch.setattr(Step, "__call__", dying)
    return begun


@pytest.mark.parametrize("step", [1, 6, 13, 23])
def test_it_ends_with_the_same_weights_wherever_it_was_killed(start, tmp_path, monkeypatch, step):
    begun = kill_at(monkeypatch, step)
    out = tmp_path / "model"
    with pytest.raises(Killed):
        run(*start[:2], out, save_minutes=0)
    assert not out.exists()
    run(*start[:2], out, save_minutes=0)
    assert begun == [*range(step + 1), *range(step, GIVEN["max_steps"])]  # no step was repeated
    assert_same(out, start[2])
    assert not (tmp_path / ".work").exists()


def test_steps_since_the_last_saving_are_done_again(start, tmp_path, monkeypatch):
    begun = kill_at(monkeypatch, 9)
    with pytest.raises(Killed):
        run(*start[:2], tmp_path / "model", save_minutes=1000)
    run(*start[:2], tmp_path / "model", save_minutes=0)
    assert begun == [*range(10), *range(GIVEN["max_steps"])]
    assert_same(tmp_path / "model", start[2])


def test_killed_while_it_is_scored(start, tmp_path, monkeypatch):
    def dying(*_, **__):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("scsw.scgpt.finetune.evaluate", dying)
        run(*start[:2], tmp_path / "model")
    begun = kill_at(monkeypatch, -1)
    run(*start[:2], tmp_path / "model")
    assert begun == []
    assert_same(tmp_path / "model", start[2])


def test_the_state_of_another_run_is_not_taken_over(start, tmp_path, monkeypatch):
    begun = kill_at(monkeypatch, 9)
    with pytest.raises(Killed):
        run(*start[:2], tmp_path / "model", save_minutes=0, lr=0.001)
    run(*start[:2], tmp_path / "model")
    assert begun[10:] == [*range(GIVEN["max_steps"])]
    assert_same(tmp_path / "model", start[2])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_goes_on(start, tmp_path, capsys, number):
    init_folder, cohort, whole = start
    given = {"finetune": GIVEN | {"save_minutes": 0}, "compute": vars(COMPUTE)}
    # The fourth step waits, so that the signal comes while the run is under way.
    wait = (
        "import time; from scsw.scgpt.training.step import Step; take = Step.__call__\n"
        "def slow(self, batch):\n"
        "    time.sleep(20 if self.run.step == 3 else 0)\n"
        "    return take(self, batch)\n"
        "Step.__call__ = slow\n"
    )
    call = "from scsw.cli import main; main()"
    arguments = ["finetune", init_folder, "--cohort", cohort, "--out", tmp_path / "model"]
    arguments += ["--config", json.dumps(given)]
    command = [sys.executable, "-c", wait + call, *map(str, arguments)]
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 90
    while not list(tmp_path.rglob("last.ckpt")):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1)
    killed.send_signal(number)
    printed, _ = killed.communicate(timeout=60)
    if number == signal.SIGTERM:  # it ends the step, saves, and says so
        assert killed.returncode == 143 and "asked to end after step" in printed
    else:
        assert killed.returncode == -signal.SIGKILL
    run(init_folder, cohort, tmp_path / "model", save_minutes=0)
    assert "going on after step" in capsys.readouterr().out
    assert_same(tmp_path / "model", whole)
