"""How a loss changes along the way to zero: its slope in the scale of one weight's contribution.

A large weight moves the loss far from where its slope was taken, so the slope at the intact model
alone misjudges it. With the contribution s·w·h in place of w·h, the change from s = 1 to s = 0 is
the integral of −dL/ds, which Simpson's rule takes from the slopes at 0, ½ and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scsw.scgpt.tokens.token_batch import TokenBatch
from scsw.superweight.ablation import Edit, Prefix, groups_of_edits, logits_at_scales, prefix
from scsw.superweight.first_order import frozen


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
    edits = [Edit("", "candidate", "scale", *map(int, place)) for place in places]
    groups = groups_of_edits(edits)
    position = {tuple(place): index for index, place in enumerate(places.tolist())}
    parts = []
    with frozen(model):
        for batch in batches:
            start = prefix(model, batch)
            found = np.empty((len(scales), len(places), len(batch.labels)))
            for group in groups:
                own = [position[edit.block, edit.row, edit.column] for edit in group]
                for index, scale in enumerate(scales):
                    slopes = _slopes(model, start, batch.labels, group, scale)
                    found[index, own] = slopes.double().cpu().numpy()
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


def _slopes(
    model: nn.Module, start: Prefix, labels: Tensor, group: list[Edit], scale: float
) -> Tensor:
    """Return dL/ds of one group, shape (edits, cells)."""
    hidden = start.hidden[group[0].block]
    scales = hidden.new_full((len(group), len(labels)), scale, requires_grad=True)
    with torch.enable_grad():
        scores = logits_at_scales(model, start, group, scales)[: len(group)].double()
        nll = F.cross_entropy(scores.flatten(0, 1), labels.repeat(len(group)), reduction="sum")
    return torch.autograd.grad(nll, scales)[0]
