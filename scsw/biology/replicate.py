"""Step `replicate`: whether candidates, pathways and stage slopes recur in a second cohort."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.biology.cross_cohort import Cohort, compare_genes, compare_pathways, compare_stages
from scsw.biology.gene_sets import find_gmt, read_libraries
from scsw.biology.ranking import VIEWS
from scsw.biology.tables import (
    GENE_SCORES,
    REPLICATED_GENES,
    REPLICATED_PATHWAYS,
    REPLICATED_STAGES,
    STAGES,
    read_columns,
    typed,
)
from scsw.files import require, write_table
from scsw.provenance import recorded
from scsw.settings import section_settings


def replicate(
    cohort_folders: Sequence[tuple[str, str | Path, Sequence[int]]],
    out: str | Path,
    *,
    settings: SimpleNamespace,
    enrich_settings: SimpleNamespace | None = None,
    simulated: bool = False,
) -> None:
    """Write ``genes.parquet``, ``pathways.parquet`` and ``stages.parquet``.

    Each pair of cohorts, in the order given, is compared on the model of each one's first seed.
    Candidates are paired by `matching.match_candidates` on their read-in profiles; the pairs are
    then compared on write-out, pathways (ORA of read-in) and stage slopes of the contribution.
    q is Benjamini–Hochberg over all rows of one table and pair of cohorts.

    Parameters
    ----------
    cohort_folders
        Name, folder ``results/<run>/<cohort>`` and seeds of each cohort. With fewer than two
        the tables are empty.
    out
        Folder of the three tables and the provenance.
    settings
        Section ``replicate`` of the config.
    enrich_settings
        Section ``enrich``, for the gene sets, their sizes and the number of leading genes; its
        defaults where not given.
    simulated
        Whether a cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a table of a cohort is missing or not as described.
    """
    enrich_settings = enrich_settings or section_settings("enrich")
    compared = list(cohort_folders) if len(cohort_folders) > 1 else []
    inputs = {
        f"{name}:{file.stem}": file
        for name, folder, seeds in compared
        for file in _files(folder, seeds)
    }
    if compared:
        inputs |= {Path(path).stem: find_gmt(path) for path in enrich_settings.gene_sets}
    with recorded(
        "replicate",
        out,
        inputs=inputs,
        parameters={**vars(settings), "enrich": vars(enrich_settings)},
        seed=settings.seed,
        simulated=simulated,
    ):
        cohorts = [_read(name, folder, seeds) for name, folder, seeds in compared]
        donors = {name: _donors(folder) for name, folder, _ in compared}
        libraries = read_libraries(enrich_settings.gene_sets) if compared else {}
        genes, pathways, stages = [], [], []
        for index, (a, b) in enumerate(combinations(cohorts, 2)):
            # One stream per pair of cohorts: adding a third cohort leaves the first pair as it was.
            rng = np.random.default_rng([settings.seed, index])
            limits = {"permutations": settings.permutations, "rng": rng}
            in_genes = compare_genes(a, b, **limits)
            pairs = in_genes.loc[in_genes["view"].eq("read_in"), ["candidate_a", "candidate_b"]]
            in_pathways = compare_pathways(a, b, pairs, libraries, enrich_settings, **limits)
            # Regions of one study share people, whose agreement is no replication.
            shared = {"n_shared_donors": len(donors[a.name] & donors[b.name])}
            genes.append(in_genes.assign(**shared))
            pathways.append(in_pathways.assign(**shared))
            stages.append(compare_stages(a, b, pairs).assign(**shared))
        tables = {
            "genes": typed(_joined(genes), REPLICATED_GENES),
            "pathways": typed(_joined(pathways), REPLICATED_PATHWAYS),
            "stages": typed(_joined(stages), REPLICATED_STAGES),
        }
        for name, table in tables.items():
            write_table(table, Path(out) / f"{name}.parquet")


def _files(folder: str | Path, seeds: Sequence[int]) -> list[Path]:
    folder = Path(folder)
    scores = folder / "real" / str(seeds[0]) / "map" / "gene_scores.parquet"
    return [scores, folder / "stages.parquet", folder / "donors.tsv"]


def _read(name: str, folder: str | Path, seeds: Sequence[int]) -> Cohort:
    scores, gathered, _ = _files(folder, seeds)
    stages = read_columns(gathered, STAGES)
    of_model = stages["arm"].eq("real") & stages["seed"].eq(seeds[0])
    gene_scores = read_columns(scores, GENE_SCORES, cell_type="all", view=VIEWS)
    return Cohort(name, seeds[0], gene_scores, stages[of_model])


def _donors(folder: str | Path) -> set[str]:
    """Return the people of a cohort; ids of one study mean the same person in all its files."""
    path = require(Path(folder) / "donors.tsv")
    return set(pd.read_csv(path, sep="\t", dtype=str, usecols=["donor_id"])["donor_id"])


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
