"""The tokenizer of a cohort for a given model."""

from __future__ import annotations

from pathlib import Path

from anndata import AnnData

from scsw.files import read_json
from scsw.scgpt.model import read_args, read_vocabulary
from scsw.scgpt.tokens import Tokenizer

# Search, pruning and mapping look at the same cells in the same way whatever the model's seed was.
TOKEN_SEED = 0


def cohort_tokenizer(cells: AnnData, folder: str | Path, seed: int = TOKEN_SEED) -> Tokenizer:
    """Return the tokenizer of some cells for the model in a scGPT folder.

    Parameters
    ----------
    cells
        Cells of a harmonised cohort.
    folder
        scGPT folder: sizes, vocabulary and labels are read from it.
    seed
        Seed of tie draws, gene sampling and hidden positions.
    """
    args = read_args(folder)
    return Tokenizer(
        cells,
        read_json(Path(folder) / "labels.json"),
        read_vocabulary(folder),
        n_bins=args["n_bins"],
        max_seq_len=args["max_seq_len"],
        include_zero_gene=args["include_zero_gene"],
        seed=seed,
    )
