"""Step `biomarkers`: one table of genes, with a sentence on what is and is not shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from scsw.biology.biomarker_statement import NOT_SCORED, leading_link, statement
from scsw.biology.gene_evidence import considered_candidates, gene_links, gene_summary
from scsw.biology.ranking import VIEWS
from scsw.biology.tables import (
    BIOMARKERS,
    GENE_SCORES,
    PATHWAYS,
    REPLICATED_GENES,
    STAGES,
    read_columns,
    typed,
)
from scsw.errors import ScswError
from scsw.files import write_table
from scsw.provenance import recorded

NAMED_GENES = ("APP", "PSEN1", "PSEN2", "MAPT", "TREM2", "APOE", "IL1B", "FOXO3")
_VERDICT_COLUMNS = "cohort arm seed rank candidate_id causal verdict".split()


def biomarkers(
    gene_scores: Sequence[str | Path],
    pathways: str | Path,
    stages: str | Path,
    verdicts: str | Path,
    replication: str | Path | None,
    out: str | Path,
    *,
    settings: SimpleNamespace,
    alpha: float = 0.05,
    n_genes: int = 50,
    simulated: bool = False,
) -> None:
    """Write ``biomarkers.tsv``: the best genes of a cohort and eight named ones.

    Candidates considered are the best `settings.max_candidates` of each seed and every one with
    a causal verdict. The leading genes of a candidate and view are those of
    `ranking.leading_genes`, as in ORA. Genes rank by, in this order: whether a causal
    candidate leads with them; in how many seeds a candidate leads with them; the larger of
    ``read_in_z`` and |``write_out_z``|; the name.

    Parameters
    ----------
    gene_scores
        ``map/gene_scores.parquet`` of each seed of the real arm.
    pathways, stages, verdicts
        The cohort's gathered tables.
    replication
        ``replication/genes.parquet``, or None where there is none.
    out
        The file ``biomarkers.tsv`` to write; the provenance goes beside it.
    settings
        Section ``enrich`` of the config (`top_genes` and `max_candidates` are used).
    alpha
        Level of the false discovery rate (``statistics.alpha``).
    n_genes
        How many of the best genes are listed; the named ones are always there.
    simulated
        Whether the cohort is simulated; each statement then says so first.

    Raises
    ------
    ScswError
        If a table is not as described, or the verdicts are of several cohorts.
    """
    out = Path(out)
    inputs = {f"gene_scores_{i}": path for i, path in enumerate(gene_scores)}
    inputs |= {"pathways": pathways, "stages": stages, "verdicts": verdicts}
    inputs |= {} if replication is None else {"replication": replication}
    parameters = {"top_genes": settings.top_genes, "max_candidates": settings.max_candidates}
    parameters |= {"alpha": alpha, "n_genes": n_genes}
    with recorded(
        "biomarkers", out.parent, inputs=inputs, parameters=parameters, simulated=simulated
    ):
        judged = read_columns(verdicts, _VERDICT_COLUMNS)
        scored = [
            read_columns(path, GENE_SCORES, cell_type="all", view=VIEWS) for path in gene_scores
        ]
        staged = read_columns(stages, STAGES)
        considered = considered_candidates(judged, settings.max_candidates)
        links = gene_links(scored, considered, settings.top_genes)
        summary = ranked_summary(
            gene_summary(
                {gene for table in scored for gene in table["gene"]},
                links,
                read_columns(pathways, PATHWAYS),
                staged,
                _replication(replication),
                cohort=_cohort(judged),
                alpha=alpha,
            )
        )
        context = {"n_seeds": len(gene_scores), "top_genes": settings.top_genes, "alpha": alpha}
        context["primary_stage"] = _primary_stage(staged)
        listed = list(dict.fromkeys([*summary.index[:n_genes], *NAMED_GENES]))
        rows = [_row(gene, summary, links, context, simulated) for gene in listed]
        table = typed(rows, BIOMARKERS).sort_values("rank", kind="stable", na_position="last")
        write_table(table.round({"read_in_z": 4, "write_out_z": 4}), out)


def ranked_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the genes best first, with ``rank`` from 1; the rule is in `biomarkers`."""
    both = pd.concat([summary["read_in_z"], summary["write_out_z"].abs()], axis=1)
    ordered = summary.assign(_strength=both.max(axis=1), _gene=summary.index).sort_values(
        ["causal", "seeds", "_strength", "_gene"], ascending=[False, False, False, True]
    )
    return ordered.drop(columns=["_strength", "_gene"]).assign(rank=range(1, len(ordered) + 1))


def _row(
    gene: str,
    summary: pd.DataFrame,
    links: pd.DataFrame,
    context: dict[str, Any],
    simulated: bool,
) -> dict[str, Any]:
    prefix = "Simulated data. " if simulated else ""
    if gene not in summary.index:
        empty = {"gene": gene, "n_pathways": 0, "seeds": 0, "replication": "not testable"}
        absent = dict.fromkeys(["rank", "read_in_z", "write_out_z", "stage_q"])
        return {**empty, **absent, "statement": prefix + NOT_SCORED}
    own = summary.loc[gene]
    text = statement(gene, own, leading_link(links, gene), **context)
    columns = [name for name in BIOMARKERS if name not in ("gene", "statement")]
    return {"gene": gene, **{name: own[name] for name in columns}, "statement": prefix + text}


def _replication(path: str | Path | None) -> pd.DataFrame:
    return typed([], REPLICATED_GENES) if path is None else read_columns(path, REPLICATED_GENES)


def _primary_stage(stages: pd.DataFrame) -> str:
    names = stages.loc[stages["primary"].astype(bool), "stage"].unique()
    return str(names[0]) if len(names) else "stage"


def _cohort(verdicts: pd.DataFrame) -> str:
    names = sorted(verdicts["cohort"].astype(str).unique())
    if len(names) > 1:
        raise ScswError(
            f"the verdicts are of several cohorts: {names}",
            expected="the gathered verdicts of one cohort",
        )
    return names[0] if names else ""
