"""Options of fine-tuning: what each changes, and what it must not change."""

import io
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from scsw.errors import ScswError
from scsw.scgpt.model import load_model
from scsw.scgpt.training.fit import _Training
from scsw.scgpt.training.step import Step
from scsw.scgpt.training.training_progress import training_progress
from scsw.scgpt.training.training_run import TrainingRun
from tests.scgpt.training.small_runs import (
    DONORS,
    assert_same_curve,
    history,
    moved,
    run,
    weights,
)
from tests.tiny import write_cohort


def test_batches_prepared_ahead_are_the_same(start, tmp_path):
    out = run(start, tmp_path / "model", compute={"loader_workers": 1})
    assert moved(out, start[2]) == set()


def test_all_objectives_are_learned_together_and_told(start, tmp_path):
    write = {"weight_ecs": 1.0, "ecs_threshold": 0.8, "weight_dab": 0.5}
    cohort = two_batches(tmp_path / "cohort")
    out = run((start[0], cohort), tmp_path / "model", **write)
    table = history(out)
    assert list(table.columns[5:]) == ["gep", "mvc", "cls", "ecs", "dab", "accuracy"]
    assert np.isfinite(table[["ecs", "dab"]]).all(axis=None)
    loss = 0.01 * (table["gep"] + table["mvc"]) + table["cls"] + table["ecs"]
    train = table["split"] == "train"
    loss[train] += 0.5 * table.loc[train, "dab"]  # the adversary does not choose the weights
    assert table["loss"].to_numpy() == pytest.approx(loss.to_numpy(), rel=1e-6)
    # The adversary is of no use later, and an scGPT folder without it is what every tool reads.
    assert weights(out).keys() == weights(start[2]).keys()
    assert history(start[2])[["ecs", "dab"]].isna().all(axis=None)


def two_batches(folder):
    import anndata as ad

    path = write_cohort(folder, split=DONORS)
    cohort = ad.read_h5ad(path)
    cohort.obs["batch"] = np.where(np.arange(cohort.n_obs) % 2, "b", "a")
    cohort.write_h5ad(path)
    return path


def test_one_batch_has_nothing_to_tell_apart(start, tmp_path):
    with pytest.raises(ScswError, match="two experimental batches"):
        run(start, tmp_path / "model", weight_dab=1)


EMBEDDINGS = ("encoder.", "value_encoder.")
BLOCKS = tuple(f"transformer_encoder.layers.{i}." for i in range(3))
HEADS = ("decoder.", "cls_decoder.", "mvc_decoder.")


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({"freeze": "embeddings"}, EMBEDDINGS),
        ({"freeze": "encoder"}, EMBEDDINGS + BLOCKS),
        ({"freeze_blocks": 2}, BLOCKS[:2]),
        ({"freeze": "embeddings", "freeze_blocks": 1}, EMBEDDINGS + BLOCKS[:1]),
        ({"weight_mvc": 0}, HEADS[2:]),
        ({"weight_cls": 0}, HEADS[1:2]),
        ({"weight_gep": 0}, HEADS[:1]),
    ],
)
def test_what_is_frozen_stays_and_the_rest_is_trained(start, tmp_path, changes, still):
    changed = moved(run(start, tmp_path / "model", **changes), start[0])
    assert not any(name.startswith(still) for name in changed)
    for part in EMBEDDINGS + BLOCKS + HEADS:
        assert part in still or any(name.startswith(part) for name in changed), part


def test_nothing_left_to_train_is_refused(start, tmp_path):
    only = {"weight_gep": 0, "weight_mvc": 0, "weight_cls": 0, "weight_ecs": 1}
    with pytest.raises(ScswError, match="nothing to train"):
        run(start, tmp_path / "model", freeze="encoder", **only)


