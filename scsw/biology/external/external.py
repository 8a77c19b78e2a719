"""Step `external`: a candidate's genes against diagnosis in cohorts that the model never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from scsw.biology.external.groups import bulk, nuclei
from scsw.biology.external.one_group import tests_of
from scsw.biology.ranking import VIEWS, leading_genes, ranked_genes, view_scores
from scsw.biology.tables import GENE_SCORES, benjamini_hochberg, one_model, typed
from scsw.errors import ScswError
from scsw.files import read_columns, require, write_table
from scsw.provenance import recorded

EXTERNAL = {
    **{"cohort": "text", "arm": "text", "seed": "int64", "candidate_id": "text", "view": "text"},
    **dict.fromkeys(["external", "tissue", "cell_class", "test", "gene"], "text"),
    **{"n_genes": "int64", "n_tested": "int64", "n_ad": "int64", "n_control": "int64"},
    **{"diagnosis": "text", "covariates": "text"},
    **dict.fromkeys(["effect", "effect_low", "effect_high", "p", "q"], "float64"),
    **{"null": "text", "status": "text", "reason": "text"},
}


def external(
    models: Sequence[str | Path],
    donors: str | Path,
    out: str | Path,
    *,
    cohorts: Mapping[str, str | Path],
    bulks: Mapping[str, str | Path],
    settings: SimpleNamespace,
    enrich: SimpleNamespace,
    stages: SimpleNamespace,
    min_test_donors: int = 10,
    matched_genes: int = 100,
    simulated: bool = False,
) -> None:
    """Write ``external.parquet``: leading genes against diagnosis in other cohorts.

    The leading genes (`ranking.leading_genes`) of the best `enrich.max_candidates` candidates of
    each model are tested in each cell class of every other cohort of nuclei and in bulk blood:
    each gene by ordinary least squares, each set against matched genes (`gene_sets`). q is
    Benjamini–Hochberg over the genes of one seed, candidate and external cohort (all cell classes
    and both views), and over the sets of one seed, external cohort and null.

    Parameters
    ----------
    models
        Folders ``<cohort>/real/<seed>`` with ``map/gene_scores.parquet`` and
        ``search/candidates.parquet``.
    donors
        ``donors.tsv`` of the models' cohort: these people take no part.
    out
        ``external.parquet``; the provenance is written beside it.
    cohorts, bulks
        Name → ``cohort.h5ad`` and name → ``external.h5ad`` of the external cohorts.
    settings, enrich, stages
        Sections ``external``, ``enrich`` and ``stages`` of the config.
    min_test_donors, matched_genes
        ``statistics.min_test_donors`` and ``map.matched_genes``.
    simulated
        Whether a cohort is simulated; kept in the provenance.

    Raises
    ------
    ScswError
        If a table or a cohort is missing or not as described.
    """
    folders = [Path(model) for model in models]
    inputs = {f"{f.name}:{name.stem}": f / name for f in folders for name in _TABLES}
    inputs |= {"donors": donors, **dict(cohorts), **dict(bulks)}
    with recorded(
        "external",
        Path(out).parent,
        inputs=inputs,
        parameters={**vars(settings), "enrich": vars(enrich), "stages": vars(stages)},
        seed=settings.seed,
        simulated=simulated,
    ):
        leading, cohort = {}, {}
        for folder in folders:
            scores = read_columns(folder / _TABLES[0], GENE_SCORES, cell_type="all", view=VIEWS)
            listed = read_columns(
                folder / _TABLES[1], ["cohort", "arm", "seed", "rank", "candidate_id"]
            )
            cohort = cohort or one_model(scores, listed)
            leading |= _leading(scores, listed, folder.name, enrich)
        known = set(_donors(donors))
        limits = {
            **{"min_people": min_test_donors, "donors_per_term": stages.donors_per_term},
            "matched_genes": matched_genes,
        }
        rows = []
        for name, path in cohorts.items():
            of_stages = {"min_cells": stages.min_cells, "covariates": tuple(stages.covariates)}
            for group in nuclei(path, name, **of_stages):
                rows += tests_of(group, leading, known, settings, **limits)
        for name, path in bulks.items():
            rows += tests_of(bulk(path, name), leading, known, settings, **limits)
        model = {"cohort": cohort.get("cohort", ""), "arm": cohort.get("arm", "real")}
        write_table(typed(_with_q(pd.DataFrame(rows)).assign(**model), EXTERNAL), out)


_TABLES = (Path("map/gene_scores.parquet"), Path("search/candidates.parquet"))


def _leading(
    scores: pd.DataFrame, listed: pd.DataFrame, seed: str, enrich: SimpleNamespace
) -> dict[tuple[str, str, str], list[str]]:
    """Return the leading genes by seed, candidate and view; none where a unit is silent."""
    found = {}
    best = listed.sort_values("rank")["candidate_id"].head(enrich.max_candidates)
    for candidate in best:
        for view in VIEWS:
            of_view = view_scores(scores, view, candidate)
            genes = []
            if len(of_view):
                ranked = ranked_genes(of_view, view)
                genes = list(ranked.loc[leading_genes(ranked, view, enrich.top_genes), "gene"])
            found[seed, candidate, view] = genes
    return found


def _with_q(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    is_gene = table["test"].eq("gene")
    of_genes = table[is_gene].groupby(["seed", "candidate_id", "external"])["p"]
    of_sets = table[~is_gene].groupby(["seed", "external", "null"])["p"]
    q = pd.concat([of_genes.transform(benjamini_hochberg), of_sets.transform(benjamini_hochberg)])
    order = ["seed", "candidate_id", "view", "external", "cell_class", "test", "p", "gene", "null"]
    return table.assign(q=q).sort_values(order, kind="stable")


def _donors(path: str | Path) -> pd.Series:
    """Return the donors' names, which may begin with zeros."""
    table = pd.read_csv(require(path), sep="\t", dtype=str)
    if "donor_id" not in table:
        raise ScswError(f"{path} has no column donor_id", expected="donors.tsv of the cohort")
    return table["donor_id"]
