"""Quality control of cells and genes; every loss is counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.cohort.sampling import cap_each_type, cap_rare_first
from scsw.cohort.spool import Spool
from scsw.errors import ScswError

# In this order: types are thinned before places are divided among them.
_CAPS = (
    ("max_cells_per_donor_and_type", cap_each_type, "a donor's cell type"),
    ("max_cells_per_donor", cap_rare_first, "a donor"),
)
# Sums of real cells spread by half their mean or so, those of values per 10,000 by rounding alone.
_LEAST_SPREAD = 0.02
_FEWEST_TO_TELL = 50  # cells
_USUAL_SHARE = 0.8  # of a cell's counts that are left where genes were filtered
_DRAWN_BY = ["cell_id", "donor_id", "cell_type"]


class QcLog:
    """Collects the rows of ``qc.tsv``."""

    def __init__(self) -> None:
        self._rows: list[dict[str, object]] = []

    def add(self, axis: str, name: str, before: int, removed: int, detail: str) -> None:
        """Add one filter: what it met, what it removed, and its threshold in words."""
        self._rows.append(
            {"axis": axis, "filter": name, "before": int(before), "removed": int(removed)}
            | {"after": int(before - removed), "detail": detail}
        )

    def table(self) -> pd.DataFrame:
        """Return ``axis, filter, before, removed, after, detail``, one row per filter."""
        return pd.DataFrame(self._rows)

    def told(self) -> str:
        """Return the filters that removed something, as one line for a message."""
        return "; ".join(
            f"{row['filter']} removed {row['removed']} of {row['before']}"
            for row in self._rows
            if row["removed"]
        )


def add_measures(obs: pd.DataFrame, measures: pd.DataFrame, symbols: pd.Series) -> pd.DataFrame:
    """Add each cell's measures over all genes of the source to its annotation.

    Parameters
    ----------
    obs
        Annotation; its ``pct_mito`` stands where the source has no mitochondrial gene.
    measures
        ``total_counts, n_genes, mito_counts`` in the same order.
    symbols
        Gene symbols; those that begin with ``MT-`` are mitochondrial.

    Returns
    -------
    pandas.DataFrame
        `obs` with ``total_counts, n_genes`` (int64) and ``pct_mito`` (per cent; NaN if neither
        counted nor given).
    """
    total = measures["total_counts"].to_numpy()
    measured = {"total_counts": total, "n_genes": measures["n_genes"].to_numpy()}
    if symbols.str.startswith("MT-").any():
        measured["pct_mito"] = 100.0 * measures["mito_counts"].to_numpy() / np.maximum(total, 1)
    columns = {name: obs[name].array for name in obs} | measured
    return pd.DataFrame(columns, index=obs.index, copy=False)  # of millions of cells: no copy


def keep_cells(
    obs: pd.DataFrame, excluded: dict[str, np.ndarray], settings: SimpleNamespace, log: QcLog
) -> np.ndarray:
    """Apply the filters of the config's `preprocess` section to cells, in a fixed order.

    Parameters
    ----------
    obs
        Annotation with the measures of `measure`.
    excluded
        The reader's exclusions by name; applied first.
    settings
        The section's keys.
    log
        Gets one row per filter.

    Returns
    -------
    numpy.ndarray
        Which cells are kept; bool, shape (cells,).

    Raises
    ------
    ScswError
        If no cell is left.
    """
    keep = np.ones(len(obs), bool)

    def drop(name: str, fails: np.ndarray, detail: str) -> None:
        nonlocal keep
        log.add("cells", name, keep.sum(), (keep & fails).sum(), detail)
        keep = keep & ~fails

    for name, cells in excluded.items():
        drop(name, cells, "left out by the source or without a needed label")
    for name, column, fails in _thresholds(settings):
        values = obs[column].to_numpy(float)
        unknown = "; not given" if np.isnan(values).all() else ""
        # A comparison with NaN is False, so a cell without the measure passes.
        drop(name, fails(values), f"{column} {_limit(name)} {getattr(settings, name)}{unknown}")
    drop_rare = "min_cells_per_type"
    drop(drop_rare, *_rare_types(obs, keep, settings.min_cells_per_type))
    for name, draw, of_each in _CAPS:
        if (cap := getattr(settings, name)) is not None:
            capped = np.zeros(len(obs), bool)
            chosen = draw(obs.loc[keep, _DRAWN_BY], cap, settings.split_seed)
            capped[np.flatnonzero(keep)[~chosen]] = True
            drop(name, capped, f"at most {cap} of {of_each}")
            drop(drop_rare, *_rare_types(obs, keep, settings.min_cells_per_type))
    if not keep.any():
        raise ScswError(
            f"no cell of {len(obs)} passes quality control: {log.told()}",
            expected="raw counts of whole cells or nuclei",
            fix="look at the thresholds in the config's section `preprocess`; whole cells need "
            "a larger max_pct_mito than nuclei",
        )
    return keep


def count_genes(spool: Spool, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count over the kept cells.

    Parameters
    ----------
    spool
        The cohort's counts.
    keep
        Which cells are kept; bool, shape (cells,).

    Returns
    -------
    tuple of numpy.ndarray
        Of each gene the cells that express it, and the sum of its counts; int64, shape (genes,).
    """
    n_cells, n_counts = np.zeros(spool.n_genes, np.int64), np.zeros(spool.n_genes, np.int64)
    for block in spool.blocks():
        wanted = keep[block.kept]
        counts = block.counts if wanted.all() else block.counts[wanted]
        n_cells += np.bincount(counts.indices, minlength=spool.n_genes)
        # Sums of whole numbers are exact in float64 up to 2⁵³.
        sums = np.bincount(counts.indices, counts.data, minlength=spool.n_genes)
        n_counts += sums.astype(np.int64)
    return n_cells, n_counts


