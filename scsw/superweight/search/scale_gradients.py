"""How a loss changes along the way to zero: its slope in the scale of one weight's contribution.

A large weight moves the loss far from where its slope was taken, so the slope at the intact model
alone misjudges it. With the contribution s·w·h in place of w·h, the change from s = 1 to s = 0 is
the integral of −dL/ds, which Simpson's rule takes from the slopes at 0, ½ and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.forward import forward_padded
from scsw.scgpt.model import encoder_layers
from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.superweight.capture import capture, encoder_points
from scsw.superweight.first_order import frozen
from scsw.superweight.pruning.edits import GROUP


@dataclass
class _Start:
    """What one intact pass leaves: by block, the hidden units and the sum before norm2."""

    padding: Tensor
    hidden: list[Tensor]
    sums: list[Tensor]


def scale_gradients(
    model: nn.Module, batches: Iterable[TokenBatch], places: np.ndarray, scales: Sequence[float]
) -> np.ndarray:
    """Return the slope of every cell's cell-type NLL in the scale of single weights.

    Only what comes after a weight is run. The cells of a batch and the edits of a group stand side
    by side in one backward pass, each with a scale of its own.

    Parameters
    ----------
    model
        scGPT model in eval mode; it is left bit-identical.
    batches
        Cells whose type the model knows; walked once. Memory is that of `GROUP` times as many
        cells with gradients.
    places
        ``block, row, column`` of each weight, int, shape (weights, 3), each once.
    scales
        Where the slopes are taken: 1 is the intact model, 0 the weight at zero.

    Returns
    -------
    numpy.ndarray
        dL/ds, float64, shape (scales, weights, cells).
    """
    groups = _groups(places)
    parts = []
    with frozen(model):
        for batch in batches:
            start = _start(model, batch)
            found = np.empty((len(scales), len(places), len(batch.labels)))
            for group in groups:
                for index, scale in enumerate(scales):
                    slopes = _slopes(model, start, batch.labels, places[group], scale)
                    found[index, group] = slopes.double().cpu().numpy()
            parts.append(found)
    return np.concatenate(parts, axis=2)


def simpson(at_zero: np.ndarray, at_half: np.ndarray, at_one: np.ndarray) -> np.ndarray:
    """Return the change of the loss from scale 1 to scale 0 by Simpson's rule, from its slopes."""
    return -(at_zero + 4 * at_half + at_one) / 6


def spread_over_types(labels: np.ndarray, keys: np.ndarray, n_cells: int) -> np.ndarray:
    """Draw cells, as many of each type as there are, by a number that hangs on their name alone.

    Parameters
    ----------
    labels, keys
        Type and number of each cell, shape (cells,).
    n_cells
        Number of cells to draw, or all where there are fewer.

    Returns
    -------
    numpy.ndarray
        Positions of the cells, sorted.
    """
    order = np.lexsort((keys, labels))
    sizes = np.unique(labels, return_counts=True)[1]
    turn = np.empty(len(labels), np.int64)  # the first cell of every type comes before any second
    turn[order] = np.concatenate([np.arange(size) for size in sizes])
    return np.sort(np.lexsort((keys, turn))[:n_cells])


def _groups(places: np.ndarray) -> list[np.ndarray]:
    """Return the positions of weights of one block, at most `GROUP` at a time."""
    groups = []
    for block in np.unique(places[:, 0]):
        own = np.flatnonzero(places[:, 0] == block)
        own = own[np.lexsort(places[own].T[::-1])]
        groups += [own[first : first + GROUP] for first in range(0, own.size, GROUP)]
    return groups


@torch.no_grad()
def _start(model: nn.Module, batch: TokenBatch) -> _Start:
    layers = encoder_layers(model)
    kept: dict[str, Tensor] = {}
    with capture(encoder_points(layers, ["mlp_hidden", "pre_norm2"]), kept.__setitem__):
        forward_padded(model, batch)
    blocks = range(len(layers))
    return _Start(
        batch.padding,
        [kept[f"{block}.mlp_hidden"] for block in blocks],
        [kept[f"{block}.pre_norm2"] for block in blocks],
    )


def _slopes(
    model: nn.Module, start: _Start, labels: Tensor, places: np.ndarray, scale: float
) -> Tensor:
    """Return dL/ds of weights of one block, shape (weights, cells)."""
    hidden = start.hidden[places[0, 0]]
    scales = hidden.new_full((len(places), len(labels)), scale, requires_grad=True)
    with torch.enable_grad():
        scores = _logits(model, start, places, scales).double()
        nll = F.cross_entropy(scores.flatten(0, 1), labels.repeat(len(places)), reduction="sum")
    return torch.autograd.grad(nll, scales)[0]


def _logits(model: nn.Module, start: _Start, places: np.ndarray, scales: Tensor) -> Tensor:
    """Cell-type logits with each contribution w·h scaled, shape (weights, cells, types).

    Every call has `GROUP` rows of cells, since the last digits of a product depend on its shape.
    """
    layers, block = encoder_layers(model), int(places[0, 0])
    last = len(layers) - 1
    x = layers[block].norm2(_scaled_sums(model, start, places, scales, block == last))
    if block < last:
        padding = start.padding.repeat(GROUP, 1)
        for layer in layers[block + 1 : last]:
            x = layer(x, src_key_padding_mask=padding)
        x = layers[last].forward_cls(x, padding)
    return model.cls_decoder(x[:, 0]).unflatten(0, (GROUP, -1))[: len(places)]


def _scaled_sums(
    model: nn.Module, start: _Start, places: np.ndarray, scales: Tensor, first_token: bool
) -> Tensor:
    """Return the changed sums before norm2, shape (GROUP · cells, tokens, d_model)."""
    block, n = int(places[0, 0]), len(places)
    tokens = slice(0, 1) if first_token else slice(None)
    base, hidden = start.sums[block][:, tokens], start.hidden[block][:, tokens]
    weight = encoder_layers(model)[block].linear2.weight
    rows, columns = torch.from_numpy(places[:, 1:].T.copy()).to(base.device)
    h = hidden[..., columns].movedim(-1, 0)
    change = weight[rows, columns][:, None, None] * ((scales[..., None] - 1) * h)
    sums = base.expand(GROUP, *base.shape).clone()
    sums[torch.arange(n, device=base.device), :, :, rows] += change
    return sums.flatten(0, 1)
