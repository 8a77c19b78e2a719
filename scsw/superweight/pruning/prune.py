"""Step `prune`: the effect of every candidate and control on the test donors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import read_json, require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.shards import check_shard
from scsw.superweight.pruning.edits import groups_of_edits, shard_of
from scsw.superweight.pruning.measurement import Measurement
from scsw.superweight.pruning.planned_edits import planned_edits


def prune(
    model_folder: str | Path,
    cohort: str | Path,
    searched: str | Path,
    out: str | Path,
    *,
    search: SimpleNamespace,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    arm: str = "real",
    seed: int = 0,
    shard: int = 0,
) -> None:
    """Ablate one shard of the candidates and their controls on the test donors.

    Cell type is read from whole cells. Reconstruction is measured on cells with hidden values, the
    same positions intact and pruned, for the edits that are `Edit.detailed`.

    Parameters
    ----------
    model_folder, cohort
        The fine-tuned model and the cohort.
    searched
        Folder of ``candidates.parquet``, ``families.parquet`` and ``spikes.parquet``.
    out
        Parquet file to write (contract: ``effects.parquet``).
    search, settings, compute
        Sections ``search``, ``prune`` and ``compute`` of the config.
    arm, seed
        Written into every row; the seed also draws the controls.
    shard
        Which of ``settings.shards`` to run.
    """
    check_shard("prune", shard, settings.shards)
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    tables = {
        name: require(Path(searched) / f"{name}.parquet")
        for name in ("candidates", "families", "spikes")
    }
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    name = f"prune-{shard}-of-{settings.shards}"
    with recorded(
        name,
        out.parent,
        inputs={"model": model_folder, "cohort": cohort, **tables},
        parameters={**vars(settings), **vars(compute), "arm": arm, "shard": shard},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        model = load_model(model_folder).to(device).eval()
        edits = planned_edits(model, tables, search.spike_ratio, settings, seed)
        groups = shard_of(groups_of_edits(edits), shard, settings.shards)
        if not groups:
            raise ScswError(
                f"shard {shard} of {settings.shards} holds no edits",
                expected="no more shards than groups of edits",
                fix="lower prune.shards",
            )
        cells = read_cohort(cohort, ["test"], settings.max_cells_per_donor)
        tokenizer = cohort_tokenizer(cells, model_folder)
        if not (tokenizer.labels >= 0).any():
            raise ScswError(f"{cohort} holds no test cell of a type that the model knows")
        n_types = len(read_json(model_folder / "labels.json"))
        measured = Measurement(model, tokenizer, cells, n_types, device)
        table = measured.of(groups, settings, compute)
        write_table(table, out, {"cohort": facts["cohort"], "arm": arm, "seed": seed})
