"""Gene sets as directions of the cell embedding: what the model reconstructs of a programme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from scsw.biology.gene_sets import Library

FEWEST_GENES = 3


@torch.no_grad()
def gene_directions(model: nn.Module, token_ids: Sequence[int]) -> np.ndarray:
    """Return for each gene the direction whose product with a cell embedding is its expression.

    The decoder of the cell embedding (MVC) is linear in it: expression (in bins) of gene g is
    ``cell · W query(g)``. Unlike the decoder of tokens (GEP) it tells the expression of every
    gene in every cell, detected or not.

    Returns
    -------
    numpy.ndarray
        float64, shape (genes, d_model).
    """
    decoder = model.mvc_decoder
    ids = torch.tensor(list(token_ids), device=decoder.W.weight.device)
    query = decoder.query_activation(decoder.gene2query(model.encoder(ids[None])[0])).double()
    # In a model with batch labels the last columns belong to the batch, which no edit changes.
    return (query @ decoder.W.weight.double().t())[:, : model.d_model].cpu().numpy()


def programme_directions(
    directions: np.ndarray, genes: Sequence[str], library: Library
) -> tuple[Mapping[str, int], list[str], np.ndarray]:
    """Return the score of each gene set as one direction of the cell embedding.

    A score is the mean over the set's genes less the mean over all genes of the panel, so that what
    lifts all genes alike is none.

    Returns
    -------
    n_genes
        Set → its genes on the panel.
    testable
        Sets with at least `FEWEST_GENES` of them, and not all of the panel.
    scores
        float64, shape (testable sets, d_model).
    """
    members = {name: np.isin(genes, list(own)) for name, own in library.items()}
    n_genes = {name: int(own.sum()) for name, own in members.items()}
    testable = [name for name, n in n_genes.items() if FEWEST_GENES <= n < len(genes)]
    scores = [directions[members[name]].mean(0) - directions.mean(0) for name in testable]
    return n_genes, testable, np.array(scores).reshape(len(testable), directions.shape[1])
