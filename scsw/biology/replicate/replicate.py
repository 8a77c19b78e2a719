"""Step `replicate`: whether candidates, genes, pathways and stage slopes recur in other cohorts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.biology.enrich.calibration_controls import read_controls
from scsw.biology.gene_sets import Library, find_gmt, read_libraries
from scsw.biology.ranking import VIEWS
from scsw.biology.replicate.cross_cohort import (
    Model,
    compare_genes,
    compare_pathways,
    compare_slopes,
    compare_spikes,
)
from scsw.biology.replicate.replication_summary import summary_rows, with_outcomes
from scsw.biology.replicate.spike_agreement import start_digest
from scsw.biology.replicate.stage_agreement import rank_rows
from scsw.biology.tables import (
    AS_MEASURED,
    GENE_SCORES,
    REPLICATED_CANDIDATES,
    REPLICATED_GENES,
    REPLICATED_PATHWAYS,
    REPLICATED_STAGE_RANKS,
    REPLICATED_STAGES,
    REPLICATION_SUMMARY,
    STAGES,
    benjamini_hochberg,
    typed,
)
from scsw.files import read_columns, require, stacked, write_table
from scsw.provenance import recorded
from scsw.superweight.stability.stability import SITES

TABLES = {
    "candidates": REPLICATED_CANDIDATES,
    "genes": REPLICATED_GENES,
    "pathways": REPLICATED_PATHWAYS,
    "stages": REPLICATED_STAGES,
    "stage_ranks": REPLICATED_STAGE_RANKS,
}
_SPIKES = "block site channel ratio start_ratio".split()
_PROFILES = "unit_set block column of firing_rate mean_activation gene profile".split()
_VERDICTS = "arm seed candidate_id rank causal".split()


def replicate(
    cohort_folders: Sequence[tuple[str, str | Path, Sequence[int]]],
    out: str | Path,
    *,
    settings: SimpleNamespace,
    enrich_settings: SimpleNamespace,
    spike_ratio: float,
    alpha: float = 0.05,
    simulated: bool = False,
) -> None:
    """Write what recurs between cohorts: five tables of tests, and ``summary.parquet``.

    Each pair of cohorts, in the order given, is compared on every model of one with every model of
    the other. Candidates are paired by `matching.match_candidates` on their read-in profiles; the
    pairs are then compared on write-out, pathways (ORA of read-in) and stage slopes of the
    contribution. q is Benjamini–Hochberg over all rows of one table and pair of cohorts.
    `replication_summary.summary_rows` sums up each level.

    Parameters
    ----------
    cohort_folders
        Name, folder ``results/<run>/<cohort>`` and seeds of each cohort. With fewer than two
        the tables are empty.
    out
        Folder of the tables and the provenance.
    settings
        Section ``replicate`` of the config.
    enrich_settings
        Section ``enrich``, for the gene sets, their sizes and the number of leading genes.
    spike_ratio
        A position of at least this ratio spikes (``search.spike_ratio``).
    alpha
        Level of the false discovery rate (``statistics.alpha``).
    simulated
        Whether a cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a table of a cohort is missing or not as described.
    """
    compared = list(cohort_folders) if len(cohort_folders) > 1 else []
    inputs = {
        f"{name}:{key}": path
        for name, folder, seeds in compared
        for key, path in _files(folder, seeds).items()
    }
    if compared:
        inputs |= {Path(path).stem: find_gmt(path) for path in enrich_settings.gene_sets}
    parameters = {**vars(settings), "enrich": vars(enrich_settings)}
    parameters |= {"spike_ratio": spike_ratio, "alpha": alpha}
    with recorded(
        "replicate",
        out,
        inputs=inputs,
        parameters=parameters,
        seed=settings.seed,
        simulated=simulated,
    ):
        models = {name: [_read(name, f, seed) for seed in seeds] for name, f, seeds in compared}
        donors = {name: _donors(folder) for name, folder, _ in compared}
        libraries = read_libraries(enrich_settings.gene_sets) if compared else {}
        found: dict[str, list[pd.DataFrame]] = {name: [] for name in [*TABLES, "summary"]}
        for a, b in combinations(models, 2):
            # Regions of one study share people, whose agreement is no replication.
            about = {"cohort_a": a, "cohort_b": b, "n_shared_donors": len(donors[a] & donors[b])}
            tables = {name: [] for name in TABLES}
            for one, other in product(models[a], models[b]):
                options = (settings, enrich_settings, libraries, spike_ratio)
                for name, table in _compare(one, other, *options):
                    tables[name].append(table.assign(seed_a=one.seed, seed_b=other.seed))
            joined = {
                name: _with_q(stacked(parts).assign(**about), columns)
                for (name, columns), parts in zip(TABLES.items(), tables.values(), strict=True)
            }
            summed = summary_rows(
                joined, n_shared=about["n_shared_donors"], alpha=alpha, names=(a, b)
            )
            found["summary"].append(pd.DataFrame(summed).assign(cohort_a=a, cohort_b=b))
            for name, table in joined.items():
                found[name].append(table)
        for name, columns in TABLES.items():
            write_table(typed(stacked(found[name]), columns), Path(out) / f"{name}.parquet")
        summary = with_outcomes(stacked(found["summary"]), alpha)
        write_table(typed(summary, REPLICATION_SUMMARY), Path(out) / "summary.parquet")


def _compare(
    a: Model,
    b: Model,
    settings: SimpleNamespace,
    enrich_settings: SimpleNamespace,
    libraries: Mapping[str, Library],
    spike_ratio: float,
) -> Iterator[tuple[str, pd.DataFrame]]:
    # One stream per pair of models and table: a further cohort or seed leaves the others as are.
    streams = {
        name: np.random.default_rng([settings.seed, a.seed, b.seed, place])
        for place, name in enumerate(TABLES)
    }

    def limits(name: str) -> dict:
        return {"permutations": settings.permutations, "rng": streams[name]}

    spikes = compare_spikes(
        a, b, spike_ratio=spike_ratio, seed=settings.seed, **limits("candidates")
    )
    yield "candidates", pd.DataFrame(list(spikes))
    genes = compare_genes(a, b, **limits("genes"))
    yield "genes", genes
    pairs = genes.loc[genes["view"].eq("read_in"), ["candidate_a", "candidate_b"]]
    pathways = compare_pathways(a, b, pairs, libraries, enrich_settings, **limits("pathways"))
    yield "pathways", pathways.assign(shared_start=a.start == b.start)
    slopes = compare_slopes(a, b, pairs)
    yield "stages", slopes
    yield "stage_ranks", pd.DataFrame(list(rank_rows(slopes, **limits("stage_ranks"))))


def _with_q(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    for name, q in (("p", "q"), ("unit_p", "unit_q")):
        if name in table:
            table = table.assign(**{q: benjamini_hochberg(table[name].astype(float))})
    return typed(table, columns)


def _files(folder: str | Path, seeds: Sequence[int]) -> dict[str, Path]:
    folder = Path(folder)
    files = {name: folder / f"{name}.parquet" for name in ("stages", "verdicts")}
    files["donors"] = folder / "donors.tsv"
    for seed in seeds:
        own = folder / "real" / str(seed)
        files |= {
            f"{seed}:init": own / "init",
            f"{seed}:gene_scores": own / "map" / "gene_scores.parquet",
            f"{seed}:control_scores": own / "map" / "control_scores.parquet",
            f"{seed}:control_units": own / "map" / "control_units.parquet",
            f"{seed}:spikes": own / "search" / "spikes.parquet",
            f"{seed}:profiles": own / "search" / "profiles.parquet",
        }
    return files


def _read(name: str, folder: str | Path, seed: int) -> Model:
    files = _files(folder, [seed])
    chosen = {"measure": "contribution", "status": "tested"}
    chosen |= {"depth": AS_MEASURED, "cell_type": "all"}
    stages = read_columns(files["stages"], STAGES, **chosen)
    verdicts = read_columns(files["verdicts"], _VERDICTS)
    scores = read_columns(files[f"{seed}:gene_scores"], GENE_SCORES, cell_type="all", view=VIEWS)
    return Model(
        cohort=name,
        seed=seed,
        start=start_digest(require(files[f"{seed}:init"])),
        gene_scores=scores,
        stages=stages[stages["arm"].eq("real") & stages["seed"].eq(seed)],
        verdicts=verdicts[verdicts["arm"].eq("real") & verdicts["seed"].eq(seed)],
        spikes=read_columns(files[f"{seed}:spikes"], _SPIKES, group_by="all", site=SITES),
        profiles=read_columns(files[f"{seed}:profiles"], _PROFILES),
        controls=read_controls(files[f"{seed}:control_units"].parent),
    )


def _donors(folder: str | Path) -> set[str]:
    """Return the people of a cohort; ids of one study mean the same person in all its files."""
    path = require(Path(folder) / "donors.tsv")
    return set(pd.read_csv(path, sep="\t", dtype=str, usecols=["donor_id"])["donor_id"])
