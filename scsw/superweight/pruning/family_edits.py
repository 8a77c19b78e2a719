"""Edits of the families that are no single weight of linear2, and of others of their kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import nn

from scsw.scgpt.model import encoder_layers
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.pruning.edits import FAMILIES, Edit

FAMILY, FAMILY_RANDOM = "family", "family_random"  # weight sets


def family_edits(families: pd.DataFrame) -> list[Edit]:
    """Zero each candidate of the families that are no single weight of linear2.

    Parameters
    ----------
    families
        ``families.parquet`` of the search.
    """
    edits = []
    for row in families.itertuples():
        family = row.family
        if family.startswith("norm_"):
            family = family.replace("norm", row.module.rsplit(".", 1)[-1])
        place = (None if pd.isna(x) else int(x) for x in (row.row, row.column))
        edits.append(
            Edit(row.candidate_id, FAMILY, "zero", family, int(row.block), *place, of=row.module)
        )
    return edits


def family_controls(model: nn.Module, candidates: list[Edit], n: int, seed: int) -> list[Edit]:
    """Zero random others of the kind of each candidate, or all of them where there are fewer.

    Of a weight of an attention's output these are weights of the same tensor, of a row (column) the
    other rows (columns) of the same linear2, of γ or β of a channel those of the norm's other
    channels. Candidates of one kind and block share their controls; none of them is one.

    Parameters
    ----------
    model
        The model, for the sizes of its tensors.
    candidates
        Of `family_edits`.
    n
        Controls of each kind and block.
    seed
        Draws them.
    """
    taken: dict[tuple[int, str], set[tuple[int | None, int | None]]] = {}
    for edit in candidates:
        taken.setdefault((edit.block, edit.family), set()).add((edit.row, edit.column))
    layers = encoder_layers(model)
    edits = []
    for (block, family), own in sorted(taken.items()):
        rows, columns = _places(layers[block], family)
        free = [i for i in range(len(rows) * len(columns)) if _at(i, rows, columns) not in own]
        rng = np.random.default_rng([seed, block, FAMILIES.index(family), 13])
        chosen = np.sort(rng.choice(len(free), min(n, len(free)), replace=False))
        for index in chosen:
            place = _at(free[index], rows, columns)
            name = candidate_id(family, block, *place)
            edits.append(Edit(name, FAMILY_RANDOM, "zero", family, block, *place))
    return edits


def _places(layer: nn.Module, family: str) -> tuple[list[int | None], list[int | None]]:
    """Return the rows and the columns that a family's members have."""
    module = layer.self_attn.out_proj if family == "attn_out" else layer.linear2
    n_rows, n_columns = module.weight.shape
    rows = [None] if family == "column" else list(range(n_rows))
    return rows, list(range(n_columns)) if family in ("attn_out", "column") else [None]


def _at(index: int, rows: list, columns: list) -> tuple[int | None, int | None]:
    row, column = divmod(index, len(columns))
    return rows[row], columns[column]
