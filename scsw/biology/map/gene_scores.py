"""Which genes a candidate reads from, writes to, and points at, against genes and units alike."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import nn

from scsw.biology.map.cell_sample import spread_cells
from scsw.biology.map.control_scores import ControlScores
from scsw.biology.map.control_units import UNITS, Alike, read_in_controls, write_out_controls
from scsw.biology.map.gene_parts import read_in_parts, write_out_parts
from scsw.biology.map.gene_strata import CellGroups, Stratum, strata
from scsw.biology.map.read_in import ReadIn, read_in
from scsw.biology.map.write_out import WriteOut, control_edits, write_out
from scsw.biology.matched_genes import matched_z
from scsw.biology.tables import benjamini_hochberg, typed
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer

GENE_TABLE = {
    **dict.fromkeys("candidate_id view decoder cell_type gene".split(), "text"),
    "n_cells": "int64",
    **dict.fromkeys("detection_rate mean_bin score z p q".split(), "float64"),
    "null": "text",
    **dict.fromkeys("unit_mean unit_sd unit_z unit_p unit_q".split(), "float64"),
    **{"unit_null": "text", "n_units": "int64"},
    **dict.fromkeys("donor_mean score_low score_high".split(), "float64"),
    "n_donors": "int64",
}
UNIT_TABLE = {
    **dict.fromkeys(UNITS[:3], "text"),
    **{"distance": "float64", "in_unit_p": "bool"},
    **dict.fromkeys(UNITS[5:], "float64"),
}
# What a score hangs on: candidates that share it are one test of their view.
TESTED_ONCE = {
    "read_in": ["block", "column"],
    "write_out": ["block", "row", "column"],
    "write_out_mvc": ["block", "row", "column"],
    "direction": ["row"],
    "decoder_path": ["row"],
}


@dataclass(frozen=True)
class GeneTables:
    """Contracts of docs/outputs.md, the first two still without ``cohort, arm, seed``."""

    gene_scores: pd.DataFrame
    control_units: pd.DataFrame
    control_scores: pd.DataFrame


def gene_scores(
    model: nn.Module,
    tokenizer: Tokenizer,
    cells: AnnData,
    candidates: pd.DataFrame,
    settings: SimpleNamespace,
    statistics: SimpleNamespace,
    compute: SimpleNamespace,
    device: torch.device,
    *,
    by_donor: bool,
    seed: int = 0,
) -> GeneTables:
    """Score every gene for every candidate and its controls on the given (test) cells.

    The views and their nulls are defined in ``docs/biology.md``.

    Parameters
    ----------
    model, tokenizer, cells
        The model, and the cells with their tokenizer.
    candidates
        The frozen family: ``candidate_id, block, row, column, weight``, best first.
    settings, statistics, compute
        Sections ``map``, ``statistics`` and ``compute`` of the config.
    device
        Where the model is.
    by_donor
        Whether the cells' donors are test donors, so that intervals over them are wanted.
    seed
        Draws the output channels of the control edits.
    """
    model.eval()
    candidates = candidates.astype({"block": int, "row": int, "column": int})
    if candidates.empty or not len(tokenizer):
        nothing = ControlScores(np.array([], str), np.array([], int), statistics.alpha)
        return GeneTables(typed([], GENE_TABLE), typed([], UNIT_TABLE), nothing.table())
    groups = CellGroups.of(cells)
    units = sorted(set(zip(candidates["block"], candidates["column"], strict=True)))
    read = read_in(model, tokenizer, groups.type_of, len(groups.types), units, compute, device)
    nulls = _nulls(model, candidates, read, settings, seed)
    written = write_out(
        model,
        tokenizer,
        spread_cells(cells.obs, tokenizer.cell_keys, settings.write_out_cells),
        groups.group_of,
        groups.n_groups,
        candidates,
        control_edits(model, nulls["write_out"]),
        compute,
        device,
    )
    readable = list(strata(read.by_type.by_group()[1], read.bins, groups, settings))
    counts = groups.by_donor(written.gep.by_group()[1]).sum(0)
    writable = list(strata(counts, read.bins, groups, settings))
    controls = _scores_of_controls(
        groups, read, written, readable, writable, nulls, statistics.alpha
    )
    parts = [
        *read_in_parts(
            candidates,
            read,
            groups,
            readable,
            controls,
            nulls["read_in"],
            gene_embedding(model, tokenizer, device),
        ),
        *write_out_parts(
            candidates,
            written,
            groups,
            writable,
            controls,
            nulls["write_out"],
            statistics,
            by_donor=by_donor,
        ),
    ]
    if not parts:  # no gene is detected in enough cells
        return GeneTables(typed([], GENE_TABLE), typed([], UNIT_TABLE), controls.table())
    table = pd.concat(parts, ignore_index=True).reindex(columns=list(GENE_TABLE))
    table = table.fillna({"unit_null": "", "n_units": 0, "n_donors": 0})
    for p, q in {"p": "q", "unit_p": "unit_q"}.items():
        table[q] = family_q(table, candidates, p)
    linear = _linearity(candidates, written, writable, table)
    nulls["write_out"]["linearity"] = nulls["write_out"]["candidate_id"].map(linear)
    of_nulls = _control_units(nulls, table, controls, statistics.alpha)
    return GeneTables(typed(table, GENE_TABLE), typed(of_nulls, UNIT_TABLE), controls.table())


def _control_units(
    nulls: dict[str, pd.DataFrame], table: pd.DataFrame, controls: ControlScores, alpha: float
) -> pd.DataFrame:
    """Return the controls of all views, with how many genes of theirs and of the candidate pass."""
    units = pd.concat([each.reindex(columns=UNITS) for each in nulls.values()], ignore_index=True)
    units["n_passed"] = units["control"].map(controls.n_passed)
    return units.drop(columns="own_passed").merge(
        _own_passed(table, alpha), how="left", on=["candidate_id", "view"]
    )


def _own_passed(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Count the genes of each candidate and view that stand out as those of a control do."""
    groups = table[table["cell_type"].eq("all")].groupby(["candidate_id", "view"])
    counts = groups["p"].agg(lambda p: (benjamini_hochberg(p) <= alpha).sum())
    tested = groups["p"].count() > 0
    return counts.astype(float).where(tested).rename("own_passed").reset_index()


