"""Step `spatial`: the intact and the pruned model on cells of a spatial file (SEA-AD's MERFISH)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.gene_sets import find_gmt, read_gmt
from scsw.biology.spatial.panel_check import GO_ON, panel_check
from scsw.biology.spatial.programmes import FEWEST_GENES, gene_directions, programme_directions
from scsw.biology.spatial.readout import read_out
from scsw.biology.spatial.tissue import cut, read_tissue, shared_genes
from scsw.biology.spatial.tissue_tests import accuracy_rows, position_rows, stage_rows
from scsw.biology.stages.axes import AXES_FILE
from scsw.biology.tables import benjamini_hochberg, typed
from scsw.cohort.h5ad import open_h5ad, read_columns
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.files import CANDIDATE, read_json, read_table, require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.model import load_model, read_args, read_vocabulary
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer

_TEXTS = "step measure candidate_id cell_type gene_set stage axis covariates null status reason"
SPATIAL = {
    **{"cohort": "text", "arm": "text", "seed": "int64", "spatial": "text"},
    **dict.fromkeys(_TEXTS.split()[:7], "text"),
    **dict.fromkeys(["n_genes", "n_cells", "n_donors"], "int64"),
    **{"covariates": "text"},
    **dict.fromkeys(["value", "low", "high", "p", "q"], "float64"),
    **{"null": "text", "status": "text", "reason": "text"},
}


def spatial(
    model_folder: str | Path,
    cohort: str | Path,
    candidates: str | Path,
    tissue: str | Path,
    out: str | Path,
    *,
    name: str,
    settings: SimpleNamespace,
    stages: SimpleNamespace,
    compute: SimpleNamespace,
    max_candidates: int,
    min_test_donors: int = 10,
    arm: str = "real",
    seed: int = 0,
    simulated: bool = False,
) -> None:
    """Write ``spatial.parquet``: nuclei cut to the panel, then the cells of the tissue.

    First the accuracy on the cohort's own test nuclei, cut to the genes that panel, cohort and
    model share (`panel_check`); if too little of it is left, the table says so and ends there.
    Otherwise, on the tissue's cells of donors that the model was not fitted on: accuracy,
    programmes along the depth, and AD axes by stage, intact and with each of the best candidates
    zeroed. Donors are the units. q is Benjamini–Hochberg within each step, measure and stage.

    Parameters
    ----------
    model_folder, cohort, candidates
        The fine-tuned model, its cohort and the frozen family.
    tissue
        ``spatial.h5ad``.
    out
        ``spatial.parquet``; the provenance is written beside it.
    name
        Name of the spatial data.
    settings, stages, compute
        Sections ``spatial``, ``stages`` and ``compute`` of the config.
    max_candidates
        Candidates (best first) that are zeroed.
    min_test_donors
        Fewest donors of any test (``statistics.min_test_donors``).
    arm, seed
        Written into every row.
    simulated
        Whether the data are simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a file is missing or not as described.
    """
    folder, cohort = require(model_folder), require(cohort)
    facts = cohort_facts(cohort)
    check_vocabulary(folder, facts)
    device = prepare(compute)
    with recorded(
        "spatial",
        Path(out).parent,
        inputs={"model": folder, "cohort": cohort, "candidates": candidates, "tissue": tissue},
        parameters={**vars(settings), **vars(compute), "stages": vars(stages), "arm": arm},
        seed=seed,
        simulated=simulated or facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        model = load_model(folder).to(device)
        best = read_table(candidates, CANDIDATE).sort_values("rank").head(max_candidates)
        vocabulary = read_vocabulary(folder)
        run = _Run(folder, model, vocabulary, device, settings, stages, compute, min_test_donors)
        rows = run.rows(cohort, best, tissue)
        keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed, "spatial": name}
        write_table(table_of(rows, keys), out)


@dataclass(frozen=True)
class _Run:
    """One model and how it is looked at."""

    folder: Path
    model: nn.Module
    vocabulary: dict[str, int]
    device: torch.device
    settings: SimpleNamespace
    stages: SimpleNamespace
    compute: SimpleNamespace
    min_donors: int

    def rows(self, cohort: Path, best: pd.DataFrame, tissue: str | Path) -> list[dict[str, Any]]:
        nuclei = read_cohort(cohort, ["test"], self.settings.max_cells_per_donor)
        fitted, commonest = _training(cohort)
        cells, axis = read_tissue(
            tissue, without=fitted, max_cells_per_donor=self.settings.max_cells_per_donor
        )
        genes = shared_genes(
            cells.var["symbol"].astype(str), nuclei.var["symbol"].astype(str), self.vocabulary
        )
        rows = panel_check(
            self.model,
            self.folder,
            nuclei,
            genes,
            self.vocabulary,
            commonest,
            self.settings,
            self.compute,
            self.device,
            self.min_donors,
        )
        if rows[-1]["status"] == GO_ON:
            rows += self._on_tissue(cut(cells, genes, self.vocabulary), genes, best, axis)
        return rows

    def _on_tissue(
        self, cells: AnnData, genes: list[str], best: pd.DataFrame, axis: str
    ) -> list[dict[str, Any]]:
        sets, directions, rows = self._programmes(genes)
        tokenizer = cohort_tokenizer(cells, self.folder)
        found = read_out(self.model, tokenizer, best, directions, self.compute, self.device)
        names, obs, few = list(best["candidate_id"]), cells.obs, self.min_donors
        rows += accuracy_rows(found, tokenizer.labels, obs, names, few)
        rows += position_rows(found, sets, obs, names, axis, self.stages.min_cells, few)
        rows += stage_rows(found, sets, obs, names, self.stages, few)
        return [{"n_genes": len(genes)} | row for row in rows]

    def _programmes(self, genes: list[str]) -> tuple[list[str], np.ndarray, list[dict[str, Any]]]:
        """Return the sets that can be scored, their directions, and a row for each other set."""
        library = read_gmt(find_gmt(AXES_FILE))
        problem = self._no_decoder()
        if problem:
            rows = [_untestable(name, 0, problem) for name in library]
            return [], np.zeros((0, self.model.d_model)), rows
        tokens = [self.vocabulary[gene] for gene in genes]
        n_genes, sets, directions = programme_directions(
            gene_directions(self.model, tokens), genes, library
        )
        few = "{} of its genes are on the panel; " + f"{FEWEST_GENES} are needed"
        rows = [_untestable(x, n, few.format(n)) for x, n in n_genes.items() if x not in sets]
        return sets, directions, rows

    def _no_decoder(self) -> str:
        """Return why the cell embedding cannot be decoded, or an empty text."""
        style = read_args(self.folder).get("mvc_decoder_style", "inner product")
        if style != "inner product":
            return f"the model decodes cells by {style!r}, which is not linear"
        trained = self.folder / "train_args.json"
        if trained.exists() and not read_json(trained)["weight_mvc"]:
            return "the model was fine-tuned without the objective of the cell embedding (MVC)"
        return ""


def _untestable(name: str, n: int, reason: str) -> dict[str, Any]:
    about = {"step": "stage", "measure": "slope", "gene_set": name, "n_genes": n}
    return about | {"status": "not testable", "reason": reason}


def _training(cohort: Path) -> tuple[set[str], str]:
    """Return the donors that the model was fitted on, and their commonest cell type."""
    with open_h5ad(cohort) as file:
        obs = read_columns(file, "obs", ["donor_id", "cell_type", "split"]).astype(str)
    fitted = obs[obs["split"].isin(["train", "validation"])]
    trained = obs[obs["split"].eq("train")]
    counts = trained["cell_type"].value_counts().sort_index()
    return set(fitted["donor_id"]), str(counts.idxmax())


def table_of(rows: list[dict[str, Any]], keys: dict[str, Any]) -> pd.DataFrame:
    """Return rows as ``spatial.parquet`` has them: what a row lacks is empty, q added."""
    table = pd.DataFrame(rows).reindex(columns=list(SPATIAL))
    numbers = [name for name, kind in SPATIAL.items() if kind == "int64" and name not in keys]
    table[numbers] = table[numbers].fillna(0)
    table[_TEXTS.split()] = table[_TEXTS.split()].fillna("")
    table["q"] = table.groupby(["step", "measure", "stage"])["p"].transform(benjamini_hochberg)
    return typed(table.assign(**keys), SPATIAL)
