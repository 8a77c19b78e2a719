"""Fine-tuning in less memory: parts of a step, and blocks that are computed again."""

import pytest
import torch

from scsw.errors import ScswError
from scsw.scgpt.encoder_layer import EncoderLayer
from scsw.scgpt.init import init
from scsw.scgpt.training.step import Step
from scsw.scgpt.training.training_pass import TrainingPass
from tests.scgpt.training.small_runs import assert_same_curve, moved, run
from tests.tiny import model_settings


@pytest.mark.parametrize("accumulate", [2, 3, 9])
def test_parts_of_a_step_have_the_loss_of_the_whole(start, tmp_path, accumulate):
    plain = run(start, tmp_path / "plain", class_weights="balanced")
    out = run(start, tmp_path / "model", accumulate=accumulate, class_weights="balanced")
    assert_same_curve(out, plain)


def out_of_memory_above(monkeypatch, cells):
    """Let a GPU have memory for some cells only; return the numbers of cells it was given."""
    sizes, losses = [], TrainingPass.__call__

    def limited(self, model, batch):
        sizes.append(len(batch.lengths))
        if len(batch.lengths) > cells:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return losses(self, model, batch)

    monkeypatch.setattr(TrainingPass, "__call__", limited)
    return sizes


def test_too_little_memory_halves_the_cells_and_nothing_else(start, tmp_path, monkeypatch, capsys):
    sizes = out_of_memory_above(monkeypatch, 3)
    out = run(start, tmp_path / "model")
    assert sizes[:3] == [9, 4, 2]  # 9 in one part, in two, in four
    assert sizes.count(9) == 1  # it is not tried again
    assert "out of memory: from step 0 on in 4 parts" in capsys.readouterr().out
    assert_same_curve(out, start[2])


def test_memory_that_ends_half_way_through_a_step(start, tmp_path, monkeypatch):
    plain = TrainingPass.__call__
    calls = []

    def failing(self, model, batch):
        calls.append(len(batch.lengths))
        if len(calls) == 4:  # the second part of the second step, gradients are there already
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(self, model, batch)

    monkeypatch.setattr(TrainingPass, "__call__", failing)
    out = run(start, tmp_path / "model", accumulate=2, evaluations=1)
    assert calls[:8] == [4, 5, 4, 5, 2, 2, 3, 2]
    monkeypatch.undo()
    assert_same_curve(out, run(start, tmp_path / "whole", evaluations=1))


def test_the_parts_are_remembered_by_a_run_that_goes_on(start, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    take = Step.__call__

    def dying(self, batch):
        if self.run.step == 4:
            raise Killed
        return take(self, batch)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Step, "__call__", dying)
        out_of_memory_above(patched, 5)
        run(start, tmp_path / "model", save_minutes=0)
    sizes = out_of_memory_above(monkeypatch, 5)
    assert_same_curve(run(start, tmp_path / "model", save_minutes=0), start[2])
    assert max(sizes) == 5


def test_a_cell_that_does_not_fit_is_told_and_the_state_stays(start, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        out_of_memory_above(patched, 0)
        with pytest.raises(ScswError, match=r"too little memory: CUDA out of memory\. To mend"):
            run(start, tmp_path / "model")
    assert (tmp_path / ".work").exists() and not (tmp_path / "model").exists()


def test_elastic_similarity_needs_all_cells_at_once(start, tmp_path, monkeypatch):
    sizes = out_of_memory_above(monkeypatch, 3)
    with pytest.raises(ScswError, match="lower batch_size"):
        run(start, tmp_path / "model", weight_ecs=1)
    assert sizes == [9]


def test_checkpointing_computes_blocks_again_and_changes_nothing(start, tmp_path, monkeypatch):
    trained, block = [], EncoderLayer.forward_packed

    def counting(self, *given):
        trained.append(self.training)
        return block(self, *given)

    monkeypatch.setattr(EncoderLayer, "forward_packed", counting)
    init(start[1], tmp_path / "dropped", model=model_settings(), seed=0)  # with dropout
    dropped = tmp_path / "dropped", start[1]
    plain = run(dropped, tmp_path / "plain")
    once = sum(trained)
    trained.clear()
    out = run(dropped, tmp_path / "model", compute={"activation_checkpointing": True})
    assert sum(trained) == 2 * once
    assert moved(out, plain) == set()