def test_adapters_end_in_the_weights_of_a_plain_folder(start, tmp_path, monkeypatch):
    import scsw.scgpt.finetune as module

    pytest.importorskip("peft")
    seen, merge = {}, module.merge_adapters
    tokens = torch.arange(12).reshape(1, 12), torch.rand(1, 12), torch.zeros(1, 12, dtype=bool)

    def merging(adapters):
        with torch.no_grad():
            seen["adapted"] = adapters.model(*tokens, CLS=True, MVC=True)
        seen["trained"] = {n for n, p in adapters.model.named_parameters() if p.requires_grad}
        merge(adapters)

    monkeypatch.setattr(module, "merge_adapters", merging)
    out = run(start, tmp_path / "model", lora_rank=2, lora_alpha=64, lora_dropout=0.1)
    with torch.no_grad():
        found = load_model(out)(*tokens, CLS=True, MVC=True)
        before = load_model(start[0])(*tokens, CLS=True, MVC=True)
    for name, value in seen["adapted"].items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-5), name
    assert (found["cell_emb"] - before["cell_emb"]).abs().max() > 0.01
    adapted = ("self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    changed = moved(out, start[0])
    assert {n for n in changed if not n.startswith(HEADS)} == {
        b + a for b in BLOCKS for a in adapted
    }
    assert all("lora_" in name or name.startswith(HEADS) for name in seen["trained"])
    for name in ("linear1.weight", "linear2.weight"):
        change = weights(out)[BLOCKS[0] + name] - weights(start[0])[BLOCKS[0] + name]
        assert torch.linalg.matrix_rank(change, atol=1e-4) == 2


def test_an_adapted_run_goes_on_where_it_was_killed(start, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    given = {"lora_rank": 2, "save_minutes": 0}
    whole = run(start, tmp_path / "whole", **given)
    assert killed_and_gone_on(start, tmp_path / "model", monkeypatch, **given) == weights_of(whole)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_fp16_step_that_overflows_is_taken_again(start, tmp_path, monkeypatch, accumulate):
    """Otherwise a run would begin later than that of another precision, or in more parts."""
    scales, take = [], Step.__call__

    def watched(self, batch):
        found = take(self, batch)
        scales.append(self.run.scaler.get_scale())
        return found

    monkeypatch.setattr(Step, "__call__", watched)
    given = {"accumulate": accumulate, "compute": {"precision": "fp16"}}
    out = run(start, tmp_path / "model", **given)
    assert scales[0] < 2**16
    assert_same_curve(out, start[2], rtol=5e-3)


def test_a_scaled_fp16_run_learns_and_goes_on(start, tmp_path, monkeypatch):
    given = {"save_minutes": 0, "compute": {"precision": "fp16"}}
    states, state = [], TrainingRun.state
    monkeypatch.setattr(TrainingRun, "state", lambda self: states.append(state(self)) or states[-1])
    whole = run(start, tmp_path / "whole", **given)
    assert states[-1]["scaler"]["scale"] >= 1 and states[-1]["scaler"]["_growth_tracker"] > 0
    losses = [history(folder)["loss"].iloc[-1] for folder in (whole, start[2])]
    assert moved(whole, start[2]) and np.allclose(*losses, rtol=0.1)
    assert killed_and_gone_on(start, tmp_path / "model", monkeypatch, **given) == weights_of(whole)


def test_bf16_is_near_fp32(start, tmp_path):
    out = run(start, tmp_path / "model", compute={"precision": "bf16"})
    losses = [history(folder)["loss"] for folder in (out, start[2])]
    assert moved(out, start[2]) and np.allclose(*losses, rtol=0.05)


def weights_of(folder):
    return {name: value.numpy().tobytes() for name, value in weights(folder).items()}


def killed_and_gone_on(start, out, monkeypatch, **given):
    class Killed(BaseException):
        pass

    take = Step.__call__

    def dying(self, batch):
        if self.run.step == 3:
            raise Killed
        return take(self, batch)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Step, "__call__", dying)
        run(start, out, **given)
    return weights_of(run(start, out, **given))


def test_it_stops_early_and_keeps_the_best(start, tmp_path, monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0, 0.5])
    monkeypatch.setattr(
        "scsw.scgpt.training.fit.validate", lambda *_: {"loss": next(losses), "accuracy": 0.5}
    )
    kept, judge = [], TrainingRun.judge

    def judging(self, loss):
        before = self.best_state
        judge(self, loss)
        kept.append(self.best_state is not before)

    monkeypatch.setattr(TrainingRun, "judge", judging)
    out = run(start, tmp_path / "model", evaluations=6, patience=2)
    assert history(out)["step"].max() == 4
    assert kept == [True, True, False, False]
    monkeypatch.undo()
    two = run(start, tmp_path / "two", evaluations=6)
    assert history(two)["step"].max() == 6


