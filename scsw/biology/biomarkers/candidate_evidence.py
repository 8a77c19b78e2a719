"""What the tables say about a candidate: its gene sets, disease stages and replication.

All of it is the candidate's, and so the same for every gene that is linked to it, apart from which
of the gene sets hold the gene.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scsw.biology.biomarkers.gene_evidence import CANDIDATE
from scsw.biology.enrich.calibration import is_enriched
from scsw.biology.replicate.replication_summary import against_both_nulls

CALIBRATED, NAIVE = "calibrated", "naive"


def enriched_sets(pathways: pd.DataFrame, alpha: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the gene sets that pass (`calibration.is_enriched`), and by which test.

    Parameters
    ----------
    pathways
        The cohort's ``pathways.parquet``.
    alpha
        Level of the false discovery rate.

    Returns
    -------
    pandas.DataFrame
        ``seed, candidate_id, library, gene_set, gene``, each once.
    pandas.DataFrame
        ``seed, candidate_id, pathway_test``: `CALIBRATED` where all sets of the candidate were
        compared with those of its controls, else `NAIVE`.
    """
    passing = pathways[is_enriched(pathways, alpha)]
    genes = passing.assign(gene=passing["leading_edge"].str.split(";")).explode("gene")
    names = [*CANDIDATE, "library", "gene_set", "gene"]
    fewest = pathways.groupby(CANDIDATE, as_index=False)["n_controls"].min()
    test = np.where(fewest["n_controls"].gt(0), CALIBRATED, NAIVE)
    return (
        genes[names].drop_duplicates(ignore_index=True),
        fewest[CANDIDATE].assign(pathway_test=test.astype(object)),
    )


def stage_evidence(stages: pd.DataFrame) -> pd.DataFrame:
    """Return the primary stage test of smallest q of each candidate that has one.

    Returns
    -------
    pandas.DataFrame
        ``seed, candidate_id, stage, stage_q, stage_class, stage_survives``; the last is whether a
        test that passes does so again on cells thinned to one depth: ``yes``, ``no``, ``not
        tested``, or "" where it did not pass.
    """
    primary = stages[stages["primary"].astype(bool) & stages["status"].eq("tested")]
    best = primary.sort_values(["q", "cell_class"], kind="stable").drop_duplicates(CANDIDATE)
    names = {"stage": "stage", "q": "stage_q", "cell_class": "stage_class"}
    names["survives_thinning"] = "stage_survives"
    return best[[*CANDIDATE, *names]].rename(columns=names).reset_index(drop=True)


def replication_evidence(replication: pd.DataFrame, *, cohort: str, alpha: float) -> pd.DataFrame:
    """Return in how many models of other cohorts each candidate's gene profile recurs.

    Cohorts that share donors with this one take no part: agreement with them is no evidence.

    Parameters
    ----------
    replication
        ``replication/genes.parquet``.
    cohort
        Name of the cohort.
    alpha
        Level of the false discovery rate.

    Returns
    -------
    pandas.DataFrame
        One row per candidate and view: ``seed, candidate_id, view, n_compared, n_replicated``.
    """
    independent = against_both_nulls(replication[replication["n_shared_donors"].eq(0)])
    sides = []
    for side in "ab":
        rows = independent[independent[f"cohort_{side}"].eq(cohort)]
        sides.append(
            pd.DataFrame(
                {
                    "seed": rows[f"seed_{side}"].astype("int64"),
                    "candidate_id": rows[f"candidate_{side}"].astype(object),
                    "view": rows["view"].astype(object),
                    "agrees": (rows["q"].le(alpha) & rows["spearman"].gt(0)).astype("int64"),
                }
            )
        )
    found = pd.concat(sides).groupby([*CANDIDATE, "view"], as_index=False)["agrees"]
    counts = found.agg(["size", "sum"]).rename(
        columns={"size": "n_compared", "sum": "n_replicated"}
    )
    return counts[[*CANDIDATE, "view", "n_compared", "n_replicated"]]


def with_candidate_evidence(
    genes: pd.DataFrame,
    pathways: pd.DataFrame,
    stages: pd.DataFrame,
    replication: pd.DataFrame,
    *,
    cohort: str,
    alpha: float,
) -> pd.DataFrame:
    """Add the evidence on each gene's best candidate.

    Parameters
    ----------
    genes
        Table from `gene_evidence.best_links`.
    pathways, stages, replication
        The cohort's gathered tables, and ``replication/genes.parquet``.
    cohort, alpha
        As in `replication_evidence`.

    Returns
    -------
    pandas.DataFrame
        `genes` with ``n_pathways, pathway_test, stage, stage_q, stage_class, stage_survives,
        n_compared, n_replicated, replication``. The view that is replicated is that in which the
        gene passes, else leads, else stands best. ``replicated`` means in at least half of the
        models compared.
    """
    sets, test = enriched_sets(pathways, alpha)
    counts = sets.groupby([*CANDIDATE, "gene"], as_index=False).size()
    counts = counts.rename(columns={"size": "n_pathways"})
    recurring = replication_evidence(replication, cohort=cohort, alpha=alpha)
    table = genes.reset_index().assign(view=lambda t: best_view(t))
    for other, keys in (
        (counts, [*CANDIDATE, "gene"]),
        (test, CANDIDATE),
        (stage_evidence(stages), CANDIDATE),
        (recurring, [*CANDIDATE, "view"]),
    ):
        known = other.astype({"seed": "int64", **{key: object for key in keys if key != "seed"}})
        table = table.merge(known, on=keys, how="left")
    for name in ("n_pathways", "n_compared", "n_replicated"):
        table[name] = table[name].astype("float64").fillna(0).astype(int)
    table["pathway_test"] = table["pathway_test"].where(table["pathway_test"].notna(), NAIVE)
    half = table["n_replicated"] * 2 >= table["n_compared"]
    table["replication"] = np.select(
        [table["n_compared"].eq(0), half], ["not testable", "replicated"], "not replicated"
    )
    return table.set_index("gene")


def best_view(genes: pd.DataFrame) -> np.ndarray:
    """Return the view that links a gene to its candidate, of the better place if both do."""

    def strength(view: str) -> pd.Series:
        place = genes[f"{view}_place"].astype(float) / (genes["n_genes"].astype(float) + 1)
        flags = [genes[f"{view}_{name}"].astype(float) for name in ("passes", "leads")]
        return 2 * flags[0] + flags[1] - place.fillna(1)

    better = strength("write_out").gt(strength("read_in"))
    return np.where(better, "write_out", "read_in").astype(object)
