"""Gene embeddings of a checkpoint, for a cohort that was matched to another vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scsw.errors import ScswError
from scsw.scgpt.tokens.tokenizer import CLS_TOKEN, PAD_TOKEN

EMBEDDING = "encoder.embedding.weight"


def unknown_tokens(genes: Sequence[str], vocabulary: Mapping[str, int]) -> list[str]:
    """Return what a cohort's cells need and a vocabulary lacks: genes and special tokens."""
    return [token for token in (PAD_TOKEN, CLS_TOKEN, *genes) if token not in vocabulary]


def move_rows(
    given: Tensor, theirs: Mapping[str, int], fresh: Tensor, ours: Mapping[str, int]
) -> tuple[Tensor, int]:
    """Move embeddings to the rows that their tokens have in another vocabulary.

    Parameters
    ----------
    given
        Embeddings by the checkpoint's vocabulary, shape (their tokens, d_model).
    theirs, ours
        Token ids by token, of the checkpoint and of the cohort.
    fresh
        Embeddings for tokens that the checkpoint lacks, shape (our tokens, d_model).

    Returns
    -------
    tuple
        Embeddings by our vocabulary, shape (our tokens, d_model), and how many were moved.

    Raises
    ------
    ScswError
        If the embeddings are not those of the checkpoint's vocabulary, or of another width.
    """
    if given.shape != (len(theirs), fresh.shape[1]):
        raise ScswError(
            f"{EMBEDDING} of the checkpoint is {tuple(given.shape)}",
            expected=f"{(len(theirs), fresh.shape[1])}, as its vocab.json and args.json say",
            fix="check that the three files belong together",
        )
    shared = [token for token in ours if token in theirs]
    moved = fresh.detach().clone()
    moved[torch.tensor([ours[token] for token in shared], dtype=torch.long)] = given[
        torch.tensor([theirs[token] for token in shared], dtype=torch.long)
    ].to(moved.dtype)
    return moved, len(shared)


def check_genes(genes: Sequence[str], theirs: Mapping[str, int], folder: object) -> None:
    """Raise unless a checkpoint knows every gene of a cohort by name.

    A gene without a pre-trained embedding would take part in a pre-trained model as noise.

    Raises
    ------
    ScswError
        Names some of the genes.
    """
    unknown = unknown_tokens(genes, theirs)
    if unknown:
        some = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise ScswError(
            f"the cohort was matched to another vocabulary than {folder}/vocab.json, which lacks "
            f"{len(unknown):,} of the cohort's {len(genes):,} genes: {some}",
            expected="a checkpoint that knows every gene of the cohort by name",
            fix="preprocess the cohort again with preprocess.vocabulary `checkpoint` and "
            "model.checkpoint set to this folder",
        )
