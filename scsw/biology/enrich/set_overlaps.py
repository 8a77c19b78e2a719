"""How many genes gene sets share: sets that overlap may be one finding."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from scsw.biology.gene_sets import Library

_COLUMNS = "library_a set_a library_b set_b n_a n_b n_shared jaccard shared".split()


def set_overlaps(sets: Mapping[str, Library]) -> pd.DataFrame:
    """Compare each pair of sets.

    Parameters
    ----------
    sets
        Library → set → genes.

    Returns
    -------
    pandas.DataFrame
        ``library_a, set_a, library_b, set_b, n_a, n_b, n_shared, jaccard`` (shared genes / genes
        in either)``, shared`` (the genes, joined by ``;``): a row per pair, most alike first.
    """
    genes = {(lib, name): set(found) for lib, own in sets.items() for name, found in own.items()}
    rows = []
    for a, b in combinations(genes, 2):
        shared = sorted(genes[a] & genes[b])
        jaccard = len(shared) / len(genes[a] | genes[b])
        sizes = (len(genes[a]), len(genes[b]), len(shared))
        rows.append((*a, *b, *sizes, jaccard, ";".join(shared)))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    order = ["jaccard", "library_a", "set_a", "library_b", "set_b"]
    return table.sort_values(order, ascending=[False, True, True, True, True], kind="stable")
