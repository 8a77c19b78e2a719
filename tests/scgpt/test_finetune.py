import itertools
import json
import math

import numpy as np
import pytest
import torch

from scsw.errors import ScswError
from scsw.files import read_table
from scsw.scgpt.finetune import finetune
from scsw.scgpt.init import init
from scsw.scgpt.model import load_model, read_vocabulary
from scsw.scgpt.training.training_cells import shuffled_labels
from scsw.scgpt.training.training_run import learning_rate_factor
from scsw.settings import section_settings
from tests.tiny import COMPUTE, TYPES, model_settings, write_cohort

SETTINGS = section_settings(
    "finetune", {"epochs": 70, "max_steps": 180, "lr": 0.003, "batch_size": 8}
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    cohort = write_cohort(folder)
    init(cohort, folder / "init", model=model_settings(), seed=0)
    return cohort, folder / "init"


@pytest.fixture(scope="module")
def tuned(start, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "model"
    finetune(start[1], start[0], out, settings=SETTINGS, compute=COMPUTE)
    return out


def test_it_learns_and_is_scored_against_baselines(tuned):
    history = read_table(tuned / "history.parquet")
    checked = history[history["split"] == "validation"]
    assert checked["loss"].min() < 0.8 * checked["loss"].iloc[0]
    scores = read_table(tuned / "performance.parquet")
    assert scores["donor_id"].nunique() == 13  # each test donor, and all of them
    assert set(scores["predictor"]) == {"scgpt", "majority", "pca_logistic", "frozen_encoder"}
    scores = scores[scores["donor_id"] == "all"].set_index(["predictor", "metric", "cell_type"])
    value = scores["value"]
    assert value["scgpt", "accuracy", "all"] > value["majority", "accuracy", "all"] + 0.2
    assert value["pca_logistic", "accuracy", "all"] > 0.9
    assert value["majority", "nll", "all"] == pytest.approx(math.log(len(TYPES)), abs=0.01)
    assert value["scgpt", "gep_mse", "all"] > 0
    assert (scores["n_donors"] == 12).all()


def test_the_same_seed_gives_the_same_weights(start, tuned, tmp_path):
    short = section_settings("finetune", {**vars(SETTINGS), "max_steps": 8})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetune(start[1], start[0], tmp_path / name, settings=short, compute=COMPUTE, seed=seed)
    a, b, c = (load_model(tmp_path / name).state_dict() for name in "abc")
    assert all(a[k].equal(b[k]) for k in a)
    assert not all(a[k].equal(c[k]) for k in a)


def test_what_is_saved_loads_in_the_scgpt_package(tuned):
    from scgpt.model import TransformerModel

    args = json.loads((tuned / "args.json").read_text())
    stock = TransformerModel(
        ntoken=len(read_vocabulary(tuned)),
        d_model=args["embsize"],
        nhead=args["nheads"],
        d_hid=args["d_hid"],
        nlayers=args["nlayers"],
        nlayers_cls=args["n_layers_cls"],
        n_cls=len(TYPES),
        vocab=read_vocabulary(tuned),
        dropout=args["dropout"],
        pad_token=args["pad_token"],
        pad_value=args["pad_value"],
        do_mvc=args["MVC"],
        input_emb_style=args["input_emb_style"],
    )
    stock.load_state_dict(torch.load(tuned / "best_model.pt", weights_only=True), strict=True)


def test_another_vocabulary_is_refused(start, tmp_path):
    other = write_cohort(tmp_path / "other", n_genes=30)
    with pytest.raises(ScswError, match="vocabulary"):
        finetune(start[1], other, tmp_path / "out", settings=SETTINGS, compute=COMPUTE)
    assert not (tmp_path / "out").exists()


def test_the_baselines_leave_torchs_threads_alone(tuned):
    # scanpy's numba code once set them to all cores, which changed later results.
    assert torch.get_num_threads() == COMPUTE.cpu_threads


def test_a_failed_run_leaves_nothing(start, tmp_path, monkeypatch):
    import scsw.scgpt.finetune as module

    def fail(*_args, **_kwargs):
        raise ScswError("broken on purpose")

    monkeypatch.setattr(module, "evaluate", fail)
    short = section_settings("finetune", {**vars(SETTINGS), "max_steps": 1})
    with pytest.raises(ScswError):
        finetune(start[1], start[0], tmp_path / "model", settings=short, compute=COMPUTE)
    assert list(tmp_path.iterdir()) == []


def test_labels_are_shuffled_within_donors_of_the_training_cells_only():
    labels, donors = np.arange(40) % 4, np.repeat(["a", "b", "c", "d"], 10)
    rows = np.arange(30)
    shuffled = shuffled_labels(labels, donors, rows, seed=0)
    assert np.array_equal(shuffled[30:], labels[30:])
    assert not np.array_equal(shuffled, labels)
    for donor in "abc":
        own = donors == donor
        assert sorted(shuffled[own]) == sorted(labels[own])


def test_learning_rate_warms_up_and_falls():
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0
    assert all(b <= a for a, b in itertools.pairwise(factors[9:]))
    assert factors[-1] < 0.01


def test_init_names_every_key_and_needs_two_types(start, tmp_path):
    keys = read_table(start[1] / "checkpoint_keys.tsv")
    assert set(keys["key"]) == set(load_model(start[1]).state_dict())
    assert set(keys["action"]) == {"re-initialised"}
    a = init_weights(start[0], tmp_path / "a", seed=0)
    assert all(a[k].equal(v) for k, v in load_model(start[1]).state_dict().items())
    b = init_weights(start[0], tmp_path / "b", seed=1, init_seed=None)
    assert not all(a[k].equal(b[k]) for k in a)


def init_weights(cohort, out, *, seed, **changes):
    init(cohort, out, model=model_settings(**changes), seed=seed)
    return load_model(out).state_dict()


def test_a_checkpoint_is_the_start_and_fresh_ignores_its_weights(start, tmp_path):
    settings = model_settings(checkpoint=str(start[1]), init_seed=5)
    init(start[0], tmp_path / "loaded", model=settings, seed=0)
    init(start[0], tmp_path / "fresh", model=settings, seed=0, fresh=True)
    given, loaded, fresh = (
        load_model(p).state_dict() for p in (start[1], tmp_path / "loaded", tmp_path / "fresh")
    )
    assert all(given[k].equal(loaded[k]) for k in given)
    assert not all(given[k].equal(fresh[k]) for k in given)