def keep_genes(n_cells: np.ndarray, settings: SimpleNamespace, log: QcLog) -> np.ndarray:
    """Keep the genes that enough cells express.

    Parameters
    ----------
    n_cells
        Kept cells that express each gene, shape (genes,).
    settings
        Keys of the config's section `preprocess`.
    log
        Gets one row.

    Returns
    -------
    numpy.ndarray
        Which genes are kept; bool, shape (genes,).
    """
    keep = n_cells >= settings.min_cells_per_gene
    detail = f"expressed in at least {settings.min_cells_per_gene} kept cells"
    log.add("genes", "min_cells_per_gene", len(keep), (~keep).sum(), detail)
    if not keep.any():
        raise ScswError(
            f"no gene of {len(keep)} is {detail}",
            fix="lower preprocess.min_cells_per_gene",
        )
    return keep


def check_depths(obs: pd.DataFrame, where: str) -> None:
    """Raise if whole numbers cannot be raw counts: all are 1, or all cells have the same sum.

    Parameters
    ----------
    obs
        ``total_counts, n_genes`` of the cells that are kept.
    where
        Where the counts stand, for the message.

    Raises
    ------
    ScswError
        For presence and absence of genes, and for rounded values per 10,000 or the like.
    """
    total, advice = obs["total_counts"], "use the matrix of raw counts (`counts:` names it)"
    if (total == obs["n_genes"]).all():
        raise ScswError(f"every value of {where} is 1 or 0", expected="raw counts", fix=advice)
    if len(obs) >= _FEWEST_TO_TELL and total.std() < _LEAST_SPREAD * total.mean():
        raise ScswError(
            f"all cells of {where} have nearly the same sum of counts, {total.median():.0f}",
            expected="raw counts, whose sums differ from cell to cell by more than "
            f"{_LEAST_SPREAD:.0%}",
            fix=advice + ", and not values per 10,000, nor counts thinned to one depth",
        )


def other_sums(total: pd.Series, stated: np.ndarray) -> list[str]:
    """Warn if the counts that were read do not add up to what the source says of its cells.

    Some genes are often left out after cells were measured; much less or more tells of another
    matrix, such as counts that SCTransform corrected, or those of variable genes alone.

    Parameters
    ----------
    total
        Sum of the counts of each cell that is kept.
    stated
        What the source says it is, shape (cells,); NaN where it says nothing.
    """
    known = stated > 0
    share = np.median(total.to_numpy(float)[known] / stated[known]) if known.any() else 1.0
    if _USUAL_SHARE < share < 1 / _USUAL_SHARE:
        return []
    return [
        f"The counts of a cell add up to {share:.0%} (median) of what the source says of it: these "
        "may not be all of the raw counts."
    ]


def check_cell_types(cell_type: pd.Series, log: QcLog) -> None:
    """Raise a `ScswError` if fewer than two cell types are left: nothing could be classified."""
    types = sorted(cell_type.unique())
    if len(types) < 2:
        raise ScswError(
            (f"the cohort has one cell type only: {types[0]!r}" if types else "no cell is left")
            + (f" ({log.told()})" if log.told() else ""),
            expected="at least two cell types to tell apart",
            fix="name the right column under `columns: cell_type:`, or lower the thresholds in "
            "`preprocess`",
        )


def _thresholds(settings: SimpleNamespace) -> list:
    """List the filters: name of the key, column, and the test that a failing cell meets."""
    return [
        ("min_genes", "n_genes", lambda values: values < settings.min_genes),
        ("min_counts", "total_counts", lambda values: values < settings.min_counts),
        ("max_pct_mito", "pct_mito", lambda values: values > settings.max_pct_mito),
        ("max_doublet_score", "doublet_score", lambda values: values > settings.max_doublet_score),
    ]


def _limit(name: str) -> str:
    return "at least" if name.startswith("min") else "at most"


def _rare_types(obs: pd.DataFrame, keep: np.ndarray, least: int) -> tuple[np.ndarray, str]:
    sizes = obs.loc[keep, "cell_type"].value_counts()
    rare = sorted(sizes.index[(sizes > 0) & (sizes < least)])
    dropped = ": " + ", ".join(f"{name} ({sizes[name]})" for name in rare) if rare else ""
    return obs["cell_type"].isin(rare).to_numpy(), f"types of at least {least} cells{dropped}"
