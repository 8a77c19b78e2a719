"""Step `components`: what attention heads and MLPs take up, hand on and do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.components.component_activity import cell_activity, donor_table
from scsw.biology.components.component_effects import (
    Means,
    Replacing,
    component_means,
    effects_table,
    rotations,
)
from scsw.biology.components.component_genes import GeneSums, leaders, leading_genes
from scsw.biology.components.component_scores import Spike, component_names, spikes_seen
from scsw.biology.stages.thin import thinned
from scsw.biology.tables import AS_MEASURED, THINNED
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.files import CANDIDATE, read_table, require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.model import encoder_layers, load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.pruning.intact import intact_parts


def components(
    model_folder: str | Path,
    cohort: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    compute: SimpleNamespace,
    max_cells_per_donor: int | None = None,
    top_genes: int = 100,
    stage_min_cells: int = 20,
    arm: str = "real",
    seed: int = 0,
) -> None:
    """Write ``components``, ``component_effects`` and ``component_donors`` for one model.

    Means are over the discovery donors' cells; genes are scored, and components replaced, in the
    test donors' cells; activities are over both, as
    measured and thinned to one depth per class.

    Parameters
    ----------
    model_folder, cohort, candidates
        The model, the cohort and the frozen family, of which the spike tokens come.
    out
        Folder for the three tables.
    settings, statistics, compute
        Sections ``map``, ``statistics`` and ``compute`` of the config.
    max_cells_per_donor
        Cap on the cells of one donor.
    top_genes
        Most genes that lead a component (``enrich.top_genes``).
    stage_min_cells
        Fewest cells with which a donor has a say in the depth that cells are thinned to
        (``stages.min_cells``).
    arm, seed
        Written into every row.
    """
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
    with recorded(
        "components",
        out,
        inputs={"model": model_folder, "cohort": cohort, "candidates": candidates},
        parameters={**vars(settings), **vars(statistics), **vars(compute), "arm": arm}
        | {"max_cells_per_donor": max_cells_per_donor, "top_genes": top_genes}
        | {"stage_min_cells": stage_min_cells},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        model = load_model(model_folder).to(device)
        cells = read_cohort(cohort, ["discovery", "test"], max_cells_per_donor)
        spikes = spikes_seen(read_table(candidates, CANDIDATE), len(encoder_layers(model)))
        tables = component_tables(
            model,
            model_folder,
            cells,
            spikes,
            settings,
            statistics,
            compute,
            device,
            top_genes=top_genes,
            stage_min_cells=stage_min_cells,
            donors_are_units=facts["split_unit"] == "donor",
        )
        for name, table in tables.items():
            write_table(table, out / f"{name}.parquet", keys)


def component_tables(
    model: nn.Module,
    folder: Path,
    cells: AnnData,
    spikes: list[Spike | None],
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    *,
    top_genes: int,
    stage_min_cells: int,
    donors_are_units: bool,
) -> dict[str, pd.DataFrame]:
    """Compute the three tables of the step, without the columns that name the model.

    Parameters
    ----------
    model, folder
        The model and its scGPT folder.
    cells
        Discovery and test cells.
    spikes
        For each block the spike in its input, or None.
    settings, statistics, compute
        Sections ``map``, ``statistics`` and ``compute`` of the config.
    """
    split = cells.obs["split"].astype(str).to_numpy()
    is_test = split == "test"
    discovery, test = cells[split == "discovery"].copy(), cells[is_test].copy()
    means = component_means(model, cohort_tokenizer(discovery, folder), compute, device)
    sums, rises = score_and_replace(
        model,
        cohort_tokenizer(test, folder),
        spikes,
        means,
        rotations(model.d_model, settings.component_rotations, statistics.seed, device),
        compute,
        device,
    )
    names = component_names(model)
    genes = sums.table(test, settings)
    leading = leading_genes(genes, names, test.var_names.to_numpy(str), top_genes)
    share, of_leading = cell_activity(
        model, cohort_tokenizer(cells, folder), leading, compute, device
    )
    effect = np.full_like(share, np.nan)
    effect[:, is_test] = rises[:, 0]
    measured = {"contribution": share, "leading_genes": of_leading, "effect_nll": effect}
    thin = thinned(cells, min_cells=stage_min_cells)
    again = cell_activity(model, cohort_tokenizer(thin, folder), leading, compute, device)
    on_thin = dict(zip(("contribution", "leading_genes"), again, strict=True))
    on_thin["effect_nll"] = np.full_like(again[0], np.nan)
    donors = test.obs["donor_id"].to_numpy(str)
    enough = np.unique(donors).size >= statistics.min_test_donors
    effects = effects_table(names, rises, donors, statistics, by_donor=donors_are_units and enough)
    effects["output_share"] = share[:, is_test].mean(1)
    effects = effects.join(leaders(genes, names, statistics.alpha), on=["block", "component"])
    return {
        "components": genes,
        "component_effects": _with_spikes(effects, sums, spikes),
        "component_donors": pd.concat(
            [
                donor_table(names, cells.obs, measured, AS_MEASURED),
                donor_table(names, thin.obs, on_thin, THINNED),
            ],
            ignore_index=True,
        ),
    }


def score_and_replace(
    model: nn.Module,
    tokenizer: Tokenizer,
    spikes: list[Spike | None],
    means: Means,
    turns: list[torch.Tensor],
    compute: SimpleNamespace,
    device: torch.device,
) -> tuple[GeneSums, np.ndarray]:
    """Score genes and replace every component, in one pass over the test cells.

    Parameters
    ----------
    means, turns
        Of `component_means` and `rotations`.

    Returns
    -------
    tuple
        The sums over gene tokens, and the rises in NLL, (components, 1 + rotations, cells).
    """
    sums = GeneSums(model, tokenizer, spikes)
    replacing = Replacing(model, means, turns)
    rises = np.full((len(component_names(model)), 1 + len(turns), len(tokenizer)), np.nan)
    rows = np.arange(len(tokenizer))
    for part, intact in intact_parts(model, tokenizer, rows, compute, device):
        sums.add(part, intact)
        rises[:, :, part.cells.numpy()] = replacing.rises(intact, part.labels.to(device))
    return sums, rises


def _with_spikes(effects: pd.DataFrame, sums: GeneSums, spikes: list[Spike | None]) -> pd.DataFrame:
    """Add which spike the genes' attention was measured to, and how much they pay it."""
    of_block = {
        number: (spike.candidate_id, spike.found_by) if spike else ("", "no spike")
        for number, spike in enumerate(spikes)
    }
    of_row = [
        ("", "") if row.component == "mlp" else of_block[row.block] for row in effects.itertuples()
    ]
    effects[["spike_candidate", "spike_found_by"]] = of_row
    keys = pd.MultiIndex.from_frame(effects[["block", "component"]])
    effects["attention_to_spike"] = sums.spike_attention().reindex(keys).to_numpy()
    return effects
