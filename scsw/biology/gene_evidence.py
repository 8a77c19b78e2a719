"""What the tables say about each gene, gathered over candidates and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scsw.biology.ranking import VIEWS, leading_genes, ranked_genes, view_scores

_CANDIDATE = ["seed", "candidate_id"]


def considered_candidates(verdicts: pd.DataFrame, max_candidates: int) -> pd.DataFrame:
    """Return the best `max_candidates` of each seed and every one with a causal verdict."""
    return verdicts[verdicts["rank"].le(max_candidates) | verdicts["causal"].astype(bool)]


def gene_links(
    gene_scores: Sequence[pd.DataFrame], candidates: pd.DataFrame, top_genes: int
) -> pd.DataFrame:
    """Return one row per candidate, view and gene scored.

    Parameters
    ----------
    gene_scores
        Tables ``gene_scores.parquet``, one per seed.
    candidates
        Rows of ``verdicts.parquet`` to consider.
    top_genes
        Most genes per candidate and view that count as its leading genes.

    Returns
    -------
    pandas.DataFrame
        ``seed, candidate_id, verdict, causal, rank, view, gene, z, q, place, n_scored, leading``;
        z and place as `ranking.ranked_genes` gives them, leading as `ranking.leading_genes`.
    """
    by_seed = {int(table["seed"].iloc[0]): table for table in gene_scores if len(table)}
    tables = []
    for row in candidates.sort_values(["seed", "rank"]).itertuples():
        for view in VIEWS if row.seed in by_seed else ():
            ranked = ranked_genes(view_scores(by_seed[row.seed], view, row.candidate_id), view)
            tables.append(
                ranked.assign(
                    **{name: getattr(row, name) for name in [*_CANDIDATE, "verdict", "rank"]},
                    causal=bool(row.causal),
                    view=view,
                    n_scored=len(ranked),
                    leading=leading_genes(ranked, view, top_genes),
                )
            )
    columns = "seed candidate_id verdict causal rank view gene z q place n_scored leading".split()
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def gene_summary(
    genes: Iterable[str],
    links: pd.DataFrame,
    pathways: pd.DataFrame,
    stages: pd.DataFrame,
    replication: pd.DataFrame,
    *,
    cohort: str,
    alpha: float,
) -> pd.DataFrame:
    """Return one row per gene, index = gene, sorted.

    Parameters
    ----------
    genes
        Genes with any score.
    links
        Table from `gene_links`.
    pathways, stages
        The cohort's gathered tables.
    replication
        ``replication/genes.parquet``; it may be empty.
    cohort
        Name of the cohort.
    alpha
        Level of the false discovery rate.

    Returns
    -------
    pandas.DataFrame
        ``read_in_z`` (largest), ``write_out_z`` (of largest |z|), ``n_pathways``, ``stage_q``,
        ``replication``, ``seeds``, ``causal`` (whether a causal candidate leads with the gene).
    """
    leading = links[links["leading"].astype(bool)]
    summary = pd.DataFrame(index=pd.Index(sorted(set(genes)), name="gene"))
    summary["read_in_z"] = links[links["view"].eq("read_in")].groupby("gene")["z"].max()
    written = links[links["view"].eq("write_out")]
    strongest = written.assign(size=written["z"].astype(float).abs()).sort_values("size")
    summary["write_out_z"] = strongest.groupby("gene")["z"].last()
    summary["n_pathways"] = _pathways_of(pathways, alpha)
    summary["stage_q"] = _smallest_stage_q(leading, stages)
    summary["replication"] = _replication_of(leading, replication, cohort, alpha)
    summary["seeds"] = leading.groupby("gene")["seed"].nunique()
    summary["causal"] = leading.groupby("gene")["causal"].any().astype(bool)
    filled = {"n_pathways": 0, "seeds": 0, "causal": False, "replication": "not testable"}
    kinds = {"n_pathways": int, "seeds": int, "causal": bool, "replication": str}
    # Absent means none here; Series.where keeps the dtype warnings of fillna away.
    for name, value in filled.items():
        column = summary[name].astype(object)
        summary[name] = column.where(column.notna(), value).astype(kinds[name])
    return summary


def _pathways_of(pathways: pd.DataFrame, alpha: float) -> pd.Series:
    """Count the distinct enriched sets whose overlap or leading edge holds the gene."""
    enriched = pathways[pathways["q"].le(alpha)]
    genes = enriched.assign(gene=enriched["leading_edge"].str.split(";")).explode("gene")
    return genes.drop_duplicates(["library", "gene_set", "gene"]).groupby("gene").size()


def _smallest_stage_q(leading: pd.DataFrame, stages: pd.DataFrame) -> pd.Series:
    """Return the smallest primary q of the candidates that lead with the gene."""
    primary = stages[stages["primary"].astype(bool) & stages["status"].eq("tested")]
    smallest = primary.groupby(_CANDIDATE, as_index=False)["q"].min()
    joined = leading[[*_CANDIDATE, "gene"]].merge(
        smallest.rename(columns={"q": "stage_q"}), on=_CANDIDATE
    )
    return joined.groupby("gene")["stage_q"].min()


def _replication_of(
    leading: pd.DataFrame, replication: pd.DataFrame, cohort: str, alpha: float
) -> pd.Series:
    """Return ``replicated`` or ``not replicated`` for genes led by a matched candidate."""
    sides = []
    for side in "ab":
        rows = replication[replication[f"cohort_{side}"].eq(cohort)]
        sides.append(
            pd.DataFrame(
                {
                    "seed": rows[f"seed_{side}"].astype("int64"),
                    "candidate_id": rows[f"candidate_{side}"].astype(object),
                    "view": rows["view"].astype(object),
                    "agrees": (rows["q"].le(alpha) & rows["spearman"].gt(0)).astype(bool),
                }
            )
        )
    matched = leading.astype({"seed": "int64"}).merge(pd.concat(sides), on=[*_CANDIDATE, "view"])
    agrees = matched.groupby("gene")["agrees"].any()
    return pd.Series(np.where(agrees, "replicated", "not replicated"), index=agrees.index)
