"""Which cells of a source become the cohort, and which donors fine-tune, search and judge."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.cohort.harmonise import SPLITS, UNDIVIDED
from scsw.cohort.parked import ParkedTable
from scsw.cohort.qc import (
    QcLog,
    add_measures,
    check_cell_types,
    check_depths,
    keep_cells,
    other_sums,
)
from scsw.cohort.qc_tables import qc_histograms
from scsw.cohort.source_cohort import SourceCohort
from scsw.cohort.split import Split, split_cells
from scsw.cohort.spool import Spool


@dataclass(frozen=True)
class KeptCells:
    """The cells of the cohort.

    Attributes
    ----------
    obs
        Their annotation, with measures and split; on disk.
    keep
        Which cells of the source they are; bool, shape (cells of the source,).
    split_unit
        ``donor``, ``cell``, or ``none`` where nothing is divided.
    warnings
        Sentences for the report.
    histograms
        The table of `scsw.cohort.qc_tables.qc_histograms`.
    """

    obs: ParkedTable
    keep: np.ndarray
    split_unit: str
    warnings: list[str]
    histograms: pd.DataFrame


def kept_cells(
    found: SourceCohort,
    parked: ParkedTable,
    spool: Spool,
    symbols: pd.Series,
    settings: SimpleNamespace,
    log: QcLog,
) -> KeptCells:
    """Apply quality control and divide the donors.

    Parameters
    ----------
    found
        The source, without its annotation.
    parked
        The annotation; the file is used for that of the kept cells too.
    spool
        Its counts, measured.
    symbols
        Symbols of the spool's genes.
    settings
        Keys of the config's section `preprocess`.
    log
        Gets one row per filter.

    Raises
    ------
    ScswError
        If no cell is left, or cells of one type only, or the counts are no raw ones.
    """
    obs = add_measures(parked.read(), spool.measures(), symbols)
    if found.not_for_training:
        # A panel of a few genes cannot reach thresholds that were made for whole transcriptomes.
        settings = SimpleNamespace(**{**vars(settings), "min_genes": 1, "min_counts": 1})
    keep = keep_cells(obs, found.excluded, settings, log)
    check_cell_types(obs.loc[keep, "cell_type"], log)
    check_depths(obs.loc[keep, ["total_counts", "n_genes"]], found.counts.where)
    if found.stated_counts is not None:
        stated = found.stated_counts[keep]
        found.warnings.extend(other_sums(obs.loc[keep, "total_counts"], stated))
    histograms = qc_histograms(obs, keep)
    obs = obs[keep]
    if found.not_for_training:
        parked.replace(obs.assign(split=UNDIVIDED))
        return KeptCells(parked, keep, "none", found.warnings, histograms)
    shares = {name: getattr(settings, name) for name in SPLITS}
    split = split_cells(obs, shares, settings.split_seed)
    obs["split"] = split.of_cell.astype("category")
    known = _types_in_training(obs, split, log)
    check_cell_types(obs.loc[known, "cell_type"], log)
    keep[np.flatnonzero(keep)[~known]] = False
    warnings = [*found.warnings, *split.warnings]
    parked.replace(obs if known.all() else obs[known])
    return KeptCells(parked, keep, split.unit, warnings, histograms)


def _types_in_training(obs: pd.DataFrame, split: Split, log: QcLog) -> np.ndarray:
    """Tell the cells of types that training has: no classifier could name the others."""
    trained = set(obs.loc[obs["split"] == "train", "cell_type"])
    untrained = sorted(set(obs["cell_type"]) - trained)
    known = obs["cell_type"].isin(trained).to_numpy()
    detail = "types that occur in training" + (": not " + ", ".join(untrained) if untrained else "")
    log.add("cells", "type_not_in_training", len(known), (~known).sum(), detail)
    if untrained:
        split.warnings.append(
            f"Cell types without a training cell were dropped: {', '.join(untrained)}."
        )
    return known