def test_patience_without_validation_cells_is_refused(start, tmp_path):
    cohort = write_cohort(tmp_path / "cohort", split={"train": 4, "discovery": 1, "test": 4})
    with pytest.raises(ScswError, match="no validation cells"):
        run((start[0], cohort), tmp_path / "model", patience=1)


def test_class_weights_change_the_loss_of_unlike_types_only(start, tmp_path):
    cells = {"train": 4, "validation": 1, "discovery": 1, "test": 4}
    cohort = write_cohort(tmp_path / "cohort", cells=7, split=cells)  # 3 of the first type, 2, 2
    plain = run((start[0], cohort), tmp_path / "plain")
    weighted = run((start[0], cohort), tmp_path / "weighted", class_weights="balanced")
    assert not np.allclose(history(plain)["cls"], history(weighted)["cls"], rtol=1e-4)


def test_a_tensorboard_log_lies_beside_the_model(start, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = tmp_path / "model-tensorboard"
    board.mkdir()
    for name in ("notes.txt", "events.out.tfevents.1.old"):  # the second of a run before
        (board / name).write_text("")
    out = run(start, tmp_path / "model", tensorboard=True)
    assert (board / "notes.txt").exists() and not (board / "events.out.tfevents.1.old").exists()
    log = EventAccumulator(str(tmp_path / "model-tensorboard")).Reload()
    logged = {event.step: event.value for event in log.Scalars("loss/train")}
    table = history(out)
    for row in table[table["split"] == "train"].itertuples():
        assert logged[row.step] == pytest.approx(row.loss)
    assert sorted(logged) == [1, 2, 3, 4, 5, 6]
    assert len(log.Scalars("accuracy/validation")) == 3
    assert moved(out, start[2]) == set()


def test_a_terminal_shows_loss_speed_and_time_left(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr("scsw.scgpt.training.training_progress.Console", lambda: console)
    now = SimpleNamespace(step=3, steps=10, tokens=5000, seconds=2.0)
    with training_progress(now) as tell:
        now.step = 4
        tell(1.25)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert "step 4 of 10  loss 1.250  2,500 tokens/s" in text
    with training_progress(now, shown=False) as tell:
        length = len(shown.getvalue())
        tell(1.0)
    assert len(shown.getvalue()) == length


@pytest.mark.parametrize(
    ("finetuning", "computing", "message"),
    [
        ({"weight_gep": 0, "weight_mvc": 0, "weight_cls": 0, "weight_dab": 1}, {}, "every"),
        ({"freeze_blocks": 4}, {}, "3 encoder blocks"),
        ({"lora_rank": 2, "freeze": "encoder"}, {}, "one of them"),
        ({"lora_rank": 2, "freeze_blocks": 1}, {}, "one of them"),
        ({"weight_ecs": 1, "accumulate": 2}, {}, "all cells of a step at once"),
        ({"accumulate": 10}, {}, "accumulate is 10, but finetune.batch_size is 9"),
        ({}, {"devices": 10}, "devices is 10, but finetune.batch_size is 9"),
        ({}, {"devices": 2, "device": "cuda"}, r"sees 0 GPU|sees 1 GPU|no GPU"),
    ],
)
def test_options_that_exclude_one_another(start, tmp_path, finetuning, computing, message):
    if computing.get("device") == "cuda" and torch.cuda.device_count() > 1:
        pytest.skip("this machine has the GPUs")
    with pytest.raises(ScswError, match=message):
        run(start, tmp_path / "model", compute=computing, **finetuning)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "extra"), [({"lora_rank": 2}, "lora"), ({"tensorboard": True}, "tensorboard")]
)
def test_an_extra_that_is_missing_is_named(start, tmp_path, monkeypatch, changes, extra):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ScswError, match=rf"pip install 'scsw\[{extra}\]'"):
        run(start, tmp_path / "model", **changes)


