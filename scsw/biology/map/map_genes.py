"""Step `map`: from parameter indices to genes and donors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from scsw.biology.gene_sets import find_gmt
from scsw.biology.map.gene_scores import gene_scores
from scsw.biology.stages.axes import AXES_FILE
from scsw.biology.stages.donor_tables import donor_tables
from scsw.cohort.read import cohort_facts, read_cohort
from scsw.files import CANDIDATE, read_table, require, write_table
from scsw.provenance import recorded
from scsw.scgpt.device import device_name, prepare
from scsw.scgpt.folder import check_vocabulary
from scsw.scgpt.model import load_model
from scsw.scgpt.tokens.cohort_tokens import cohort_tokenizer
from scsw.settings import section_settings


def map_genes(
    model_folder: str | Path,
    cohort: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    compute: SimpleNamespace,
    max_cells_per_donor: int | None = None,
    of_donors: SimpleNamespace | None = None,
    arm: str = "real",
    seed: int = 0,
) -> None:
    """Write ``gene_scores`` with its controls, and the tables of donors for one model.

    Genes are scored on the test donors, which had no part in choosing the candidates; donors are
    scored on discovery and test donors, see `donor_tables`.

    Parameters
    ----------
    model_folder, cohort, candidates
        The fine-tuned model, the cohort and the frozen family.
    out
        Folder for the tables.
    settings, statistics, compute
        Sections ``map``, ``statistics`` and ``compute`` of the config.
    max_cells_per_donor
        Cap on the cells of one donor.
    of_donors
        Section ``stages``, of which `min_cells` and `max_cells_per_donor` are used; its defaults
        where not given.
    arm, seed
        Written into every row; the seed also draws control edits.
    """
    of_donors = of_donors or section_settings("stages")
    model_folder, cohort, out = require(model_folder), require(cohort), Path(out)
    facts = cohort_facts(cohort)
    check_vocabulary(model_folder, facts)
    device = prepare(compute)
    keys = {"cohort": facts["cohort"], "arm": arm, "seed": seed}
    with recorded(
        "map",
        out,
        inputs={
            "model": model_folder,
            "cohort": cohort,
            "candidates": candidates,
            "axes": find_gmt(AXES_FILE),
        },
        parameters={
            **vars(settings),
            **vars(statistics),
            **vars(compute),
            "donors_min_cells": of_donors.min_cells,
            "donors_max_cells": of_donors.max_cells_per_donor,
            "arm": arm,
        },
        seed=seed,
        simulated=facts["simulated"],
    ) as record:
        record["device"] = device_name(device)
        model = load_model(model_folder).to(device)
        family = read_table(candidates, CANDIDATE)
        cells = read_cohort(cohort, ["discovery", "test"], max_cells_per_donor)
        split = cells.obs["split"].astype(str)
        test = cells[split == "test"].copy()
        tokenizer = cohort_tokenizer(test, model_folder)
        n_donors = test.obs["donor_id"].nunique()
        by_donor = facts["split_unit"] == "donor" and n_donors >= statistics.min_test_donors
        found = gene_scores(
            model,
            tokenizer,
            test,
            family,
            settings,
            statistics,
            compute,
            device,
            by_donor=by_donor,
            seed=seed,
        )
        tables = {
            "gene_scores": found.gene_scores,
            "control_units": found.control_units,
            **donor_tables(
                model,
                model_folder,
                cohort,
                cells,
                family,
                compute,
                device,
                min_cells=of_donors.min_cells,
                max_cells_per_donor=of_donors.max_cells_per_donor,
            ),
        }
        for name, table in tables.items():
            write_table(table, out / f"{name}.parquet", keys)
        # One row per gene and a column per control: a cohort's name on each row would tell nothing.
        write_table(found.control_scores, out / "control_scores.parquet")
