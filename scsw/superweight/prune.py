"""Step `prune`: the effect of every candidate and control on the test donors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import read_json, read_table, require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.ablation import (
    Edit,
    expression,
    groups_of_edits,
    logits,
    prefix,
    shard_of,
)
from scsw.superweight.random_controls import draw_controls

SUMS = (
    "sum_nll sum_nll_intact n_correct n_correct_intact n_masked sum_sq_error sum_sq_error_intact"
).split()


def prune(
    model_folder: str | Path,
    cohort: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str = "real",
    seed: int = 0,
    shard: int = 0,
) -> None:
    """Ablate one shard of the candidates and random controls on the test donors.

    Every candidate is set to zero and, separately, replaced by its mean contribution; every random
    control is set to zero. Cell type is read from whole cells. Reconstruction is measured on cells
    with hidden values, the same positions intact and pruned, for the candidates.

    Parameters
    ----------
    model_folder, cohort, candidates
        The fine-tuned model, the cohort and the frozen family.
    out
        Parquet file to write (contract: ``effects.parquet``).
    settings, compute
        Sections ``prune`` and ``compute`` of the config.
    arm, seed
        Written into every row; the seed also draws the controls.
    shard
        Which of ``settings.shards`` to run.
    """
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    name = f"prune-{shard}-of-{settings.shards}"
    with recorded(
        name,
        out.parent,
        inputs={"model": model_folder, "cohort": cohort, "candidates": candidates},
        parameters={**vars(settings), **vars(compute), "arm": arm, "shard": shard},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        model = load_model(model_folder).to(device)
        edits = all_edits(model, read_table(candidates), settings, seed)
        groups = list(shard_of(groups_of_edits(edits), shard, settings.shards))
        if not groups:
            raise ScswError(
                f"shard {shard} of {settings.shards} holds no edits",
                expected=f"a shard from 0 to {settings.shards - 1}, and no more shards than groups",
                fix="lower prune.shards or correct --shard",
            )
        cells = read_cohort(cohort, ["test"], settings.max_cells_per_donor)
        tokenizer = cohort_tokenizer(cells, model_folder)
        scored = np.flatnonzero(tokenizer.labels >= 0)
        if scored.size == 0:
            raise ScswError(f"{cohort} holds no test cell of a type that the model knows")
        keys = cells.obs[["donor_id", "cell_type"]].astype(str).iloc[scored]
        codes, places = group_codes(keys)
        n_types = len(read_json(model_folder / "labels.json"))
        measured = measure(
            model, tokenizer, scored, codes, len(places), n_types, groups, settings, compute, device
        )
        table = pd.concat([_rows(edit, sums, places) for edit, sums in measured], ignore_index=True)
        for position, (key, value) in enumerate(
            {"cohort": facts["cohort"], "arm": arm, "seed": seed}.items()
        ):
            table.insert(position, key, value)
        write_table(table, out)


def all_edits(
    model: nn.Module, candidates: pd.DataFrame, settings: SimpleNamespace, seed: int
) -> list[Edit]:
    """Return the edits of the candidates (zero, mean) and of the random controls (zero)."""
    edits = []
    for row in candidates.itertuples():
        place = row.block, row.row, row.column
        edits.append(Edit(row.candidate_id, "candidate", "zero", *place))
        edits.append(Edit(row.candidate_id, "candidate", "mean", *place, offset=row.mean_hidden))
    controls = draw_controls(
        candidates,
        [tuple(layer.linear2.weight.shape) for layer in encoder_layers(model)],
        n_controls=settings.n_controls,
        scope=settings.control_scope,
        seed=seed,
    )
    for row in controls.itertuples():
        name = f"ffn_down.b{row.block}.r{row.row}.c{row.column}"
        edits.append(Edit(name, "random", "zero", row.block, row.row, row.column))
    return edits


def group_codes(keys: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Assign each cell the number of its donor × cell type group.

    Returns
    -------
    numpy.ndarray
        Group of each cell.
    pandas.DataFrame
        ``donor_id, cell_type, n_cells`` of each group, sorted.
    """
    grouped = keys.groupby(["donor_id", "cell_type"], observed=True)
    places = grouped.size().rename("n_cells").reset_index()
    return grouped.ngroup().to_numpy(), places


