"""Whether the three views of a candidate put the same genes first, beyond what their like do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from scsw.biology.biomarkers.combined_ranking import ALL_VIEWS
from scsw.biology.enrich.calibration_controls import Controls
from scsw.biology.ranking import strengths
from scsw.biology.replicate.matching import profiles, unit_ranks
from scsw.biology.tables import benjamini_hochberg

STRATUM = 20  # genes of like detection rate and mean bin among which labels are permuted
NULL = (
    "permutation of the second view's gene labels within groups of genes of like detection rate "
    "and mean bin (gene-level), one-sided"
)
OVERLAP_NULL = "hypergeometric distribution of the overlap of two leading lists (gene-level)"
CONTROL_NULL = (
    "the same hidden unit's change made to other output channels: their write-out in place of the "
    "candidate's, one-sided"
)
_COLUMNS = (
    "candidate_id view_a view_b n_genes spearman null_spearman p q null top_a top_b overlap "
    "expected overlap_p overlap_q overlap_null n_controls control_spearman control_p control_q "
    "control_null"
).split()


def view_agreement(
    gene_scores: pd.DataFrame,
    controls: Controls | None = None,
    *,
    top_genes: int,
    permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Compare every two views of every candidate of one model.

    What is compared is the strength by which a view ranks genes: oriented z of read-in, |z| of
    write-out and of direction. The null keeps what detection rate and mean bin alone bring about.
    p = (1 + number of permutations with a Spearman at least as large) / (1 + permutations). The
    overlap of the two lists of leading genes is set against the hypergeometric distribution,
    which knows no such confounder. Read-in and write-out are both measured at the gene's own
    token, where the candidate adds w·h; so any row that the hidden unit wrote to would be changed
    at the genes that it reads. Therefore their Spearman is also compared with that of the control
    edits of the same hidden unit: p = (1 + number of edits with one at least as large) /
    (1 + edits). q is Benjamini–Hochberg over the rows of the model, for each test.

    Parameters
    ----------
    gene_scores
        Rows over all cells of ``gene_scores.parquet``, one model.
    controls
        The control edits of this model; without them their columns are missing.
    top_genes
        Most genes of a leading list.
    permutations, seed
        Number of permutations and their seed.

    Returns
    -------
    pandas.DataFrame
        One row per candidate and pair of views. A view in which no gene differs is left out.
    """
    by_view = {view: strengths(profiles(gene_scores, view), view) for view in ALL_VIEWS}
    filled = [table for table in by_view.values() if table.shape[1]]
    if len(filled) < 2:
        return pd.DataFrame(columns=_COLUMNS)
    genes = sorted(set.intersection(*(set(table.dropna().index) for table in filled)))
    by_view = {view: table.reindex(genes) for view, table in by_view.items()}
    pairs = [
        (name, a, b)
        for name in sorted({name for table in filled for name in table.columns})
        for a, b in combinations(ALL_VIEWS, 2)
        if len(genes) > 1 and name in by_view[a] and name in by_view[b]
    ]
    if not pairs:
        return pd.DataFrame(columns=_COLUMNS)
    first, second = (
        pd.DataFrame({i: by_view[pair[side]][pair[0]] for i, pair in enumerate(pairs)})
        for side in (1, 2)
    )
    groups = strata(gene_scores, genes)
    rng = np.random.default_rng(seed)
    table = pd.concat(
        [
            pd.DataFrame(pairs, columns=["candidate_id", "view_a", "view_b"]),
            _correlations(first, second, groups, permutations, rng),
            _overlaps(first, second, top_genes),
            _beside_edits(pairs, first, second, controls),
        ],
        axis=1,
    )
    table = table.assign(n_genes=len(genes), null=NULL, overlap_null=OVERLAP_NULL)
    table["q"] = benjamini_hochberg(table["p"])
    table["overlap_q"] = benjamini_hochberg(table["overlap_p"])
    table["control_q"] = benjamini_hochberg(table["control_p"])
    return table[_COLUMNS]


