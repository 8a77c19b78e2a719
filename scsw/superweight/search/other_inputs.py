"""The search on other inputs: cells without `<cls>`, and, as in the paper, without data.

Yu et al. 2024 found super weights with a single prompt, whatever it said. Here the made-up cells
are *random*, genes and bins drawn uniformly, or *constant*, random genes that all have the same
bin. Whether a spike needs the cell's own token is told by a sample of the discovery cells, searched
as they are and without it: the same cells, so that nothing else differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from scsw.scgpt.forward import forward_padded
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.scgpt.tokens.tokenizer import CLS_VALUE, Tokenizer
from scsw.superweight.candidate_id import candidate_id
from scsw.superweight.find import find_candidates
from scsw.superweight.search.discovery import DiscoveryCells, chosen_cells, real_tokens, without_cls

MADE_UP = ("random", "constant")
KINDS = ("with_cls", "without_cls", *MADE_UP)
COLUMNS = (
    "kind rank candidate_id block row column spike_ratio contribution found_by in_family"
).split()
_KEEP = 20  # finds of each kind that are told


def other_inputs_table(
    model: nn.Module,
    cells: DiscoveryCells,
    family: pd.DataFrame,
    down_projections: list[str],
    sums: list[str],
    *,
    n_cells: int,
    **rules: Any,
) -> pd.DataFrame:
    """Search on other inputs and tell which finds are in the family of all discovery cells.

    Parameters
    ----------
    model, down_projections, sums
        The model and its blocks.
    cells
        The discovery cells. Made-up ones get their genes, bins and lengths from these.
    family
        The frozen family, with ``block, row, column``.
    n_cells
        How many cells there are of each kind.
    rules
        Stop rule and shares of `find_candidates`.
    """
    known = set(zip(family["block"], family["row"], family["column"], strict=True))
    parts = []
    for kind in KINDS:
        found = find_candidates(
            model,
            list(_batches(cells, kind, n_cells)),
            down_projections,
            forward=forward_padded,
            token_mask=real_tokens,
            sums=sums,
            max_candidates=_KEEP,
            **rules,
        )
        places = list(zip(found["block"], found["row"], found["column"], strict=True))
        found = found.assign(
            kind=kind,
            rank=np.arange(1, len(found) + 1),
            candidate_id=[candidate_id("ffn_down", *place) for place in places],
            in_family=[place in known for place in places],
        )
        parts.append(found[COLUMNS])
    return pd.concat(parts, ignore_index=True)


def _batches(cells: DiscoveryCells, kind: str, n_cells: int) -> Iterator[TokenBatch]:
    if kind in MADE_UP:
        yield from made_up_cells(cells.tokenizer, kind, n_cells, cells.size, cells.device)
        return
    for batch in cells.sample(n_cells):
        # A cell without a gene has no token but `<cls>`, so it is in neither kind.
        batch = chosen_cells(batch, batch.real[:, 1:].any(1))
        if len(batch.cells):
            yield batch if kind == "with_cls" else without_cls(batch)


def made_up_cells(
    tokenizer: Tokenizer, kind: str, n_cells: int, batch_size: int, device: torch.device
) -> Iterator[TokenBatch]:
    """Yield cells of as many genes as the first discovery cells have, all of them full."""
    rows = np.arange(min(len(tokenizer), 256))
    lengths = [length for b in tokenizer.packed_batches(rows, batch_size) for length in b.lengths]
    n_genes = max(int(np.median(lengths)) - 1, 1)
    for start in range(0, n_cells, batch_size):
        n = min(batch_size, n_cells - start)
        genes = np.full((n, 1 + n_genes), tokenizer.cls_id)
        values = np.full((n, 1 + n_genes), CLS_VALUE, np.float32)
        for row in range(n):  # each cell has draws of its own, whatever its batch
            rng = np.random.default_rng([tokenizer.seed, MADE_UP.index(kind), start + row, 11])
            genes[row, 1:] = rng.choice(tokenizer.token_ids, n_genes, replace=False)
            values[row, 1:] = rng.integers(1, tokenizer.n_bins, n_genes)
        if kind == "constant":
            values[:, 1:] = tokenizer.n_bins // 2
        shown = torch.from_numpy(values)
        none = torch.zeros(genes.shape, dtype=torch.bool)
        yield TokenBatch(
            cells=torch.arange(start, start + n),
            genes=torch.from_numpy(genes),
            values=shown,
            target=shown,
            padding=none,
            hidden=none,
            labels=torch.full((n,), -1),
        ).to(device)