def _nulls(
    model: nn.Module, candidates: pd.DataFrame, read: ReadIn, settings: SimpleNamespace, seed: int
) -> dict[str, pd.DataFrame]:
    """Return by view which controls each candidate is compared with."""
    alike = Alike(read.firing, read.activation)
    n_rows = encoder_layers(model)[0].linear2.out_features
    most = settings.n_write_out_controls
    return {
        "read_in": read_in_controls(candidates, alike, settings.n_controls),
        "write_out": write_out_controls(candidates, alike, read.size, n_rows, most, seed),
    }


def _scores_of_controls(
    groups: CellGroups,
    read: ReadIn,
    written: WriteOut,
    readable: list[Stratum],
    writable: list[Stratum],
    nulls: dict[str, pd.DataFrame],
    alpha: float,
) -> ControlScores:
    """Score all controls over all cells; genes have a row where read-in could be scored."""
    over_all = readable[0] if readable else None  # the first stratum is that of all cells
    scored = np.array([], int) if over_all is None else over_all.genes
    controls = ControlScores(groups.genes, scored, alpha)
    for c in nulls["read_in"].drop_duplicates("control").itertuples():
        controls.add(c.control, over_all, read.every[c.block][:, c.column])
    over_all = writable[0] if writable else None
    names = nulls["write_out"]["control"].drop_duplicates()
    for name, sums in zip(names, written.controls, strict=True):
        controls.add(name, over_all, sums)
    return controls


def family_q(table: pd.DataFrame, candidates: pd.DataFrame, p: str) -> pd.Series:
    """Return Benjamini-Hochberg q over the genes of all tests of one view and cell type.

    Candidates that share what a view hangs on (`TESTED_ONCE`) are one test, and have the same q.

    Parameters
    ----------
    table
        ``gene_scores`` with the column `p`.
    candidates
        The frozen family.
    p
        Name of the column.
    """
    places = candidates.set_index("candidate_id")
    q = pd.Series(np.nan, index=table.index)
    for (view, _), own in table.groupby(["view", "cell_type"], sort=False):
        of = places.groupby(TESTED_ONCE[view]).ngroup()
        keys = pd.DataFrame({"test": own["candidate_id"].map(of), "gene": own["gene"]})
        first = ~keys.duplicated()
        found = keys[first].assign(q=benjamini_hochberg(own.loc[first, p]))
        q[own.index] = keys.merge(found, how="left", on=["test", "gene"])["q"].to_numpy()
    return q


def _linearity(
    candidates: pd.DataFrame, written: WriteOut, writable: list[Stratum], table: pd.DataFrame
) -> dict[str, float]:
    """Return Pearson's correlation of each candidate's write-out z with that of half its weight."""
    if not writable or writable[0].matched is None:
        return {}
    own = table[table["view"].eq("write_out") & table["cell_type"].eq("all")]
    whole = dict(iter(own.groupby("candidate_id")["z"]))
    found = {}
    for name, sums in zip(candidates["candidate_id"], written.halved, strict=True):
        halved = matched_z(writable[0].mean(sums), writable[0].matched)
        both = np.vstack([whole[name].to_numpy(), halved])
        found[name] = float(np.corrcoef(both)[0, 1]) if both.std(1).all() else np.nan
    return found


@torch.no_grad()
def gene_embedding(model: nn.Module, tokenizer: Tokenizer, device: torch.device) -> np.ndarray:
    """Return the normalised gene embeddings, float64, shape (genes, d_model)."""
    ids = torch.from_numpy(tokenizer.token_ids).to(device)
    return model.encoder(ids[None])[0].double().cpu().numpy()
