"""Step `search`: spikes, what drives them, candidates and their paths on the discovery donors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from torch import nn

from scsw.cohort.read import cohort_facts
from scsw.files import require, write_table
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import load_model
from scsw.superweight.families import other_families
from scsw.superweight.observe import Observation, oriented_weight
from scsw.superweight.origins import spike_origins
from scsw.superweight.paths import follow, persistence
from scsw.superweight.search.discovery import real_tokens, scgpt_sites
from scsw.superweight.search.donor_shares import spiking_shares
from scsw.superweight.search.freeze import COLUMNS, freeze, with_start
from scsw.superweight.search.other_inputs import other_inputs_table
from scsw.superweight.search.profiles import candidate_units, profile_table
from scsw.superweight.search.screen import Screen, screen
from scsw.superweight.search.screen_files import read_screen
from scsw.superweight.search.searched_model import SearchedModel, opened
from scsw.superweight.search.spike_table import norm_table, spike_table
from scsw.superweight.search.weight_table import weight_table


def search(
    model_folder: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    start: str | Path | None = None,
    screened: str | Path | None = None,
    arm: str = "real",
    seed: int = 0,
) -> None:
    """Search a model for candidate weights; nothing of the test donors is read.

    Parameters
    ----------
    model_folder
        Fine-tuned scGPT folder.
    cohort
        ``cohort.h5ad``.
    out
        Folder for the tables (contract: ``search/`` in docs/outputs.md).
    settings, compute
        Sections ``search`` and ``compute`` of the config.
    start
        scGPT folder that fine-tuning started from: what spikes there already is inherited.
    screened
        Folder of `search_screen` and of all shards of `search_slopes`, where these were jobs of
        their own; by default all is done here. The tables are the same to the last digit.
    arm, seed
        Written into every row; the seed also settles ties between units that are compared with
        the candidates'.
    """
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    inputs = {}
    if start is not None:
        inputs["start"] = require(start)
        check_vocabulary(inputs["start"], cohort_facts(cohort))
    if screened is not None:
        inputs["screen"] = require(screened)
    with opened(
        "search",
        model_folder,
        cohort,
        out,
        settings=settings,
        compute=compute,
        inputs=inputs,
        parameters={"arm": arm},
        seed=seed,
    ) as (searched, facts):
        shards = read_screen(Path(screened), settings.shards) if screened is not None else None
        tables = _tables(searched, inputs.get("start"), shards, seed)
        keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
        for name, table in tables.items():
            write_table(table, out / f"{name}.parquet", keys)


def _tables(
    searched: SearchedModel,
    start: Path | None,
    shards: tuple[pd.DataFrame, Screen] | None,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return every table of the step by its name."""
    run = {"forward": forward_padded, "token_mask": real_tokens}
    seen = searched.seen(searched.model, detailed=True)
    before, starting = None, None
    if start is not None:
        starting = load_model(start).to(searched.device)
        before = searched.seen(starting, detailed=False)
    spikes = spike_table(seen, searched.cells, searched.names, before)
    norms = norm_table(searched.model, starting)
    spiking, screened = shards or _screened(searched, seen)
    family = _family(searched, spiking, screened, seen, before, starting)
    shares = {name: searched.rules[name] for name in ("spike_ratio", "min_share")}
    origins = spike_origins(searched.model, searched.cells, searched.blocks, seen, **run, **shares)
    others = other_families(
        searched.model,
        searched.cells,
        searched.blocks,
        origins,
        max_candidates=searched.settings.max_candidates,
        **run,
        **searched.rules,
    )
    paths, family = _paths(searched, family)
    other_inputs = other_inputs_table(
        searched.model,
        searched.cells,
        family,
        searched.modules,
        searched.sums,
        n_cells=searched.settings.other_input_cells,
        **searched.rules,
    )
    units = candidate_units(family, seen, n_controls=searched.settings.profile_controls, seed=seed)
    profiles = profile_table(
        searched.model, searched.cells, units, min_cells=searched.settings.profile_min_cells
    )
    return {
        "spikes": pd.concat([spikes, norms], ignore_index=True),
        "candidates": family[[*COLUMNS, "last_on_top", "share_on_top"]],
        "origins": origins.drop(columns=["batch", "cell", "token"]),
        "families": others,
        "first_order": screened.table,
        "weights": weight_table(
            _weights(searched.model, searched.modules), screened.effects["nll"]
        ),
        "paths": paths,
        "other_inputs": other_inputs,
        "profiles": profiles,
    }


def _screened(searched: SearchedModel, seen: Observation) -> tuple[pd.DataFrame, Screen]:
    """Return the finds of the spike search, and the first-order screen."""
    spiking = searched.spiking(seen)
    screened = screen(
        searched.model,
        searched.tokenizer,
        searched.cells.rows,
        settings=searched.settings,
        compute=searched.compute,
        device=searched.device,
        also=zip(spiking["block"], spiking["row"], spiking["column"], strict=True),
    )
    return spiking, screened


def _family(
    searched: SearchedModel,
    spiking: pd.DataFrame,
    screened: Screen,
    seen: Observation,
    before: Observation | None,
    starting: nn.Module | None,
) -> pd.DataFrame:
    """Return the frozen family."""
    layers = [searched.model.get_submodule(name) for name in searched.modules]
    family = freeze(spiking, screened, searched.modules, layers, seen, searched.settings)
    rules = {name: searched.rules[name] for name in ("spike_ratio", "min_share")}
    family["stability"] = spiking_shares(searched.model, searched.cells, family, seen, **rules)
    weights = None if starting is None else _weights(starting, searched.modules)
    return with_start(family, before, weights)


def _weights(model: nn.Module, modules: list[str]) -> list[np.ndarray]:
    """Return the down-projections, float64, by block."""
    return [oriented_weight(model.get_submodule(name)).double().cpu().numpy() for name in modules]


def _paths(searched: SearchedModel, family: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Follow the candidates on a sample of the cells; the family says how far each gets."""
    sample = searched.cells.sample(searched.settings.path_cells)
    table = follow(
        searched.model,
        sample,
        family,
        scgpt_sites(searched.model, ["pre_norm2", "out"]),
        forward=forward_padded,
        token_mask=real_tokens,
    )
    ends = [
        persistence(table[table["candidate"] == number], block, "pre_norm2")
        for number, block in enumerate(family["block"])
    ]
    table.insert(0, "candidate_id", family["candidate_id"].to_numpy()[table["candidate"]])
    family = family.assign(
        last_on_top=[last for last, _ in ends], share_on_top=[share for _, share in ends]
    )
    order = ["candidate_id", "block", "site"]
    return (
        table.drop(columns="candidate").sort_values(order, ignore_index=True),
        family,
    )
