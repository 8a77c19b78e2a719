"""What hidden units read: their activation at the tokens of each gene."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from scsw.biology.map.token_sums import TokenSums
from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.tokenizer import Tokenizer
from scsw.superweight.capture import capture, encoder_points


@dataclass
class ReadIn:
    """Hidden units over whole cells.

    Attributes
    ----------
    units
        ``(block, column)`` of the units that were asked for by cell type.
    by_type
        Sums of h of these units, by cell type and gene, over tokens that detect the gene.
    bins
        Sums of the bins of the same tokens.
    every
        For each block the sums of h of all its units by gene, float64, shape (genes, units).
    firing, activation, size
        For each block, over all tokens, `<cls>` included: share of tokens at which a unit fires,
        mean of h, and root mean square of h; shape (units,).
    """

    units: list[tuple[int, int]]
    by_type: TokenSums
    bins: TokenSums
    every: list[np.ndarray]
    firing: list[np.ndarray]
    activation: list[np.ndarray]
    size: list[np.ndarray]


@torch.no_grad()
def read_in(
    model: nn.Module,
    tokenizer: Tokenizer,
    codes: np.ndarray,
    n_types: int,
    units: list[tuple[int, int]],
    compute: SimpleNamespace,
    device: torch.device,
) -> ReadIn:
    """Add up the hidden units of whole cells over their gene tokens.

    Parameters
    ----------
    model, tokenizer
        The model and its cells.
    codes, n_types
        Cell type of each cell, shape (cells,), and the number of types.
    units
        ``(block, column)`` of the units that are wanted by cell type.
    compute
        Section of the config.
    device
        Where the model is.
    """
    layers = encoder_layers(model)
    by_type = TokenSums(tokenizer.token_ids, n_types, len(units))
    bins = TokenSums(tokenizer.token_ids, n_types, 1)
    n_genes = tokenizer.token_ids.size
    totals = [_Totals(n_genes, layer.linear2.in_features, device) for layer in layers]
    hidden: dict[str, torch.Tensor] = {}
    with capture(encoder_points(layers, ["mlp_hidden"]), hidden.__setitem__):
        for batch in tokenizer.batches(np.arange(len(tokenizer)), compute.batch_size):
            types, tokens = codes[batch.cells.numpy()], batch.genes.numpy()
            detected = batch.real.numpy() & (batch.target.numpy() > 0)
            batch = batch.to(device)
            forward_padded(model, batch)
            wanted = [hidden[f"{b}.mlp_hidden"][..., c].double().cpu().numpy() for b, c in units]
            by_type.add(tokens, detected, types, np.array(wanted).reshape(-1, *tokens.shape))
            bins.add(tokens, detected, types, batch.target.double().cpu().numpy()[None])
            genes = torch.from_numpy(by_type.genes(tokens, detected)).to(device)[batch.real]
            for block, total in enumerate(totals):
                total.add(hidden[f"{block}.mlp_hidden"][batch.real], genes)
    n = max(totals[0].n_tokens, 1)
    return ReadIn(
        units,
        by_type,
        bins,
        every=[total.by_gene.cpu().numpy() for total in totals],
        firing=[(total.fires / n).cpu().numpy() for total in totals],
        activation=[(total.first / n).cpu().numpy() for total in totals],
        size=[(total.second / n).sqrt().cpu().numpy() for total in totals],
    )


class _Totals:
    """Sums of one block's hidden units, in float64 where the model is."""

    def __init__(self, n_genes: int, n_units: int, device: torch.device) -> None:
        self.n_tokens = 0
        self.by_gene = torch.zeros(n_genes, n_units, dtype=torch.float64, device=device)
        self.fires, self.first, self.second = self.by_gene.new_zeros(3, n_units)

    def add(self, hidden: torch.Tensor, genes: torch.Tensor) -> None:
        """Add tokens; `hidden` has shape (tokens, units), `genes` -1 where a token is no gene's."""
        hidden = hidden.double()
        self.n_tokens += len(hidden)
        self.fires += (hidden > 0).sum(0)
        self.first += hidden.sum(0)
        self.second += hidden.square().sum(0)
        inside = genes >= 0
        self.by_gene.index_add_(0, genes[inside], hidden[inside])
