"""What every reader hands on: counts, genes, harmonised annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort.coding import is_missing
from scsw.cohort.columns import Columns
from scsw.cohort.count_matrix import CountMatrix
from scsw.cohort.counts import check_barcodes, check_shape
from scsw.cohort.harmonise import DONOR_COLUMNS, check_donors, harmonise
from scsw.errors import ScswError


@dataclass
class SourceCohort:
    """A cohort as its source gives it, before quality control.

    Attributes
    ----------
    counts
        Counts on disk, cells × genes, not yet checked.
    genes
        ``symbol, ensembl_id, from_table`` (see `scsw.cohort.genes.gene_frame`), one row per column
        of `counts`; a symbol may occur more than once.
    obs
        Harmonised annotation with originals, index = cell id, one row per row of `counts`.
    excluded
        Name of a rule to the cells it leaves out (bool, shape (cells,)): the source's own marks
        and cells without donor or type. Quality control applies and counts them.
    files
        The files that were read.
    warnings
        Sentences for the report.
    coordinates
        Name to places of the cells, float, shape (cells, 2 or 3): spatial sources only.
    stated_counts
        Sum of counts of each cell as the source's own column gives it, float, shape (cells,); None
        where it has none.
    read_as
        Field to the column that holds it, "" for those that the source lacks; ``counts`` to the
        matrix.
    not_for_training
        Why no model can be fine-tuned on this source; "" for the usual one.
    """

    counts: CountMatrix
    genes: pd.DataFrame
    obs: pd.DataFrame
    excluded: dict[str, np.ndarray] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    coordinates: dict[str, np.ndarray] = field(default_factory=dict)
    stated_counts: np.ndarray | None = None
    read_as: dict[str, str] = field(default_factory=dict)
    not_for_training: str = ""


def assemble(
    counts: CountMatrix,
    genes: pd.DataFrame,
    coded: Mapping[str, pd.Series],
    columns: Columns,
    files: Sequence[str | Path],
    excluded: Mapping[str, np.ndarray] | None = None,
) -> SourceCohort:
    """Check the parts that a reader found and put them together.

    Parameters
    ----------
    counts
        Counts, cells × genes.
    genes
        The table of `scsw.cohort.genes.gene_frame`.
    coded
        Harmonised columns by name, all with the index of cells.
    columns
        The source's columns, for the originals.
    files
        The files that were read.
    excluded
        The source's own exclusions.

    Raises
    ------
    ScswError
        Wrong orientation, barcodes that stay ambiguous, values outside a coding, no donors or no
        cell types, donors with two values of one property or two names.
    """
    n_cells = len(columns.table)
    if not n_cells:
        raise ScswError(f"{columns.where} holds no cells", expected="one row per cell")
    check_shape(counts.shape, n_cells, len(genes), counts.where)
    excluded = dict(excluded or {})
    for name, label in (("donor_id", "no_donor_id"), ("cell_type", "no_cell_type")):
        missing = is_missing(coded[name])
        if missing.all():
            raise ScswError(
                f"{columns.where} names no {name.replace('_', ' ')} for any of its "
                f"{n_cells} cells (column {columns.name(name)!r})",
                expected="a value per cell",
                fix=f"name the right column under `columns: {name}:` in the config",
            )
        excluded[label] = missing
    cell_id, warnings = _cell_ids(columns.table.index, coded)
    warnings += _alike(coded["cell_type"])
    if "study" in coded:
        warnings += _shared_names(coded["donor_id"], coded["study"])
    parts = {"cell_id": cell_id, **coded, **columns.originals()}
    index = pd.Index(cell_id, dtype=object)
    # Columns are taken as they stand: aligning millions of rows by name would copy them all.
    table = {name: getattr(part, "array", part) for name, part in parts.items()}
    obs = harmonise(pd.DataFrame(table, index=index, copy=False))
    # Told here, before hours of reading; cells that are left out may belong to nobody.
    left = ~np.logical_or.reduce(list(excluded.values()))
    check_donors(obs.loc[left, ["donor_id", *DONOR_COLUMNS]])
    read_as = {"counts": counts.where, **columns.read_as()}
    paths = [Path(file) for file in files]
    return SourceCohort(counts, genes, obs, excluded, paths, warnings, read_as=read_as)


def _alike(cell_type: pd.Series) -> list[str]:
    """Warn of cell types that differ in case only, as where files were put together."""
    names = pd.Series(sorted(map(str, cell_type.unique())), dtype=object)
    same = names[names.str.casefold().duplicated(keep=False)]
    if same.empty:
        return []
    told = ", ".join(map(repr, same[:6]))
    return [f"Cell types that differ in case only are kept apart: {told}."]


def _shared_names(donor: pd.Series, study: pd.Series) -> list[str]:
    """Warn of donors' names that several studies use: each is taken for one person."""
    pairs = pd.DataFrame({"donor": donor.array, "study": study.array}).drop_duplicates()
    pairs = pairs[pairs["study"].astype(str) != ""]
    shared = sorted(set(pairs.loc[pairs["donor"].duplicated(), "donor"].astype(str)) - {""})
    if not shared:
        return []
    return [
        f"{len(shared)} donors' names, such as {shared[0]}, stand in several studies; each is "
        "taken for one donor, so that no donor can be in two parts of the split."
    ]


def _cell_ids(barcodes: pd.Index, coded: Mapping[str, pd.Series]) -> tuple[np.ndarray, list[str]]:
    """Return unique names of the cells.

    Libraries that were put together often share barcodes: then each gets its batch's or its
    donor's name before it, if that makes all of them unique.
    """
    barcodes = pd.Index(barcodes.astype(str), dtype=object)
    if barcodes.has_duplicates and not (barcodes == "").any():
        for name in ("batch", "donor_id"):
            if name in coded:
                longer = coded[name].astype(str).to_numpy(object) + ":" + barcodes.to_numpy()
                if not pd.Index(longer).has_duplicates:
                    shared = int(barcodes.duplicated(keep=False).sum())
                    sentence = (
                        f"{shared} cells shared their barcodes with others, so every cell is named "
                        f"by its {name.replace('_id', '')} and barcode."
                    )
                    return longer, [sentence]
    check_barcodes(barcodes)
    return barcodes.to_numpy(), []
