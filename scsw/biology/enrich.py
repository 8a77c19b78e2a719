"""Step `enrich`: the pathways of the genes that a candidate reads from and writes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from scsw.biology import over_representation as ora
from scsw.biology import preranked as gsea
from scsw.biology.gene_sets import Library, find_gmt, read_libraries, within_background
from scsw.biology.ranking import VIEWS, leading_genes, ranked_genes, view_scores
from scsw.biology.tables import (
    GENE_SCORES,
    PATHWAYS,
    benjamini_hochberg,
    one_model,
    read_columns,
    typed,
)
from scsw.errors import ScswError
from scsw.files import write_table
from scsw.provenance import recorded

Libraries = dict[str, Library]  # name of the library → its sets


def enrich(
    gene_scores: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    simulated: bool = False,
) -> None:
    """Write ``pathways.parquet``: gene sets against the gene scores of the best candidates.

    For each of the best `settings.max_candidates` candidates and each view (``read_in``,
    ``write_out``) over all cells, the background is every gene with a z-score in that view.
    ``ora`` tests the leading genes (`ranking.leading_genes`, at most `settings.top_genes`) against
    all libraries; ``prerank`` tests the whole ranking by z against the libraries of
    `settings.prerank_gene_sets`. q is Benjamini–Hochberg over all sets of all libraries of one
    candidate, view and method. A view in which no gene leads has no rows.

    Parameters
    ----------
    gene_scores
        ``map/gene_scores.parquet`` of one model.
    candidates
        Table with ``cohort, arm, seed, rank, candidate_id`` of the same model:
        ``candidates.parquet`` or ``verdicts.parquet``.
    out
        Folder for ``pathways.parquet`` and the provenance.
    settings
        Section ``enrich`` of the config.
    simulated
        Whether the cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a GMT file or a table is not as described, or if no scored gene is in any gene set,
        which means that the names are of another kind.
    """
    paths = list(dict.fromkeys([*settings.gene_sets, *settings.prerank_gene_sets]))
    libraries = read_libraries(paths)
    gmt_files = {Path(path).stem: find_gmt(path) for path in paths}
    with recorded(
        "enrich",
        out,
        inputs={"gene_scores": gene_scores, "candidates": candidates, **gmt_files},
        parameters=vars(settings),
        seed=settings.seed,
        simulated=simulated,
    ):
        scores = read_columns(gene_scores, GENE_SCORES, cell_type="all", view=VIEWS)
        listed = read_columns(candidates, ["cohort", "arm", "seed", "rank", "candidate_id"])
        model = one_model(scores, listed)
        best = listed.sort_values("rank")["candidate_id"].head(settings.max_candidates)
        tables = [
            _one_view(scores_of_view, view, libraries, settings).assign(
                **model, candidate_id=candidate, view=view
            )
            for candidate in best
            for view in VIEWS
            if len(scores_of_view := view_scores(scores, view, candidate))
        ]
        filled = [table for table in tables if len(table)]
        table = typed(pd.concat(filled) if filled else [], PATHWAYS)
        write_table(table, Path(out) / "pathways.parquet")


def _one_view(
    scores: pd.DataFrame, view: str, libraries: Libraries, settings: SimpleNamespace
) -> pd.DataFrame:
    """Return the rows of both methods for one candidate and view; none if no gene leads."""
    ranked = ranked_genes(scores, view)
    query = ranked.loc[leading_genes(ranked, view, settings.top_genes), "gene"].tolist()
    if not query:
        return pd.DataFrame()
    background = ranked["gene"].tolist()
    sets = _testable(libraries, background, settings)
    by_z = ranked.sort_values(["z", "gene"], ascending=[False, True]).set_index("gene")["z"]
    tables = [
        ora.over_representation(query, background, _named(sets, settings.gene_sets)).assign(
            method="ora", null=ora.NULL
        ),
        gsea.preranked(
            by_z,
            _named(sets, settings.prerank_gene_sets),
            permutations=settings.permutations,
            seed=settings.seed,
        ).assign(method="prerank", null=gsea.NULL),
    ]
    # One family per method: the q-values are over all sets of all its libraries.
    return pd.concat(
        [
            table.assign(q=benjamini_hochberg(table["p"])).sort_values(["p", "library", "gene_set"])
            for table in tables
            if len(table)
        ]
        or [pd.DataFrame()]
    )


def _named(libraries: Libraries, paths: Sequence[str]) -> Libraries:
    return {Path(path).stem: libraries[Path(path).stem] for path in paths}


def _testable(
    libraries: Libraries, background: Sequence[str], settings: SimpleNamespace
) -> Libraries:
    """Cut every library to the background and to the sets of a testable size.

    Raises
    ------
    ScswError
        If no gene of the background is in any set.
    """
    known = {gene for sets in libraries.values() for genes in sets.values() for gene in genes}
    if libraries and not known.intersection(background):
        raise ScswError(
            f"none of the {len(background)} scored genes (such as {background[0]}) is in a gene "
            f"set of {', '.join(libraries)}",
            expected="the same kind of gene name, such as gene symbols, in both",
            fix="give GMT files that name genes as the cohort does",
        )
    limits = {"min_size": settings.min_size, "max_size": settings.max_size}
    return {name: within_background(sets, background, **limits) for name, sets in libraries.items()}