def strata(gene_scores: pd.DataFrame, genes: Sequence[str]) -> np.ndarray:
    """Group genes of like detection rate and mean bin, about `STRATUM` to a group.

    Genes are cut into equal parts by detection rate, and each part into as many by mean bin.

    Returns
    -------
    numpy.ndarray
        Number of the group of each of `genes`, int64, shape (genes,).
    """
    about = gene_scores.drop_duplicates("gene").set_index("gene").loc[list(genes)]
    n_parts = max(1, round(np.sqrt(len(genes) / STRATUM)))
    parts = equal_parts(about["detection_rate"].to_numpy(float), n_parts)
    mean_bin = about["mean_bin"].to_numpy(float)
    groups = np.zeros(len(genes), dtype=np.int64)
    for part in range(n_parts):
        own = parts == part
        groups[own] = part * n_parts + equal_parts(mean_bin[own], n_parts)
    return groups


def equal_parts(values: np.ndarray, n: int) -> np.ndarray:
    """Cut values into `n` groups of nearly equal size by their order; int64, 0 is the lowest."""
    order = np.argsort(values, kind="stable")
    parts = np.empty(len(values), dtype=np.int64)
    parts[order] = np.arange(len(values)) * n // max(len(values), 1)
    return parts


def _correlations(
    first: pd.DataFrame,
    second: pd.DataFrame,
    groups: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return ``spearman, null_spearman, p`` of each column of `first` with that of `second`."""
    a, b = unit_ranks(first), unit_ranks(second)
    together = np.argsort(groups, kind="stable")  # members of a group stand side by side
    null = np.empty((permutations, a.shape[1]))
    a_together = a[together]
    for index in range(permutations):
        shuffled = np.lexsort((rng.random(len(groups)), groups))
        null[index] = np.einsum("gk,gk->k", a_together, b[shuffled])
    # Rounding keeps the last digits, which depend on the order of sums, out of the result.
    rho = np.round(np.einsum("gk,gk->k", a, b), 10)
    as_large = (np.round(null, 10) >= rho).sum(axis=0)
    p = (1 + as_large) / (1 + permutations)
    return pd.DataFrame({"spearman": rho, "null_spearman": null.mean(axis=0), "p": p})


def _beside_edits(
    pairs: Sequence[tuple[str, str, str]],
    first: pd.DataFrame,
    second: pd.DataFrame,
    controls: Controls | None,
) -> pd.DataFrame:
    """Compare read-in and write-out with the write-out of the same unit into other channels."""
    rows = []
    for place, (name, *views) in enumerate(pairs):
        row = {"n_controls": 0, "control_spearman": np.nan, "control_p": np.nan}
        row["control_null"] = ""
        if controls is not None and views == ["read_in", "write_out"]:
            z = controls.z(name, "write_out", list(first.index), nearest=True)
            z = z[np.isfinite(z).all(axis=1)]
            if len(z):
                read = unit_ranks(first[place])
                own = np.round(read @ unit_ranks(second[place]), 10)
                edits = np.round(read @ unit_ranks(np.abs(z.T).astype(float)), 10)
                p = (1 + np.count_nonzero(edits >= own)) / (1 + len(edits))
                row |= {"n_controls": len(edits), "control_spearman": edits.mean()}
                row |= {"control_p": p, "control_null": CONTROL_NULL}
        rows.append(row)
    return pd.DataFrame(rows)


def _overlaps(first: pd.DataFrame, second: pd.DataFrame, top_genes: int) -> pd.DataFrame:
    """Return how many leading genes two views share, and how likely chance shares as many."""
    n = len(first)
    leads_a, leads_b = (_leading(table, top_genes) for table in (first, second))
    top_a, top_b = leads_a.sum(axis=0), leads_b.sum(axis=0)
    overlap = (leads_a & leads_b).sum(axis=0)
    return pd.DataFrame(
        {
            "top_a": top_a,
            "top_b": top_b,
            "overlap": overlap,
            "expected": top_a * top_b / n,
            "overlap_p": hypergeom.sf(overlap - 1, n, top_a, top_b),
        }
    )


def _leading(strength: pd.DataFrame, top_genes: int) -> np.ndarray:
    """Return the first `top_genes` of each column with a strength above zero; ties by gene."""
    values = strength.to_numpy(float)
    places = np.argsort(np.argsort(-values, axis=0, kind="stable"), axis=0)
    return (places < top_genes) & (values > 0)
