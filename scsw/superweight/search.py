"""Step `search`: spikes, what drives them, candidates and their paths on the discovery donors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.cohort.read import cohort_facts, read_cohort
from scsw.errors import ScswError
from scsw.files import require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.data_free import data_free_table
from scsw.superweight.discovery import (
    DiscoveryCells,
    cls_tokens,
    real_tokens,
    scgpt_blocks,
    scgpt_sites,
    token_names,
)
from scsw.superweight.families import other_families
from scsw.superweight.find import find_candidates
from scsw.superweight.freeze import COLUMNS, freeze, with_start
from scsw.superweight.observe import Observation, observe, oriented_weight
from scsw.superweight.origins import spike_origins
from scsw.superweight.paths import follow, persistence
from scsw.superweight.profiles import profile_table
from scsw.superweight.screen import Screen, screen
from scsw.superweight.spike_table import norm_table, spike_table

MORE_SITES = ["attn_heads", "attn_out", "out"]  # beside those of the down-projection


def search(
    model_folder: str | Path,
    cohort: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    start: str | Path | None = None,
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
    arm, seed
        Written into every row; the seed also draws the random weights whose gene profiles are
        kept.
    """
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    inputs = {"model": model_folder, "cohort": cohort}
    if start is not None:
        inputs["start"] = require(start)
        check_vocabulary(inputs["start"], facts)
    device = prepare(compute)
    with recorded(
        "search",
        out,
        inputs=inputs,
        parameters={**vars(settings), **vars(compute), "arm": arm},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        cells = read_cohort(cohort, ["discovery"], settings.max_cells_per_donor)
        if cells.n_obs == 0:
            raise ScswError(f"{cohort} holds no discovery cells", fix="raise preprocess.discovery")
        searched = _Search(model_folder, cells, settings, compute, device)
        tables = searched.tables(inputs.get("start"), seed)
        keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
        for name, table in tables.items():
            for position, (key, value) in enumerate(keys.items()):
                table.insert(position, key, value)
            write_table(table, out / f"{name}.parquet")


class _Search:
    """One model and the discovery cells."""

    def __init__(
        self,
        folder: Path,
        cells: AnnData,
        settings: SimpleNamespace,
        compute: SimpleNamespace,
        device: torch.device,
    ) -> None:
        self.settings, self.compute, self.device = settings, compute, device
        self.model = load_model(folder).to(device)
        self.tokenizer = cohort_tokenizer(cells, folder)
        self.cells = DiscoveryCells(cells, self.tokenizer, compute.batch_size, device)
        self.names = token_names(folder)
        self.blocks = scgpt_blocks(self.model)
        self.modules = [block.down for block in self.blocks]
        self.sums = [block.norms.after for block in self.blocks]
        self.rules = {
            "spike_ratio": settings.spike_ratio,
            "min_share": settings.min_share,
            "max_iterations": settings.max_iterations,
        }

    def tables(self, start: Path | None, seed: int) -> dict[str, pd.DataFrame]:
        """Return every table of the step by its name."""
        run = {"forward": forward_padded, "token_mask": real_tokens}
        seen = self.seen(self.model, detailed=True)
        before, starting = None, None
        if start is not None:
            starting = load_model(start).to(self.device)
            before = self.seen(starting, detailed=False)
        spikes = spike_table(seen, self.cells, self.names, before)
        norms = norm_table(self.model, starting)
        family, screened = self.family(seen, before, starting)
        shares = {name: self.rules[name] for name in ("spike_ratio", "min_share")}
        origins = spike_origins(self.model, self.cells, self.blocks, seen, **run, **shares)
        others = other_families(
            self.model,
            self.cells,
            self.blocks,
            origins,
            max_candidates=self.settings.max_candidates,
            **run,
            **self.rules,
        )
        paths, family = self.paths(family)
        data_free = data_free_table(
            self.model,
            self.tokenizer,
            family,
            self.modules,
            self.sums,
            self.device,
            n_cells=self.settings.data_free_cells,
            batch_size=self.compute.batch_size,
            **self.rules,
        )
        profiles = profile_table(
            self.model,
            self.cells,
            family,
            n_random=self.settings.profile_controls,
            min_cells=self.settings.profile_min_cells,
            seed=seed,
        )
        return {
            "spikes": pd.concat([spikes, norms], ignore_index=True),
            "candidates": family[[*COLUMNS, "last_on_top", "share_on_top"]],
            "origins": origins.drop(columns=["batch", "cell", "token"]),
            "families": others,
            "first_order": screened.table,
            "paths": paths,
            "data_free": data_free,
            "profiles": profiles,
        }

    def seen(self, model: nn.Module, *, detailed: bool) -> Observation:
        """Pass over the cells once; with details, also by group and with moments."""
        options: dict[str, Any] = {}
        if detailed:
            sizes = {name: len(values) for name, values in self.cells.names.items()}
            options = {"groupings": sizes, "groups": self.cells.groups, "special": cls_tokens}
        return observe(
            model,
            self.cells,
            self.modules,
            self.sums,
            forward=forward_padded,
            token_mask=real_tokens,
            more_sites=scgpt_sites(model, MORE_SITES),
            moments=detailed,
            **options,
        )

    def family(
        self, seen: Observation, before: Observation | None, starting: nn.Module | None
    ) -> tuple[pd.DataFrame, Screen]:
        """Return the frozen family, and the first-order screen."""
        spiking = find_candidates(
            self.model,
            self.cells,
            self.modules,
            forward=forward_padded,
            token_mask=real_tokens,
            sums=self.sums,
            first=seen,
            max_candidates=self.settings.max_candidates,
            **self.rules,
        )
        number = spiking["batch"] * self.compute.batch_size + spiking["cell"]
        genes, _ = self.cells.tokens_at(np.stack([number, spiking["token"]], axis=1))
        spiking["top_gene"] = [self.names[int(gene)] for gene in genes]
        layers = [self.model.get_submodule(name) for name in self.modules]
        screened = screen(
            self.model,
            self.tokenizer,
            self.cells.rows,
            settings=self.settings,
            compute=self.compute,
            device=self.device,
            also=zip(spiking["block"], spiking["row"], spiking["column"], strict=True),
        )
        family = freeze(spiking, screened, self.modules, layers, seen, self.settings)
        weights = None
        if starting is not None:
            weights = [
                oriented_weight(starting.get_submodule(n)).double().cpu().numpy()
                for n in self.modules
            ]
        return with_start(family, before, weights), screened

    def paths(self, family: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Follow the candidates on a sample of the cells; the family says how far each gets."""
        sample = self.cells.sample(self.settings.path_cells)
        table = follow(
            self.model,
            sample,
            family,
            scgpt_sites(self.model, ["pre_norm2", "out"]),
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
