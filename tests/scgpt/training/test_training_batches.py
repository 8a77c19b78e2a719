"""The batches of a run: the same whatever prepares them, from whichever step on."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from scsw.cohort.read import read_cohort
from scsw.errors import ScswError
from scsw.scgpt.init import init
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.streamed_cohort import streamed_cells
from scsw.scgpt.training.training_batches import loader_workers, training_batches
from scsw.scgpt.training.training_cells import TrainingCells
from scsw.settings import section_settings
from tests.tiny import model_settings, write_cohort

SPLITS = ["train", "validation"]
SETTINGS = section_settings("finetune", {"epochs": 3, "batch_size": 7})
N_STEPS = 12  # 24 training cells make four batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    init(write_cohort(folder), folder / "init", model=model_settings(), seed=0)
    return folder


def streamed_tokenizer(folder):
    cells, rows = streamed_cells(folder / "cohort.h5ad", SPLITS)
    return cohort_tokenizer(cells, folder / "init", seed=3, rows=rows)


@pytest.fixture
def training(folder, monkeypatch):
    """Training cells that stay in the file, in blocks of 5 and a window of 2."""
    for module in ("tokens.streamed_rows", "training.epoch_order"):
        monkeypatch.setattr(f"scsw.scgpt.{module}.BLOCK", 5)
    monkeypatch.setattr("scsw.scgpt.training.epoch_order.WINDOW", 2)
    tokenizer = streamed_tokenizer(folder)
    return TrainingCells(tokenizer, tokenizer.cohort, SETTINGS)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.lengths == other.lengths
        for name, value in vars(one).items():
            assert name == "lengths" or value.equal(getattr(other, name)), name


def test_each_epoch_holds_every_training_cell_once(training):
    batches = list(training_batches(training))
    assert len(batches) == training.steps == N_STEPS
    epochs = [torch.cat([b.cells for b in batches[i : i + 4]]).tolist() for i in (0, 4, 8)]
    assert all(sorted(epoch) == training.train.tolist() for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 5, 11, 12])
def test_workers_and_start_do_not_matter(training, workers, start):
    expected = [training.batch(step) for step in range(N_STEPS)]
    assert_same(list(training_batches(training, start, workers=workers)), expected[start:])


def test_a_cohort_in_memory_gives_the_same_tokens_in_the_same_order(folder):
    streamed = streamed_tokenizer(folder)
    cells = read_cohort(folder / "cohort.h5ad", SPLITS)
    memory = cohort_tokenizer(cells, folder / "init", seed=3)
    for shuffle in (False, True):
        ours, theirs = (
            TrainingCells(tokenizer, tokenizer.cohort, SETTINGS, shuffle=shuffle)
            for tokenizer in (streamed, memory)
        )
        for step in range(N_STEPS):
            one, other = ours.batch(step), theirs.batch(step)
            for name in ("genes", "values", "hidden", "labels", "batch_labels"):
                assert getattr(one, name).equal(getattr(other, name)), name


@pytest.mark.parametrize("workers", [0, 1])
def test_torchs_random_numbers_are_left_alone(training, workers):
    before = torch.get_rng_state()
    list(training_batches(training, workers=workers))
    assert torch.get_rng_state().equal(before)


def test_a_run_can_be_given_to_another_process(training):
    expected = [training.batch(step) for step in range(N_STEPS)]
    copy = pickle.loads(pickle.dumps(training))
    assert_same([copy.batch(step) for step in range(N_STEPS)], expected)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_arrives_as_it_was(training, workers, monkeypatch):
    batch = TrainingCells.batch

    def failing(self, step):
        if step == 2:
            raise ScswError("the file is gone", expected="a file", fix="bring it back")
        return batch(self, step)

    monkeypatch.setattr(TrainingCells, "batch", failing)
    taken = []
    with pytest.raises(ScswError) as raised:
        for found in training_batches(training, workers=workers):
            taken.append(found)
    assert len(taken) == 2
    error = raised.value
    assert (error.found, error.fix) == ("the file is gone", "bring it back")
    assert "Traceback" not in str(error)
    assert_no_workers()


def assert_no_workers():
    until = time.monotonic() + 20
    while multiprocessing.active_children():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_workers_end_when_no_more_batches_are_wanted(training):
    with contextlib.closing(training_batches(training, workers=2)) as batches:
        next(batches)
        assert len(multiprocessing.active_children()) == 2
    assert_no_workers()


def test_workers_go_on_when_the_whole_job_is_asked_to_end(training, monkeypatch):
    batch = TrainingCells.batch

    def slow(self, step):
        time.sleep(0.1)
        return batch(self, step)

    expected = [training.batch(step) for step in range(N_STEPS)]
    monkeypatch.setattr(TrainingCells, "batch", slow)
    with contextlib.closing(training_batches(training, workers=1)) as batches:
        first = next(batches)
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGTERM)
            os.kill(worker.pid, signal.SIGINT)
        assert_same([first, *batches], expected)


def program(folder, then):
    """Return a program that takes a batch, tells its worker's number, and does something then."""
    return f"""
import sys, time, multiprocessing
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.streamed_cohort import streamed_cells
from scsw.scgpt.training.training_batches import training_batches
from scsw.scgpt.training.training_cells import TrainingCells
from scsw.settings import section_settings
cells, rows = streamed_cells({str(folder / "cohort.h5ad")!r}, ["train"])
tokenizer = cohort_tokenizer(cells, {str(folder / "init")!r}, rows=rows)
settings = section_settings("finetune", {{"epochs": 1000, "batch_size": 7}})
batches = training_batches(TrainingCells(tokenizer, cells, settings), workers=1)
next(batches)
print(multiprocessing.active_children()[0].pid, flush=True)
{then}
"""


def started(code):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)


def test_workers_end_with_a_process_that_is_killed(folder):
    process = started(program(folder, "time.sleep(60)"))
    worker = int(process.stdout.readline())
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while is_running(worker):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_process_that_fails_ends_though_it_did_not_close_its_batches(folder):
    process = started(program(folder, "raise ZeroDivisionError"))
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "ZeroDivisionError" in errors
    assert not is_running(int(printed))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # on Linux an ended process that nobody waited for still has its number
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_gpu_gets_one_worker_unless_the_config_says_otherwise():
    auto = section_settings("compute", {})
    assert [loader_workers(auto, torch.device(name)) for name in ("cuda", "cpu")] == [1, 0]
    given = section_settings("compute", {})
    given.loader_workers = 3
    assert [loader_workers(given, torch.device(name)) for name in ("cuda", "cpu")] == [3, 3]


def test_cells_do_not_depend_on_what_is_in_a_batch_with_them(training):
    expected = {}
    for step in range(4):
        batch = training.batch(step)
        for place, cell in enumerate(batch.cells.tolist()):
            own = slice(*batch.offsets[place : place + 2].tolist())
            expected[cell] = batch.genes[own].tolist(), batch.values[own].tolist()
    for cell, tokens in expected.items():
        alone = training.tokenizer.packed(np.array([cell]), mask_ratio=SETTINGS.mask_ratio)
        assert tokens == (alone.genes.tolist(), alone.values.tolist())
