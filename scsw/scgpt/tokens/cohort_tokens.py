"""The tokenizer of a cohort for a given model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from anndata import AnnData

from scsw.scgpt.folder import read_labels
from scsw.scgpt.model import read_args, read_vocabulary
from scsw.scgpt.tokens.count_rows import CountRows
from scsw.scgpt.tokens.tokenizer import MASK_VALUE, PAD_VALUE, Tokenizer

# Search, pruning and mapping look at the same cells in the same way whatever the model's seed was.
TOKEN_SEED = 0


def cohort_tokenizer(
    cells: AnnData,
    folder: str | Path,
    seed: int = TOKEN_SEED,
    *,
    batches: Sequence[str] | None = None,
    rows: CountRows | None = None,
) -> Tokenizer:
    """Return the tokenizer of some cells for the model in a scGPT folder.

    Parameters
    ----------
    cells
        Cells of a harmonised cohort.
    folder
        scGPT folder: sizes, vocabulary and labels are read from it.
    seed
        Seed of tie draws, gene sampling and hidden positions.
    batches
        Experimental batches in the order of the model's batch labels, where it has them.
    rows
        Where the counts come from; by default they are in ``cells.X``.
    """
    args = read_args(folder)
    return Tokenizer(
        cells,
        read_labels(folder),
        read_vocabulary(folder),
        n_bins=args["n_bins"],
        max_seq_len=args["max_seq_len"],
        include_zero_gene=args["include_zero_gene"],
        seed=seed,
        pad_value=args.get("pad_value", PAD_VALUE),
        mask_value=args.get("mask_value", MASK_VALUE),
        batches=batches,
        rows=rows,
    )


def training_batch_names(obs: pd.DataFrame) -> list[str]:
    """Return the experimental batches of the training donors' cells, sorted."""
    return sorted(obs["batch"][obs["split"] == "train"].astype(str).unique())
