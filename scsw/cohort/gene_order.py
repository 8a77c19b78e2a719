"""Files of one cohort whose counts are put one below another must name the same genes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scsw.cohort.count_matrix import CountMatrix, Reordered, Stacked
from scsw.errors import ScswError


def one_gene_order(
    parts: Sequence[tuple[pd.DataFrame, CountMatrix]],
) -> tuple[pd.DataFrame, CountMatrix]:
    """Stack the counts of several files in the order of the first one's genes.

    Parameters
    ----------
    parts
        The table of `scsw.cohort.genes.gene_frame` and the counts of each file.

    Raises
    ------
    ScswError
        If a file names other genes, or names in another order some that are not unique.
    """
    genes = parts[0][0]
    names = _names(genes)
    matrices = []
    for table, counts in parts:
        own = _names(table)
        same = own.equals(names)
        if not same and not (names.is_unique and own.is_unique and set(own) == set(names)):
            raise ScswError(
                f"{counts.where} and {parts[0][1].where} name different genes "
                f"({len(table)} and {len(genes)})",
                expected="files of one release with the same genes",
                fix="preprocess them as cohorts of their own",
            )
        matrices.append(counts if same else Reordered(counts, own.get_indexer(names)))
    return genes, matrices[0] if len(matrices) == 1 else Stacked(matrices)


def _names(genes: pd.DataFrame) -> pd.Index:
    return pd.Index(genes["ensembl_id"].where(genes["ensembl_id"] != "", genes["symbol"]))
