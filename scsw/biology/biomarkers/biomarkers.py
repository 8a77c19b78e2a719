"""Step `biomarkers`: genes ranked by candidate, and one table of what is and is not shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from scsw.biology.biomarkers.biomarker_statement import NO_RANK, NOT_SCORED, statement
from scsw.biology.biomarkers.candidate_evidence import with_candidate_evidence
from scsw.biology.biomarkers.combined_ranking import ALL_VIEWS, combined_ranking
from scsw.biology.biomarkers.gene_evidence import best_links, considered_candidates, gene_links
from scsw.biology.biomarkers.view_agreement import view_agreement
from scsw.biology.enrich.calibration_controls import Controls, read_controls
from scsw.biology.gene_sets import find_gmt, gwas_genes
from scsw.biology.tables import (
    BIOMARKERS,
    GENE_RANKS,
    GENE_SCORES,
    PATHWAYS,
    REPLICATED_GENES,
    STAGES,
    VIEW_AGREEMENT,
    one_model,
    typed,
)
from scsw.errors import ScswError
from scsw.files import read_columns, stacked, write_table
from scsw.provenance import recorded

NAMED_GENES = ("APP", "PSEN1", "PSEN2", "MAPT", "TREM2", "APOE", "IL1B", "FOXO3")
_VERDICT_COLUMNS = "cohort arm seed rank candidate_id causal verdict".split()
_MATCHED_ON = ["detection_rate", "mean_bin"]
_UNIT_LEVEL = ["unit_q", "score_low", "score_high"]


def biomarkers(
    gene_scores: Sequence[str | Path],
    pathways: str | Path,
    stages: str | Path,
    verdicts: str | Path,
    replication: str | Path | None,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    enrich_settings: SimpleNamespace,
    alpha: float = 0.05,
    simulated: bool = False,
) -> None:
    """Write ``biomarkers.tsv``, ``gene_ranks.parquet`` and ``view_agreement.parquet``.

    ``gene_ranks`` holds the combined rank of every gene for every candidate
    (`combined_ranking.combined_ranking`), ``view_agreement`` whether the views behind it agree
    (`view_agreement.view_agreement`). ``biomarkers.tsv`` lists the best genes and eight named
    ones, each with its best candidate (`gene_evidence.best_links`) among the best
    `enrich_settings.max_candidates` of each seed and every one with a causal verdict.

    Parameters
    ----------
    gene_scores
        ``map/gene_scores.parquet`` of each seed of the real arm. The control scores beside them
        are read too.
    pathways, stages, verdicts
        The cohort's gathered tables.
    replication
        ``replication/genes.parquet``, or None where there is none.
    out
        Folder to write the tables and the provenance to.
    settings
        Section ``biomarkers`` of the config.
    enrich_settings
        Section ``enrich`` (`top_genes` and `max_candidates` are used).
    alpha
        Level of the false discovery rate (``statistics.alpha``).
    simulated
        Whether the cohort is simulated; each statement then says so first.

    Raises
    ------
    ScswError
        If a table is not as described, the verdicts are of several cohorts, or the GWAS set is
        not in its file.
    """
    out = Path(out)
    inputs = {f"gene_scores_{i}": path for i, path in enumerate(gene_scores)}
    inputs |= {
        f"{name}_{i}": beside
        for i, path in enumerate(gene_scores)
        for name in ("control_scores", "control_units")
        if (beside := Path(path).with_name(f"{name}.parquet")).exists()
    }
    inputs |= {"pathways": pathways, "stages": stages, "verdicts": verdicts}
    inputs |= {} if replication is None else {"replication": replication}
    limits = {name: getattr(enrich_settings, name) for name in ("top_genes", "max_candidates")}
    inputs["gwas"] = find_gmt(settings.gwas_gene_sets)
    gwas = gwas_genes(inputs["gwas"], settings.gwas_set)
    parameters = {**vars(settings), **limits, "alpha": alpha}
    with recorded(
        "biomarkers", out, inputs=inputs, parameters=parameters, seed=settings.seed,
        simulated=simulated,
    ):  # fmt: skip
        judged = read_columns(verdicts, _VERDICT_COLUMNS)
        scored = [_scores(path) for path in gene_scores]
        considered = considered_candidates(judged, enrich_settings.max_candidates)
        ranks = [combined_ranking(scores) for scores in scored]
        links = gene_links(scored, ranks, considered, top_genes=limits["top_genes"], alpha=alpha)
        genes = with_candidate_evidence(
            best_links(links),
            read_columns(pathways, PATHWAYS),
            read_columns(stages, STAGES),
            _replication(replication),
            cohort=_cohort(judged),
            alpha=alpha,
        )
        context = {"n_seeds": len(scored), "top_genes": limits["top_genes"], "alpha": alpha}
        listed = list(dict.fromkeys([*genes.index[: settings.genes], *NAMED_GENES]))
        known = {gene for table in scored for gene in table["gene"]}
        rows = [_row(gene, genes, known, gwas, context, simulated) for gene in listed]
        table = typed(rows, BIOMARKERS).sort_values("rank", kind="stable", na_position="last")
        agreement = {"top_genes": limits["top_genes"], "permutations": settings.permutations}
        models = [one_model(scores) for scores in scored]
        views = [
            view_agreement(scores, _controls(path), seed=settings.seed, **agreement)
            for scores, path in zip(scored, gene_scores, strict=True)
        ]
        ranks, views = (
            [table.assign(**model) for table, model in zip(tables, models, strict=True)]
            for tables in (ranks, views)
        )
        write_table(typed(stacked(ranks), GENE_RANKS), out / "gene_ranks.parquet")
        write_table(typed(stacked(views), VIEW_AGREEMENT), out / "view_agreement.parquet")
        digits = {f"{view}_z": 4 for view in ALL_VIEWS}
        write_table(table.round(digits), out / "biomarkers.tsv")


def _row(
    gene: str,
    genes: pd.DataFrame,
    known: set[str],
    gwas: set[str],
    context: dict[str, Any],
    simulated: bool,
) -> dict[str, Any]:
    prefix = "Simulated data. " if simulated else ""
    in_gwas = {"gene": gene, "gwas": "yes" if gene in gwas else "no"}
    if gene not in genes.index:
        # A gene without a z in some view has no combined rank, but it was looked at.
        grade = "no rank" if gene in known else "not scored"
        said = NO_RANK.format(gene=gene) if gene in known else NOT_SCORED
        counts = dict.fromkeys(["seeds", "n_pathways", "n_replicated", "n_compared"], 0)
        empty = dict.fromkeys(BIOMARKERS) | counts | {"replication": "not testable"}
        return empty | in_gwas | {"grade": grade, "statement": prefix + said}
    own = genes.loc[gene]
    row = {name: own[name] for name in BIOMARKERS if name in own.index}
    text = statement(gene, pd.Series({**own, **in_gwas}), **context)
    return row | in_gwas | {"statement": prefix + text}


def _scores(path: str | Path) -> pd.DataFrame:
    columns = [*GENE_SCORES, *_MATCHED_ON]
    return read_columns(path, columns, optional=_UNIT_LEVEL, cell_type="all", view=ALL_VIEWS)


def _controls(gene_scores: str | Path) -> Controls | None:
    """Return the control edits that `scsw map` wrote beside the gene scores, if they are there."""
    folder = Path(gene_scores).parent
    return read_controls(folder) if (folder / "control_units.parquet").exists() else None


def _replication(path: str | Path | None) -> pd.DataFrame:
    return typed([], REPLICATED_GENES) if path is None else read_columns(path, REPLICATED_GENES)


def _cohort(verdicts: pd.DataFrame) -> str:
    names = sorted(verdicts["cohort"].astype(str).unique())
    if len(names) > 1:
        raise ScswError(
            f"the verdicts are of several cohorts: {names}",
            expected="the gathered verdicts of one cohort",
        )
    return names[0] if names else ""