def measure(
    model: nn.Module,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    codes: np.ndarray,
    n_groups: int,
    n_types: int,
    groups: list[list[Edit]],
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
) -> list[tuple[Edit, dict[str, np.ndarray]]]:
    """Return for each edit its additive statistics by donor × cell type.

    Each batch of cells is run intact once; then every group of edits starts from what was kept.
    """
    measured = [
        (
            edit,
            {name: np.zeros(n_groups) for name in SUMS}
            | {"predicted": np.zeros((n_groups, n_types))},
        )
        for group in groups
        for edit in group
    ]
    for start in range(0, rows.size, compute.batch_size):
        chosen = slice(start, start + compute.batch_size)
        shown = tokenizer.batch(rows[chosen]).to(device)
        masked = tokenizer.batch(rows[chosen], mask_ratio=settings.mask_ratio).to(device)
        whole_cells, hidden_cells = prefix(model, shown), prefix(model, masked)
        position = 0
        for group in groups:
            own = measured[position : position + len(group)]
            position += len(group)
            _add_cell_types(own, logits(model, whole_cells, group), shown.labels, codes[chosen])
            if any(edit.weight_set == "candidate" for edit in group):
                predicted = expression(model, hidden_cells, group)
                squared = (predicted - masked.target) ** 2
                errors = torch.where(masked.hidden, squared, 0).sum(2, dtype=torch.float64)
                _add_reconstruction(own, errors, masked.hidden.sum(1), codes[chosen])
    return measured


def _add_cell_types(
    own: list[tuple[Edit, dict]], scores: torch.Tensor, labels: torch.Tensor, codes: np.ndarray
) -> None:
    logp = F.log_softmax(scores.double(), dim=-1)
    nll = -logp.gather(2, labels.expand(len(scores), -1)[..., None])[..., 0].cpu().numpy()
    predicted = scores.argmax(2).cpu().numpy()
    correct = predicted == labels.cpu().numpy()
    for index, (_, sums) in enumerate(own):
        for name, value in (
            ("sum_nll", nll[index]),
            ("sum_nll_intact", nll[-1]),
            ("n_correct", correct[index]),
            ("n_correct_intact", correct[-1]),
        ):
            np.add.at(sums[name], codes, value)
        np.add.at(sums["predicted"], (codes, predicted[index]), 1)


def _add_reconstruction(
    own: list[tuple[Edit, dict]], errors: torch.Tensor, n_hidden: torch.Tensor, codes: np.ndarray
) -> None:
    errors, n_hidden = errors.cpu().numpy(), n_hidden.cpu().numpy()
    for index, (edit, sums) in enumerate(own):
        if edit.weight_set != "candidate":
            continue
        np.add.at(sums["n_masked"], codes, n_hidden)
        np.add.at(sums["sum_sq_error"], codes, errors[index])
        np.add.at(sums["sum_sq_error_intact"], codes, errors[-1])


def _rows(edit: Edit, sums: dict[str, np.ndarray], places: pd.DataFrame) -> pd.DataFrame:
    table = places.assign(**{name: sums[name] for name in SUMS})
    counts = ("n_correct", "n_correct_intact", "n_masked")
    table = table.astype(dict.fromkeys(counts, np.int64))
    table["predicted_counts"] = [list(row) for row in sums["predicted"].astype(np.int64)]
    keys = {
        "weight_set": edit.weight_set,
        "candidate_id": edit.name,
        "family": "ffn_down",
        "block": edit.block,
        "row": edit.row,
        "column": edit.column,
        "mode": edit.mode,
        "scale": edit.scale,
    }
    for position, (key, value) in enumerate(keys.items()):
        table.insert(position, key, value)
    order = [*keys, "donor_id", "cell_type", "n_cells", *SUMS[:4], "predicted_counts", *SUMS[4:]]
    return table[order]


def gather(shards: Iterable[str | Path]) -> pd.DataFrame:
    """Return the effects of all shards in one fixed order."""
    table = pd.concat([read_table(path) for path in shards], ignore_index=True)
    order = ["weight_set", "block", "candidate_id", "mode", "scale", "donor_id", "cell_type"]
    return table.sort_values(order, kind="stable").reset_index(drop=True)
