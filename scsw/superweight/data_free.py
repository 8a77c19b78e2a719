"""The search without data: made-up cells in place of the discovery donors', as in the paper.

Yu et al. 2024 found super weights with a single prompt, whatever it said. Here the made-up cells
are *random*, genes and bins drawn uniformly, or *constant*, random genes that all have the same
bin.
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
from scsw.superweight.discovery import real_tokens
from scsw.superweight.find import find_candidates

KINDS = ("random", "constant")
COLUMNS = (
    "kind rank candidate_id block row column spike_ratio contribution found_by in_family"
).split()
_KEEP = 20  # finds of each kind that are told


def data_free_table(
    model: nn.Module,
    tokenizer: Tokenizer,
    family: pd.DataFrame,
    down_projections: list[str],
    sums: list[str],
    device: torch.device,
    *,
    n_cells: int,
    batch_size: int,
    **rules: Any,
) -> pd.DataFrame:
    """Search with made-up cells and tell which finds are in the family found with real ones.

    Parameters
    ----------
    model, down_projections, sums, device
        The model and its blocks.
    tokenizer
        Tokenizer of the discovery cells: it lends genes, bins and lengths.
    family
        The frozen family, with ``block, row, column``.
    n_cells, batch_size
        How many cells are made up, and how many are run at a time.
    rules
        Stop rule and shares of `find_candidates`.
    """
    known = set(zip(family["block"], family["row"], family["column"], strict=True))
    parts = []
    for kind in KINDS:
        found = find_candidates(
            model,
            list(made_up_cells(tokenizer, kind, n_cells, batch_size, device)),
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
            candidate_id=[f"ffn_down.b{b}.r{r}.c{c}" for b, r, c in places],
            in_family=[place in known for place in places],
        )
        parts.append(found[COLUMNS])
    return pd.concat(parts, ignore_index=True)


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
            rng = np.random.default_rng([tokenizer.seed, KINDS.index(kind), start + row, 11])
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
