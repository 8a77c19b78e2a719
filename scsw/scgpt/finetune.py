"""Step `finetune`: fine-tune a starting model on the training donors of a cohort."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from scsw.code_hash import code_hash
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.files import read_json, require, whole, write_json, write_table
from scsw.provenance import recorded
from scsw.scgpt.cohort_tokens import cohort_tokenizer
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.evaluate import evaluate
from scsw.scgpt.fit import fit
from scsw.scgpt.folder import check_vocabulary, write_folder
from scsw.scgpt.model import load_model, read_args
from scsw.scgpt.training_cells import TrainingCells
from scsw.scgpt.training_run import SavedRun
from scsw.workspace import file_state, temporary_folder, workspace


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
    """Fine-tune on masked expression, cell embedding and cell type together; keep the best state.

    Parameters
    ----------
    start
        scGPT folder of the starting weights.
    cohort
        ``cohort.h5ad`` that was matched to the same vocabulary.
    out
        Folder to write (contract: ``model/`` in docs/outputs.md).
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
        If model and cohort have different vocabularies.
    SystemExit
        If the process is asked to end (SIGTERM, SIGINT): the same call goes on from there.
    """
    start, cohort, out = require(start), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(start, facts)
    device = prepare(compute)
    with recorded(
        "finetune",
        out.parent,
        inputs={"start": start, "cohort": cohort},
        parameters={**vars(settings), **vars(compute), "arm": arm},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        labels = read_json(start / "labels.json")
        cells = read_cohort(cohort, ["train", "validation", "test"])
        tokenizer = cohort_tokenizer(cells, start, seed)
        training = TrainingCells(tokenizer, cells, settings, shuffle=arm == "shuffled")
        torch.manual_seed(seed)
        model = load_model(start).to(device)
        given = {"start": start, "cohort": cohort, "arm": arm, "seed": seed, "device": device}
        folder = temporary_folder("finetune", work or out.parent / ".work", out)
        with workspace(folder, _key(given, settings, compute)) as state:
            saved = SavedRun(state, settings.save_minutes)
            history = fit(model, training, settings, compute, device, saved)
            performance = evaluate(model, cells, tokenizer, labels, compute, device)
            with whole(out) as made:
                write_folder(made, model, read_args(start), start / "vocab.json", labels)
                write_json({**vars(settings), "arm": arm, "seed": seed}, made / "train_args.json")
                write_table(history, made / "history.parquet")
                keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
                write_table(performance.assign(**keys), made / "performance.parquet")


def _key(
    given: dict[str, Any], settings: SimpleNamespace, compute: SimpleNamespace
) -> dict[str, Any]:
    """Return all that a saved state depends on: with anything else it is thrown away."""
    schedule = {name: value for name, value in vars(settings).items() if name != "save_minutes"}
    files = [given["cohort"], *sorted(Path(given["start"]).iterdir())]
    return {
        "code": code_hash("scsw.scgpt.finetune"),
        "torch": torch.__version__,
        "files": [file_state(file) for file in files],
        **{name: given[name] for name in ("arm", "seed", "device")},
        **schedule,
        **vars(compute),
    }
