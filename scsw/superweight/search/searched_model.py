"""A scGPT model and the discovery cells, as every step of the search opens them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
from scsw.files import require
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.superweight.find import find_candidates
from scsw.superweight.observe import Observation, observe
from scsw.superweight.search.discovery import (
    DiscoveryCells,
    cls_tokens,
    real_tokens,
    scgpt_blocks,
    scgpt_sites,
    token_names,
)

MORE_SITES = ["attn_heads", "attn_out", "out"]  # beside those of the down-projection


class SearchedModel:
    """One model and the discovery cells.

    Parameters
    ----------
    folder
        scGPT folder.
    cells
        The discovery cells.
    settings, compute
        Sections ``search`` and ``compute`` of the config.
    device
        Where the model is run.

    Attributes
    ----------
    blocks, modules, sums
        Its blocks, the names of their down-projections, and those of the norms after these.
    names
        Token of each id.
    rules
        The rules of `find_candidates`.
    """

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

    def seen(self, model: nn.Module, *, detailed: bool) -> Observation:
        """Pass over the cells once; with details, also by group and with moments.

        Parameters
        ----------
        model
            The model, or the one that fine-tuning started from.
        detailed
            Whether moments and breakdowns are wanted.
        """
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

    def spiking(self, seen: Observation | None = None) -> pd.DataFrame:
        """Return the table of `find_candidates`, with the token at which each spike was seen.

        Parameters
        ----------
        seen
            What a pass over the intact model saw, if one was made already.
        """
        found = find_candidates(
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
        number = found["batch"] * self.compute.batch_size + found["cell"]
        genes, _ = self.cells.tokens_at(np.stack([number, found["token"]], axis=1))
        return found.assign(top_gene=[self.names[int(gene)] for gene in genes])


@contextlib.contextmanager
def opened(
    step: str,
    model_folder: str | Path,
    cohort: str | Path,
    out: Path,
    *,
    settings: SimpleNamespace,
    compute: SimpleNamespace,
    inputs: dict[str, Path],
    parameters: dict[str, Any],
    seed: int | None = None,
) -> Iterator[tuple[SearchedModel, dict[str, Any]]]:
    """Open a model and a cohort's discovery cells, and write the step's provenance at the end.

    Parameters
    ----------
    step, out
        Name of the step, and the folder for its provenance.
    model_folder, cohort
        The model, and ``cohort.h5ad``.
    settings, compute
        Sections ``search`` and ``compute`` of the config.
    inputs, parameters
        Further files that are read and what else the step depends on, for the provenance.
    seed
        The step's seed.

    Yields
    ------
    tuple
        The model with the cells, and the facts of the cohort.

    Raises
    ------
    ScswError
        If a file is missing, the model and the cohort do not share a vocabulary, or there are no
        discovery cells.
    """
    model_folder, cohort = require(model_folder), require(cohort)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    with recorded(
        step,
        out,
        inputs={"model": model_folder, "cohort": cohort, **inputs},
        parameters={**vars(settings), **vars(compute), **parameters},
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        cells = read_cohort(cohort, ["discovery"], settings.max_cells_per_donor)
        if cells.n_obs == 0:
            raise ScswError(f"{cohort} holds no discovery cells", fix="raise preprocess.discovery")
        yield SearchedModel(model_folder, cells, settings, compute, device), facts
