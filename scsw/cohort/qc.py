"""Quality control of cells and genes; every loss is counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import sparse

from scsw.cohort.sampling import cap_rare_first
from scsw.errors import ScswError


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


def measure(counts: sparse.csr_matrix, symbols: pd.Series, obs: pd.DataFrame) -> pd.DataFrame:
    """Measure each cell over all genes of the source.

    Parameters
    ----------
    counts
        Raw counts, cells × genes.
    symbols
        Gene symbols; those that begin with ``MT-`` are mitochondrial.
    obs
        Annotation; its ``pct_mito`` stands where the source has no mitochondrial gene.

    Returns
    -------
    pandas.DataFrame
        `obs` with ``total_counts, n_genes`` (int64) and ``pct_mito`` (per cent; NaN if neither
        counted nor given).
    """
    total = np.asarray(counts.sum(axis=1, dtype=np.int64)).ravel()
    measured = obs.assign(total_counts=total, n_genes=np.diff(counts.indptr).astype(np.int64))
    is_mito = symbols.str.startswith("MT-").to_numpy(bool)
    if is_mito.any():
        mito = np.asarray(counts[:, is_mito].sum(axis=1, dtype=np.int64)).ravel()
        measured["pct_mito"] = 100.0 * mito / np.maximum(total, 1)
    return measured


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
    if settings.max_cells_per_donor is not None:
        capped = np.zeros(len(obs), bool)
        chosen = cap_rare_first(obs[keep], settings.max_cells_per_donor, settings.split_seed)
        capped[np.flatnonzero(keep)[~chosen]] = True
        drop("max_cells_per_donor", capped, f"at most {settings.max_cells_per_donor} a donor")
        drop(drop_rare, *_rare_types(obs, keep, settings.min_cells_per_type))
    if not keep.any():
        raise ScswError(
            f"no cell of {len(obs)} passes quality control: {log.told()}",
            expected="raw counts of whole cells or nuclei",
            fix="look at the thresholds in the config's section `preprocess`; whole cells need "
            "a larger max_pct_mito than nuclei",
        )
    return keep


def keep_genes(counts: sparse.csr_matrix, settings: SimpleNamespace, log: QcLog) -> np.ndarray:
    """Keep the genes that enough cells express.

    Returns
    -------
    numpy.ndarray
        Which genes are kept; bool, shape (genes,).
    """
    n_cells = np.bincount(counts.indices, minlength=counts.shape[1])
    keep = n_cells >= settings.min_cells_per_gene
    detail = f"expressed in at least {settings.min_cells_per_gene} kept cells"
    log.add("genes", "min_cells_per_gene", len(keep), (~keep).sum(), detail)
    if not keep.any():
        raise ScswError(
            f"no gene of {len(keep)} is {detail}",
            fix="lower preprocess.min_cells_per_gene",
        )
    return keep


def check_cell_types(cell_type: pd.Series, log: QcLog) -> None:
    """Raise a `ScswError` if fewer than two cell types are left: nothing could be classified."""
    types = sorted(cell_type.unique())
    if len(types) < 2:
        raise ScswError(
            f"the cohort has one cell type only: {types[0]!r}"
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
    rare = sorted(sizes.index[sizes < least])
    dropped = ": " + ", ".join(f"{name} ({sizes[name]})" for name in rare) if rare else ""
    return obs["cell_type"].isin(rare).to_numpy(), f"types of at least {least} cells{dropped}"
