"""What every reader hands on: counts, genes, harmonised annotation."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.coding import is_missing
from scsw.cohort.columns import Columns
from scsw.cohort.counts import check_barcodes, check_shape, sum_duplicate_symbols, whole_counts
from scsw.cohort.harmonise import harmonise
from scsw.errors import ScswError


@dataclass
class SourceCohort:
    """A cohort as its source gives it, before quality control.

    Attributes
    ----------
    counts
        Raw counts, cells × genes, int32 CSR.
    genes
        ``symbol, ensembl_id, from_table`` (see `scsw.cohort.genes.gene_frame`), one row per column
        of `counts`; symbols are unique.
    obs
        Harmonised annotation with originals, index = cell id, one row per row of `counts`.
    excluded
        Name of a rule to the cells it leaves out (bool, shape (cells,)): the source's own marks
        and cells without donor or type. Quality control applies and counts them.
    n_source_genes
        Genes of the source before those of one symbol were added up.
    """

    counts: sparse.csr_matrix
    genes: pd.DataFrame
    obs: pd.DataFrame
    excluded: dict[str, np.ndarray] = field(default_factory=dict)
    n_source_genes: int = 0


def assemble(
    matrix: object,
    genes: pd.DataFrame,
    coded: dict[str, pd.Series],
    columns: Columns,
    *,
    where: str,
    advice: str,
    excluded: dict[str, np.ndarray] | None = None,
) -> SourceCohort:
    """Check the parts that a reader found and put them together.

    Parameters
    ----------
    matrix
        Counts, cells × genes, dense or sparse.
    genes
        The table of `scsw.cohort.genes.gene_frame`.
    coded
        Harmonised columns by name, all with the index of cells.
    columns
        The source's columns, for the originals.
    where, advice
        Where the counts stood, and where this source keeps raw counts, for messages.
    excluded
        The source's own exclusions.

    Raises
    ------
    ScswError
        Wrong orientation, no raw counts, duplicate barcodes, values outside a coding, no donors
        or no cell types.
    """
    obs = pd.DataFrame(coded, index=columns.table.index)
    obs.insert(0, "cell_id", obs.index.astype(str))
    obs.index = pd.Index(obs["cell_id"].to_numpy(), dtype=object)
    if obs.empty:
        raise ScswError(f"{columns.where} holds no cells")
    check_shape(matrix.shape, len(obs), len(genes), where)
    check_barcodes(obs.index)
    excluded = dict(excluded or {})
    for name, label in (("donor_id", "no_donor_id"), ("cell_type", "no_cell_type")):
        missing = is_missing(obs[name])
        if missing.all():
            raise ScswError(
                f"{columns.where} names no {name.replace('_', ' ')} for any of its "
                f"{len(obs)} cells (column {columns.name(name)!r})",
                expected="a value per cell",
                fix=f"name the right column under `columns: {name}:` in the config",
            )
        excluded[label] = missing
    originals = columns.originals()
    originals.index = obs.index
    obs = harmonise(pd.concat([obs, originals], axis=1))
    counts, unique_genes = sum_duplicate_symbols(whole_counts(matrix, where, advice), genes)
    return SourceCohort(counts, unique_genes, obs, excluded, n_source_genes=len(genes))
