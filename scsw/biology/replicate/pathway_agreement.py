"""Whether two gene lists are enriched for the same gene sets, beyond what the sets bring along.

Sets differ in size and share genes. Both alone make the p-values of two unrelated gene lists
correlate over sets: a large set has some overlap with any list, a small one has none. A
permutation of set labels would take that for agreement, so the genes are permuted instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from scsw.biology.enrich.over_representation import over_representation
from scsw.biology.enrich.set_membership import membership
from scsw.biology.gene_sets import Library, testable_sets
from scsw.biology.ranking import leading_genes, ranked_genes, view_scores
from scsw.biology.replicate.matching import unit_ranks

NULL = (
    "permutation of the gene labels of cohort b with ora done again, one-sided, for the pairs "
    "matched on read_in"
)
_BATCH = 200  # draws at a time; 24 MB for 15,000 genes


@dataclass(frozen=True)
class GeneList:
    """A candidate's leading read-in genes, their background and the sets within it."""

    query: list[str]
    background: list[str]
    sets: dict[str, Library]

    def ora(self) -> pd.DataFrame:
        """Return ``library, gene_set, p`` of all sets; no rows without a query or a set."""
        table = over_representation(self.query, self.background, self.sets)
        names = ["library", "gene_set", "p"]
        return table[names] if self.query and len(table) else pd.DataFrame(columns=names)


def gene_list(
    gene_scores: pd.DataFrame,
    candidate: str,
    libraries: Mapping[str, Library],
    settings: SimpleNamespace,
) -> GeneList:
    """Return the list that the step `enrich` tests for the view ``read_in``.

    Parameters
    ----------
    gene_scores
        Table ``gene_scores.parquet``.
    candidate
        Its ``candidate_id``.
    libraries
        Library → set → genes.
    settings
        Section ``enrich`` of the config.
    """
    ranked = ranked_genes(view_scores(gene_scores, "read_in", candidate), "read_in")
    leads = leading_genes(ranked, "read_in", settings.top_genes)
    background = ranked["gene"].tolist()
    sets = testable_sets(libraries, background, settings)
    return GeneList(ranked.loc[leads, "gene"].tolist(), background, sets)


def agreement_by_library(
    a: GeneList, b: GeneList, *, permutations: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Correlate the ORA p-values of two gene lists over the sets of each library.

    Under the null list `b` is a random draw of as many genes from its background, and its
    hypergeometric p-values follow. p = (1 + number of draws with a Spearman at least as large) /
    (1 + permutations): one-sided, since agreement is a positive correlation.

    Parameters
    ----------
    a, b
        The two lists.
    permutations
        Number of draws.
    rng
        Source of the draws.

    Returns
    -------
    pandas.DataFrame
        ``library, n_sets, spearman, p`` over the sets tested on both lists; the last two are NaN
        where a list has one and the same p in all sets.
    """
    columns = ["library", "n_sets", "spearman", "p"]
    sets = a.ora().merge(b.ora(), on=["library", "gene_set"], suffixes=("_a", "_b"))
    if sets.empty:
        return pd.DataFrame(columns=columns)
    places = {name: np.asarray(rows) for name, rows in sets.groupby("library").indices.items()}
    # The rank of −log10 p is the rank of −p, also where p is too small to be told from 0.
    p_a, p_b = (-sets[name].to_numpy(float) for name in ("p_a", "p_b"))
    ranks = {name: (unit_ranks(p_a[rows]), unit_ranks(p_b[rows])) for name, rows in places.items()}
    null: dict[str, list[np.ndarray]] = {name: [] for name in places}
    genes = [b.sets[row.library][row.gene_set] for row in sets.itertuples()]
    for p in _permuted_p(genes, b.background, len(b.query), permutations, rng):
        for name, rows in places.items():
            null[name].append(ranks[name][0] @ unit_ranks(-p[rows]))
    found = []
    for name, (rank_a, rank_b) in ranks.items():
        result = {"library": name, "n_sets": len(places[name])}
        if rank_a.any() and rank_b.any():
            # Rounding keeps the last digits, which depend on the number of threads, out of it.
            rho = np.round(rank_a @ rank_b, 10)
            as_large = np.count_nonzero(np.round(np.concatenate(null[name]), 10) >= rho)
            result |= {"spearman": rho, "p": (1 + as_large) / (1 + permutations)}
        found.append(result)
    return pd.DataFrame(found, columns=columns)


def _permuted_p(
    genes: Sequence[Sequence[str]],
    background: Sequence[str],
    n_query: int,
    permutations: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yield the p-values of random lists in batches, each of shape (sets, draws)."""
    sizes = np.array([len(of_set) for of_set in genes])
    _, members = membership({"": dict(enumerate(genes))}, background)
    unique_sizes, code = np.unique(sizes, return_inverse=True)
    # P(X ≥ x) for each size of a set and each overlap x = 0 … n_query.
    overlaps = np.arange(n_query + 1)
    tail = hypergeom.sf(overlaps - 1, len(background), unique_sizes[:, None], n_query)
    for start in range(0, permutations, _BATCH):
        n = min(_BATCH, permutations - start)
        order = np.argpartition(rng.random((n, len(background))), n_query - 1, axis=1)
        chosen = np.zeros((len(background), n), np.float32)
        chosen[order[:, :n_query], np.arange(n)[:, None]] = 1
        overlap = (members @ chosen).astype(int)
        yield tail[code[:, None], overlap]
