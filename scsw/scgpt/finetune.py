"""Step `finetune`: fine-tune a starting model on the training donors of a cohort."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from scsw.code_hash import code_hash
from scsw.cohort.read import cohort_facts
from scsw.errors import ScswError
from scsw.files import read_json, require, whole, write_json, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.evaluation.evaluate import evaluate
from scsw.scgpt.folder import check_vocabulary, require_replaceable, write_folder
from scsw.scgpt.model import load_model, read_args
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer, training_batch_names
from scsw.scgpt.tokens.streamed_cohort import streamed_cells
from scsw.scgpt.training.distributed import Processes, launch
from scsw.scgpt.training.finetune_checks import check, check_cell_types, check_starting_folder
from scsw.scgpt.training.fit import fit
from scsw.scgpt.training.out_of_memory import no_memory
from scsw.scgpt.training.trained_parts import (
    add_adapters,
    add_adversary,
    freeze,
    merge_adapters,
    remove_adversary,
)
from scsw.scgpt.training.training_cells import TrainingCells
from scsw.scgpt.training.training_run import SavedRun
from scsw.workspace import file_state, temporary_folder, workspace

# Settings that change no weight: with other ones a saved state is still good.
_NO_MATTER = (
    "save_minutes",
    "tensorboard",
    "loader_workers",
    "activation_checkpointing",
    "baseline_cells",
    "gep_cells_per_donor",
)


def finetune(
    start: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str = "real",
    seed: int = 0,
    work: str | Path | None = None,
) -> None:
    """Fine-tune on scGPT's objectives together, and keep the state that validates best.

    Parameters
    ----------
    start
        scGPT folder of the starting weights.
    cohort
        ``cohort.h5ad`` that was matched to the same vocabulary.
    out
        Folder to write (contract: ``model/`` in docs/outputs.md). A TensorBoard log, where it is
        asked for, goes to the folder ``<name of out>-tensorboard`` beside it.
    settings, compute
        Sections ``finetune`` and ``compute`` of the config.
    arm
        Arm of the run; ``shuffled`` permutes the training labels within each donor.
    seed
        Seed of batch order, hidden values, tie draws and dropout.
    work
        Folder for the saved state of a run that is interrupted; by default beside `out`.

    Raises
    ------
    ScswError
        If model and cohort have different vocabularies, options exclude one another, or memory
        does not hold a single cell.
    SystemExit
        If the process is asked to end (SIGTERM, SIGINT): the same call goes on from there.
    """
    start, cohort, out = require(start), require(cohort), Path(out)
    require_replaceable(out)
    check_starting_folder(start)
    check_vocabulary(start, cohort_facts(cohort))
    check(settings, compute, read_args(start))
    given = {"start": start, "cohort": cohort, "out": out, "arm": arm, "seed": seed, "work": work}
    if compute.devices == 1:
        _finetune(Processes(), settings=settings, compute=compute, **given)
    else:
        on_gpu = compute.device != "cpu" and torch.cuda.is_available()
        launch(_finetune, compute.devices, on_gpu, settings=settings, compute=compute, **given)


def _finetune(
    processes: Processes,
    *,
    start: Path,
    cohort: Path,
    out: Path,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str,
    seed: int,
    work: str | Path | None,
) -> None:
    """Be one of the processes of the step; the first writes."""
    device, facts = prepare(compute), cohort_facts(cohort)
    folder = temporary_folder("finetune", work or out.parent / ".work", out)
    given = {"start": start, "cohort": cohort, "arm": arm, "seed": seed, "device": device}
    record = recorded(
        "finetune",
        out.parent,
        inputs={"start": start, "cohort": cohort},
        parameters={**vars(settings), **vars(compute), "arm": arm},
        seed=seed,
        simulated=facts["simulated"],
    )
    state = workspace(folder, _key(given, settings, compute))
    with (
        _memory_told(),
        record if processes.first else contextlib.nullcontext({}) as noted,
        state if processes.first else contextlib.nullcontext(),
    ):
        noted["device"] = device_name(device)
        processes.wait()  # until the folder is what it should be
        training = _training_cells(cohort, start, settings, arm, seed)
        torch.manual_seed(seed)
        model, adapters = _model(start, training, settings)
        model.to(device)
        torch.manual_seed(seed + processes.rank)  # each process drops out its own
        saved = SavedRun(folder, settings.save_minutes, processes)
        board = out.with_name(f"{out.name}-tensorboard") if settings.tensorboard else None
        history = fit(
            model, training, settings, compute, device, saved, processes=processes, board=board
        )
        if not processes.first:
            return
        # A speed is no result: with the same weights a model's folder has the same sha256.
        noted["tokens_per_second"] = history.pop("tokens_per_second").dropna().tolist()
        merge_adapters(adapters)
        remove_adversary(model)
        labels, tokenizer = read_json(start / "labels.json"), training.tokenizer
        performance = evaluate(
            model,
            training.cells,
            tokenizer,
            labels,
            compute,
            device,
            start=start,
            baseline_cells=settings.baseline_cells,
            gep_cells_per_donor=settings.gep_cells_per_donor,
        )
        with whole(out) as made:
            write_folder(made, model, read_args(start), start / "vocab.json", labels)
            write_json({**vars(settings), "arm": arm, "seed": seed}, made / "train_args.json")
            write_table(history, made / "history.parquet")
            keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
            write_table(performance.assign(**keys), made / "performance.parquet")


def _training_cells(
    cohort: Path, start: Path, settings: SimpleNamespace, arm: str, seed: int
) -> TrainingCells:
    """Return the cells to train on, validate and test with; their counts stay on disk."""
    cells, rows = streamed_cells(cohort, ["train", "validation", "test"])
    batches = training_batch_names(cells.obs) if settings.weight_dab else None
    tokenizer = cohort_tokenizer(cells, start, seed, batches=batches, rows=rows)
    check_cell_types(cells.obs, tokenizer.labels, start)
    training = TrainingCells(tokenizer, cells, settings, shuffle=arm == "shuffled")
    if settings.patience is not None and not training.validation.size:
        raise ScswError(
            "finetune.patience is given, but the cohort has no validation cells",
            fix="set it to null, or give validation donors a share in preprocess.validation",
        )
    return training


def _model(
    start: Path, training: TrainingCells, settings: SimpleNamespace
) -> tuple[nn.Module, Any]:
    """Return the starting model as it is trained, and its adapters."""
    model = load_model(start)
    if settings.weight_dab:
        add_adversary(model, int(training.tokenizer.batch_labels.max()) + 1)
    adapters = add_adapters(model, settings)
    freeze(model, settings)
    return model, adapters


@contextlib.contextmanager
def _memory_told():
    """Tell a user of a GPU that is too small; the saved state stays, for a larger one."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise no_memory(error) from error


def _key(
    given: dict[str, Any], settings: SimpleNamespace, compute: SimpleNamespace
) -> dict[str, Any]:
    """Return all that a saved state depends on: with anything else it is thrown away."""
    schedule = {name: value for name, value in vars(settings).items() if name not in _NO_MATTER}
    files = [given["cohort"], *sorted(Path(given["start"]).iterdir())]
    return {
        "code": code_hash("scsw.scgpt.finetune"),
        "torch": torch.__version__,
        "files": [file_state(file) for file in files],
        **{name: given[name] for name in ("arm", "seed", "device")},
        **schedule,
        **{name: value for name, value in vars(compute).items() if name not in _NO_MATTER},
    }
