"""Gene sets as a sparse matrix, and the over-representation of many gene lists at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import hypergeom

from scsw.biology.gene_sets import Library

_BATCH = 200  # lists at a time; 12 MB for 15,000 genes


def membership(
    sets: Mapping[str, Library], genes: Sequence[str]
) -> tuple[pd.DataFrame, csr_matrix]:
    """Return the sets of all libraries as the rows of one matrix.

    Parameters
    ----------
    sets
        Library → set → genes, all of them in `genes`.
    genes
        Names of the matrix's columns.

    Returns
    -------
    pandas.DataFrame, scipy.sparse.csr_matrix
        ``library, gene_set`` in the order of `sets`; float32 ones where a set holds a gene, shape
        (sets, genes).
    """
    names = [(library, name) for library, members in sets.items() for name in members]
    place = {gene: index for index, gene in enumerate(genes)}
    rows = [[place[gene] for gene in sets[library][name]] for library, name in names]
    starts = np.cumsum([0, *map(len, rows)])
    columns = np.array([column for row in rows for column in row], dtype=np.int32)
    ones = np.ones(len(columns), np.float32)
    matrix = csr_matrix((ones, columns, starts), shape=(len(names), len(genes)))
    matrix.sort_indices()
    return pd.DataFrame(names, columns=["library", "gene_set"], dtype=object), matrix


def hypergeometric_tails(
    overlap: np.ndarray, n_background: np.ndarray, n_in_set: np.ndarray, n_drawn: np.ndarray
) -> np.ndarray:
    """Return P(X ≥ overlap) for arrays of counts that broadcast against one another.

    Source: `scipy.stats.hypergeom.sf`, asked once for each combination that occurs: it takes
    30 µs a value, and a few thousand combinations stand for millions of tests.
    """
    counts = np.broadcast_arrays(overlap, n_background, n_in_set, n_drawn)
    shape = counts[0].shape
    flat = [np.ravel(count).astype(np.int64) for count in counts]
    code = np.ravel_multi_index(flat, [int(x.max(initial=0)) + 1 for x in flat])
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    hit, background, in_set, drawn = (count[first] for count in flat)
    # Without any overlap it is 1, also for a list without a background, for which scipy has none.
    tails = np.where(hit == 0, 1.0, hypergeom.sf(hit - 1, background, in_set, drawn))
    return tails[place].reshape(shape)


def over_representation_p(strength: np.ndarray, members: csr_matrix, top_genes: int) -> np.ndarray:
    """Test the leading genes of many lists against all sets.

    Parameters
    ----------
    strength
        Strength of each gene, shape (lists, genes); NaN where a list did not score the gene, which
        is then outside the list's background.
    members
        Matrix from `membership`.
    top_genes
        A list's leading genes are its first `top_genes` with a strength above zero. Ties go by the
        order of the columns; with columns sorted by name this is the rule of `ranking`.

    Returns
    -------
    numpy.ndarray
        P(X ≥ overlap) of the hypergeometric distribution, shape (sets, lists).
    """
    found = []
    for start in range(0, len(strength), _BATCH):
        part = strength[start : start + _BATCH]
        scored = np.isfinite(part)
        order = np.argsort(-part, axis=1, kind="stable")[:, :top_genes]  # NaN comes last
        leading = np.zeros(part.shape, np.float32)
        np.put_along_axis(leading, order, np.take_along_axis(part, order, 1) > 0, axis=1)
        overlap = members @ leading.T
        in_set = members @ scored.T.astype(np.float32)
        found.append(
            hypergeometric_tails(overlap, scored.sum(1), in_set, leading.sum(1, dtype=np.int64))
        )
    return np.concatenate(found, axis=1) if found else np.empty((members.shape[0], 0))