def test_mistakes_that_would_cost_a_run_show_before_its_first_step(start, tmp_path, monkeypatch):
    monkeypatch.setattr(Step, "__call__", lambda *_: pytest.fail("a step was taken"))
    no_test = write_cohort(tmp_path / "a", split={"train": 4, "validation": 1, "discovery": 1})
    with pytest.raises(ScswError, match="no test donor"):
        run((start[0], no_test), tmp_path / "model")
    other = shutil.copytree(start[0], tmp_path / "start")
    (other / "labels.json").write_text(json.dumps(["Astrocyte", "Sst", "VLMC"]))
    with pytest.raises(ScswError, match=r"lacks cell types of the training donors: Microglia-PVM"):
        run((other, start[1]), tmp_path / "model")
    (other / "labels.json").unlink()
    with pytest.raises(ScswError, match="scsw init"):
        run((other, start[1]), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_classification_alone_hides_nothing(start, tmp_path):
    with pytest.raises(ScswError, match="mask_ratio is 0"):
        run(start, tmp_path / "model", mask_ratio=0)
    out = run(start, tmp_path / "model", mask_ratio=0, weight_gep=0, weight_mvc=0)
    table = history(out)
    assert np.isfinite(table["loss"]).all() and table["loss"].equals(table["cls"])


@pytest.mark.parametrize("times", [1, 3, 10])
def test_validation_passes_are_as_many_as_asked_for(times):
    for steps in range(1, 60):
        run = SimpleNamespace(step=0, steps=steps)
        training = SimpleNamespace(run=run)
        due = []
        for run.step in range(1, steps + 1):
            due.append(_Training._is_turn(training, times))
        assert sum(due) == min(times, steps) and due[-1]


@pytest.mark.parametrize(
    ("device", "steps", "told"),
    [("cpu", 60, 60), ("cpu", 4000, 200), ("cuda", 60, 6), ("cuda", 4000, 200), ("cuda", 5, 1)],
)
def test_telling_the_loss_holds_up_a_gpu_at_one_step_in_ten_at_most(device, steps, told):
    run = SimpleNamespace(step=0, steps=steps)
    losses = SimpleNamespace(device=torch.device(device))
    training = _Training(run, None, SimpleNamespace(evaluations=1), None, losses, None)
    due = []
    for run.step in range(1, steps + 1):
        due.append(training._is_told())
    assert sum(due) == told and due[-1]
    training.settings.evaluations, run.step = 4, -(-steps // 4)
    assert training._is_told()  # a loss that is no number must not get as far as validation


def test_settings_of_evaluation_alone_keep_the_saved_state(start, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def dying(*_args, **_settings):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("scsw.scgpt.finetune.evaluate", dying)
        run(start, tmp_path / "model")
    monkeypatch.setattr(Step, "__call__", lambda *_: pytest.fail("a step was taken again"))
    out = run(
        start,
        tmp_path / "model",
        baseline_cells=100,
        gep_cells_per_donor=2,
        compute={"activation_checkpointing": True},
    )
    assert moved(out, start[2]) == set()
