"""The parts of ``gene_scores.parquet``: one per candidate, view and cell type."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.biology.map.control_scores import ControlScores, against_controls
from scsw.biology.map.gene_strata import CellGroups, Stratum
from scsw.biology.map.read_in import ReadIn
from scsw.biology.map.write_out import WriteOut
from scsw.superweight.verdict.statistics import studentised_intervals


def read_in_parts(
    candidates: pd.DataFrame,
    read: ReadIn,
    groups: CellGroups,
    readable: list[Stratum],
    controls: ControlScores,
    units: pd.DataFrame,
    embedding: np.ndarray,
) -> Iterator[pd.DataFrame]:
    """Yield the views ``read_in`` and, over all cells, ``direction``.

    Parameters
    ----------
    candidates
        The frozen family.
    read
        Sums of the pass over whole cells.
    groups, readable
        The cells, and the genes that can be scored.
    controls, units
        Scores of the controls, and the table that says whose null they are.
    embedding
        Normalised gene embeddings, shape (genes, d_model).
    """
    sums, _ = read.by_type.by_group()
    for stratum in readable:
        whole = stratum.cell_type == "all"
        for c in candidates.itertuples():
            scores = c.weight * stratum.mean(sums[read.units.index((c.block, c.column))])
            start = {"candidate_id": c.candidate_id, "view": "read_in", "decoder": ""}
            table = stratum.table(groups.genes, scores, **start)
            if not whole:
                yield table
                continue
            yield against_controls(table, c.weight, own_null(units, c), controls, stratum)
            start["view"] = "direction"
            yield stratum.table(groups.genes, embedding[stratum.genes, c.row], **start)


def write_out_parts(
    candidates: pd.DataFrame,
    written: WriteOut,
    groups: CellGroups,
    writable: list[Stratum],
    controls: ControlScores,
    units: pd.DataFrame,
    statistics: SimpleNamespace,
    *,
    by_donor: bool,
) -> Iterator[pd.DataFrame]:
    """Yield the views ``write_out``, ``write_out_mvc`` and, over all cells, ``decoder_path``.

    Parameters
    ----------
    candidates, groups, controls, units
        As of `read_in_parts`.
    written, writable
        Sums of the pass over cells with hidden values, and the genes that can be scored.
    statistics
        Section of the config.
    by_donor
        Whether the cells' donors are test donors.
    """
    decoders = {"GEP": ("write_out", written.gep)}
    if written.mvc is not None:
        decoders["MVC"] = ("write_out_mvc", written.mvc)
    for decoder, (view, found) in decoders.items():
        sums, counts = (groups.by_donor(each) for each in found.by_group())
        for stratum in writable:
            whole = stratum.cell_type == "all"
            for index, c in enumerate(candidates.itertuples()):
                start = {"candidate_id": c.candidate_id, "view": view, "decoder": decoder}
                scores = stratum.mean(sums[index].sum(0))
                table = stratum.table(groups.genes, scores, **start)
                if whole and decoder == "GEP":
                    table = against_controls(table, c.weight, own_null(units, c), controls, stratum)
                if by_donor:
                    table = _with_donors(table, sums[index], counts, stratum, statistics)
                yield table
                if whole and decoder == "GEP":
                    start["view"] = "decoder_path"
                    scores = written.path[c.row, stratum.genes] / stratum.n_cells
                    yield stratum.table(groups.genes, scores, **start)


def own_null(units: pd.DataFrame, candidate) -> list[str]:
    """Return the controls that are the null of a candidate's ``unit_p``."""
    own = units["candidate_id"].eq(candidate.candidate_id) & units["in_unit_p"]
    return units.loc[own, "control"].tolist()


def _with_donors(
    table: pd.DataFrame,
    sums: np.ndarray,
    counts: np.ndarray,
    stratum: Stratum,
    statistics: SimpleNamespace,
) -> pd.DataFrame:
    """Add the mean over donors of each donor's own mean, and its interval.

    Parameters
    ----------
    sums, counts
        Of one candidate, shape (donors, types, genes).
    """
    sums = sums[:, stratum.own].sum(1)[:, stratum.genes]
    counts = counts[:, stratum.own].sum(1)[:, stratum.genes]
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).T
    n_donors = (counts > 0).sum(0)
    means[n_donors < statistics.min_test_donors] = np.nan
    low, high = studentised_intervals(means, n_resamples=statistics.bootstrap, seed=statistics.seed)
    mean = np.nansum(means, 1) / n_donors
    mean[n_donors < statistics.min_test_donors] = np.nan
    return table.assign(donor_mean=mean, score_low=low, score_high=high, n_donors=n_donors)
