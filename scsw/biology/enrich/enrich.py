"""Steps `enrich` and `enrich-shard`: the pathways of the genes that candidates read and write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from scsw.biology.enrich.calibration_controls import read_controls
from scsw.biology.enrich.model_enrichment import ModelEnrichment
from scsw.biology.gene_sets import find_gmt, read_libraries
from scsw.files import read_table, require, write_table
from scsw.provenance import recorded
from scsw.shards import check_shard


def enrich(
    gene_scores: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    controls: str | Path | None = None,
    shards: str | Path | None = None,
    simulated: bool = False,
) -> None:
    """Write ``pathways.parquet`` and ``set_overlaps.parquet`` of one model.

    For each of the best `settings.max_candidates` candidates and each view (``read_in``,
    ``write_out``) over all cells, the background is every gene with a z-score in that view.
    ``ora`` tests the leading genes (`ranking.leading_genes`, at most `settings.top_genes`) against
    all libraries; ``prerank`` tests the whole ranking by z against the libraries of
    `settings.prerank_gene_sets`, and for the best `settings.prerank_large_candidates` also against
    those of `settings.prerank_large_gene_sets`. q is Benjamini–Hochberg over all sets of one
    candidate, view and method; the large libraries are a family of their own. A view in which no
    gene leads has no rows. With `controls` the same sets are tested in each candidate's matched
    controls, which gives the calibrated columns (`scsw.biology.enrich.calibration`).

    Parameters
    ----------
    gene_scores
        ``map/gene_scores.parquet`` of one model.
    candidates
        Table with ``cohort, arm, seed, rank, candidate_id`` of the same model:
        ``candidates.parquet`` or ``verdicts.parquet``.
    out
        Folder for the tables and the provenance.
    settings
        Section ``enrich`` of the config.
    controls
        Folder with ``control_scores.parquet`` and ``control_units.parquet`` of the same model.
    shards
        Folder of all `enrich_shard`, whose tables are then joined instead of testing again.
    simulated
        Whether the cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a GMT file or a table is not as described, or if no scored gene is in any gene set,
        which means that the names are of another kind.
    """
    given = {"settings": settings, "controls": controls, "simulated": simulated}
    parts = _shard_files(shards, settings.shards) if shards else []
    more = {path.stem: path for path in parts}
    with _opened("enrich", gene_scores, candidates, out, more=more, **given) as work:
        places = range(len(work.queries))
        tables = [read_table(path) for path in parts] or [work.tested(places)]
        write_table(work.joined(tables), Path(out) / "pathways.parquet")
        write_table(work.overlaps(), Path(out) / "set_overlaps.parquet")


def enrich_shard(
    gene_scores: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    shard: int,
    controls: str | Path | None = None,
    simulated: bool = False,
) -> None:
    """Test every ``enrich.shards``-th pair of candidate and view, from `shard` on.

    Parameters
    ----------
    gene_scores, candidates, settings, controls, simulated
        As for `enrich`.
    out
        Folder of all shards; this one is ``<shard>-of-<shards>.parquet``.
    shard
        Which of ``enrich.shards``, from 0 on. One that no pair falls to is empty.

    Raises
    ------
    ScswError
        As `enrich`; and if there is no such shard.
    """
    check_shard("enrich", shard, settings.shards)
    given = {"settings": settings, "controls": controls, "simulated": simulated}
    step = f"enrich-{shard}-of-{settings.shards}"
    with _opened(step, gene_scores, candidates, out, more={}, **given) as work:
        places = range(shard, len(work.queries), settings.shards)
        table = work.joined([work.tested(places)])
        write_table(table, Path(out) / f"{shard}-of-{settings.shards}.parquet")


@contextmanager
def _opened(
    step: str,
    gene_scores: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    controls: str | Path | None,
    simulated: bool,
    more: dict[str, Path],
) -> Iterator[ModelEnrichment]:
    """Read everything that is tested, and record the step."""
    paths = _library_files(settings)
    libraries = read_libraries(paths)
    inputs = {"gene_scores": gene_scores, "candidates": candidates}
    inputs |= {Path(path).stem: find_gmt(path) for path in paths} | more
    if controls is not None:
        names = ("control_scores", "control_units")
        inputs |= {name: require(Path(controls) / f"{name}.parquet") for name in names}
    with recorded(
        step,
        out,
        inputs=inputs,
        parameters=vars(settings),
        seed=settings.seed,
        simulated=simulated,
    ):
        found = read_controls(controls) if controls is not None else None
        yield ModelEnrichment(gene_scores, candidates, libraries, settings, found)


def _library_files(settings: SimpleNamespace) -> list[str]:
    large = settings.prerank_large_gene_sets if settings.prerank_large_candidates else []
    usual = [*settings.gene_sets, *settings.prerank_gene_sets]
    return list(dict.fromkeys([*usual, *large, *settings.primary_gene_sets]))


def _shard_files(folder: str | Path, n: int) -> list[Path]:
    return [require(Path(folder) / f"{shard}-of-{n}.parquet") for shard in range(n)]
