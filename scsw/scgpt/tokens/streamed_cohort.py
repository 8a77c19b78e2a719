"""A cohort whose counts stay on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from anndata import AnnData

from scsw.cohort.h5ad import open_h5ad, read_columns
from scsw.cohort.read import cohort_facts
from scsw.errors import ScswError
from scsw.scgpt.tokens.streamed_rows import StreamedRows

# What a tokenizer, training and evaluation look at; the others of a large cohort would take more
# memory than its window of counts.
_COLUMNS = ("cell_id", "donor_id", "cell_type", "cell_class", "split", "batch")


def streamed_cells(path: str | Path, splits: Iterable[str]) -> tuple[AnnData, StreamedRows]:
    """Return the cells of some splits of a ``cohort.h5ad``, and apart their counts, on disk.

    Parameters
    ----------
    path
        ``cohort.h5ad``.
    splits
        Splits whose cells are wanted.

    Returns
    -------
    tuple of anndata.AnnData and StreamedRows
        Cells in the order of the file, so that neighbours are read together, without ``X`` and
        with the columns of ``obs`` that training needs; and the rows of their counts, for
        `cohort_tokenizer`.

    Raises
    ------
    ScswError
        If the file is no scsw cohort, or no cell is in these splits.
    """
    wanted, facts = list(splits), cohort_facts(path)
    with open_h5ad(path) as file:
        obs, var = read_columns(file, "obs", _COLUMNS), read_columns(file, "var")
    file_rows = np.flatnonzero(obs["split"].isin(wanted))
    if not file_rows.size:
        raise ScswError(
            f"{path} has no cell in {', '.join(wanted)}",
            fix="give these splits a share in the config's section `preprocess`",
        )
    cells = AnnData(obs=obs.iloc[file_rows], var=var, uns={"scsw": facts})
    return cells, StreamedRows(path, file_rows)
