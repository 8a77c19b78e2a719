"""What each filter of ``qc.tsv`` removes, in words, with the threshold of the config."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words

# The value of the config's key of the same name stands in place of the braces.
_REMOVED = {
    "not_used": "left out by the source",
    "no_donor_id": "no donor named",
    "no_cell_type": "no cell type named",
    "min_genes": "fewer than {} genes",
    "min_counts": "fewer than {} counts",
    "max_pct_mito": "over {} % mitochondrial",
    "max_doublet_score": "doublet score over {}",
    "min_cells_per_type": "types of under {} cells",
    "max_cells_per_donor_and_type": "over {} of a donor and type",
    "max_cells_per_donor": "over {} of a donor",
    "type_not_in_training": "types without a training cell",
    "no_matched_counts": "no count of a matched gene",
}


def removed_by(name: str, settings: dict[str, Any]) -> str:
    """Say what a filter of cells removes.

    Parameters
    ----------
    name
        ``filter`` in ``qc.tsv``; one without words here, or whose key is null, is written with
        spaces.
    settings
        The config's section `preprocess`.
    """
    text, limit = _REMOVED.get(name), settings.get(name)
    if text is None or ("{}" in text and limit is None):
        return name.replace("_", " ")
    return text.format(words.amount(limit))


def cell_filters(qc: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    """Return the filters of cells, in order.

    Returns
    -------
    pandas.DataFrame
        ``label, before, removed, after``.
    """
    cells = qc[qc["axis"] == "cells"]
    labels = [removed_by(str(name), settings) for name in cells["filter"]]
    return cells[["before", "removed", "after"]].assign(label=labels).reset_index(drop=True)
