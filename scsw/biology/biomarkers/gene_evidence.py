"""What the tables say about each gene: its link to every candidate, and which of them is best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scsw.biology.ranking import VIEWS, leading_genes, ranked_genes, view_scores

CANDIDATE = ["seed", "candidate_id"]
# Grades of a gene's link to a candidate, best first.
GRADES = ("supported", "associated", "listed", "unlinked")


def considered_candidates(verdicts: pd.DataFrame, max_candidates: int) -> pd.DataFrame:
    """Return the best `max_candidates` of each seed and every one with a causal verdict."""
    return verdicts[verdicts["rank"].le(max_candidates) | verdicts["causal"].astype(bool)]


def gene_links(
    gene_scores: Sequence[pd.DataFrame],
    ranks: Sequence[pd.DataFrame],
    candidates: pd.DataFrame,
    *,
    top_genes: int,
    alpha: float,
) -> pd.DataFrame:
    """Return one row per candidate and gene with a combined rank.

    A gene **leads** a view if it is one of its leading genes (`ranking.leading_genes`). It
    **passes** a view if it leads it and stands out at the level `alpha` from matched genes
    (``q``) and, where these were tested, from what matched hidden units or rows do to it
    (``unit_q``), and in write-out if the interval over donors leaves out 0.

    Parameters
    ----------
    gene_scores
        Rows over all cells of ``gene_scores.parquet``, one table per seed.
    ranks
        `combined_ranking.combined_ranking` of each of these tables.
    candidates
        Rows of ``verdicts.parquet`` to consider.
    top_genes
        Most leading genes per candidate and view.
    alpha
        Level of the false discovery rate.

    Returns
    -------
    pandas.DataFrame
        ``seed, candidate_id, candidate_rank, verdict, causal, gene, combined_rank, n_genes,
        direction_z, grade``, and for ``read_in`` and ``write_out`` ``…_z, …_q, …_unit_q, …_place,
        …_leads, …_passes``. z and place are those of `ranking.ranked_genes`.
    """
    by_seed = {
        int(table["seed"].iloc[0]): (table, combined.set_index("candidate_id"))
        for table, combined in zip(gene_scores, ranks, strict=True)
        if len(table)
    }
    tables = []
    for seed, judged in candidates.groupby("seed"):
        if seed not in by_seed:
            continue
        scores, combined = by_seed[seed]
        for row in judged.sort_values("rank").itertuples():
            if row.candidate_id not in combined.index:
                continue
            places = combined.loc[[row.candidate_id], ["gene", "combined_rank", "n_genes"]]
            own = scores[scores["candidate_id"].eq(row.candidate_id)]
            table = places.reset_index().merge(
                _all_views(own, row.candidate_id, top_genes, alpha), on="gene", how="left"
            )
            about = {"seed": seed, "candidate_rank": row.rank, "verdict": row.verdict}
            tables.append(table.assign(**about, causal=bool(row.causal)))
    if not tables:
        return pd.DataFrame(columns=_columns())
    table = pd.concat(tables, ignore_index=True)
    return table.assign(grade=_grades(table))[_columns()]


def _columns() -> list[str]:
    names = [*CANDIDATE, "candidate_rank", "verdict", "causal", "gene", "combined_rank", "n_genes"]
    own = ("z", "q", "unit_q", "place", "leads", "passes")
    return [*names, "direction_z", "grade", *[f"{view}_{name}" for view in VIEWS for name in own]]


def _all_views(scores: pd.DataFrame, candidate: str, top_genes: int, alpha: float) -> pd.DataFrame:
    """Return what each view of one candidate says, one row per gene scored in any."""
    direction = view_scores(scores, "direction", candidate).set_index("gene")["z"]
    tables = [direction.rename("direction_z")]
    for view in VIEWS:
        own = view_scores(scores, view, candidate)
        ranked = ranked_genes(own, view).set_index("gene")
        table = ranked[["z", "q", "place"]].copy()
        table["unit_q"] = own.set_index("gene")["unit_q"] if "unit_q" in own else np.nan
        table["leads"] = leading_genes(ranked, view, top_genes)
        stands_out = table["q"].le(alpha) & (table["unit_q"].isna() | table["unit_q"].le(alpha))
        table["passes"] = table["leads"] & stands_out & _sure_of_sign(own).reindex(table.index)
        tables.append(table.add_prefix(f"{view}_"))
    joined = pd.concat(tables, axis=1).rename_axis("gene").reset_index()
    flags = [f"{view}_{name}" for view in VIEWS for name in ("leads", "passes")]
    return joined.assign(**{name: joined[name].eq(True) for name in flags})


def _sure_of_sign(scores: pd.DataFrame) -> pd.Series:
    """Tell which genes have no interval over donors, or one without 0; indexed by gene."""
    sure = pd.Series(True, index=scores["gene"])
    if "score_low" in scores:
        low, high = (scores[name].to_numpy(float) for name in ("score_low", "score_high"))
        sure[:] = np.isnan(low) | (low > 0) | (high < 0)
    return sure


def _grades(links: pd.DataFrame) -> np.ndarray:
    leads, passes = (
        np.any([links[f"{view}_{name}"].astype(bool) for view in VIEWS], axis=0)
        for name in ("leads", "passes")
    )
    causal = links["causal"].to_numpy(bool)
    return np.select([passes & causal, passes, leads], GRADES[:3], GRADES[3])


def best_links(links: pd.DataFrame) -> pd.DataFrame:
    """Return one row per gene, index = gene: its best link, and its rank among the genes.

    A gene's best link has the best grade, then the smallest combined rank as a share of the genes,
    then the better rank of the candidate, then the lower seed. Genes rank by grade, by the number
    of seeds in which some candidate gives them that grade, by that share, and by name. Pathways,
    stages, replication and GWAS do not count: pathways are made of the same scores, stages
    and replication belong to the candidate and so to all its genes alike, and GWAS is known
    beforehand. Candidates of one model that share a row or column give a gene one seed, not two.

    Parameters
    ----------
    links
        Table from `gene_links`.

    Returns
    -------
    pandas.DataFrame
        Columns of `links`, with ``seeds`` and ``rank`` (from 1).
    """
    order = links.assign(
        _grade=links["grade"].map(GRADES.index),
        _share=links["combined_rank"].astype(float) / links["n_genes"].astype(float),
    )
    keys = ["_grade", "_share", "candidate_rank", "seed", "candidate_id"]
    best = order.sort_values(keys, kind="stable").drop_duplicates("gene").set_index("gene")
    at_best = order["_grade"].eq(order["gene"].map(best["_grade"]))
    graded = order[at_best & order["grade"].ne("unlinked")]
    seeds = graded.groupby("gene")["seed"].nunique()
    best["seeds"] = seeds.reindex(best.index, fill_value=0).astype(int)
    best = best.assign(_gene=best.index, _seeds=-best["seeds"])
    best = best.sort_values(["_grade", "_seeds", "_share", "_gene"])
    best["rank"] = np.arange(1, len(best) + 1)
    return best[[name for name in best.columns if not name.startswith("_")]]
