"""First-order screen: the change of a loss that is predicted for zeroing each weight.

The core knows nothing of scGPT: any module, any batches, any list of linear layers. A weight's
gradient is taken cell by cell, from the layer's input h and the loss's gradient δ at its output
(g[r, c] = Σ over tokens of δ[r]·h[c]). So the cells of a batch may be of any types, and the squares
of single cells' gradients, which a backward pass over a batch does not give, come with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scsw.superweight.find import oriented_weight

# Numbers of single cells' gradients that are held at a time (float64, so 128 MiB).
_HELD = 2**24


@dataclass
class CellGradients:
    """A loss's gradient to every weight of some layers, summed over cells.

    Every tensor is float64 and of shape (rows, columns): output and input channels.

    Attributes
    ----------
    weights
        The weights, by block.
    n_cells
        Number of cells by type.
    by_type
        Σ of g over the cells of a type, by block; memory grows with the number of types.
    squares
        Σ of g² over all cells, by block.
    """

    weights: list[Tensor]
    n_cells: dict[int, int]
    by_type: dict[int, list[Tensor]]
    squares: list[Tensor]

    def effects(self) -> list[np.ndarray]:
        """Return Σ over types of |mean over the type's cells of −w·g|, by block.

        Types are kept apart, since their signs would cancel.
        """
        kinds = sorted(self.by_type)
        return [
            sum((w * self.by_type[k][block] / self.n_cells[k]).abs() for k in kinds).cpu().numpy()
            for block, w in enumerate(self.weights)
        ]

    def effects_of_types(self, places: np.ndarray) -> dict[int, np.ndarray]:
        """Return the mean over a type's cells of −w·g for some weights, by type.

        Parameters
        ----------
        places
            ``block, row, column`` of each weight, int, shape (weights, 3).
        """
        w = at(self.weights, places)
        return {
            kind: -w * at(self.by_type[kind], places) / self.n_cells[kind]
            for kind in sorted(self.by_type)
        }

    def signed(self, places: np.ndarray) -> np.ndarray:
        """Return the mean over all cells of −w·g for some weights."""
        sums = sum(at(self.by_type[kind], places) for kind in sorted(self.by_type))
        return -at(self.weights, places) * sums / sum(self.n_cells.values())

    def fisher(self, places: np.ndarray) -> np.ndarray:
        """Return the diagonal of the empirical Fisher matrix, the mean of g², for some weights."""
        return at(self.squares, places) / sum(self.n_cells.values())


def cell_gradients(
    model: nn.Module,
    batches: Iterable,
    down_projections: list[str],
    *,
    forward_loss: Callable[[nn.Module, object], Tensor],
    labels: Callable[[object], Tensor],
) -> CellGradients:
    """Pass over the cells once, forward and backward, and sum up the gradients of single cells.

    Parameters
    ----------
    model
        Any module in eval mode. It is left bit-identical, and no gradient is left in it.
    batches
        Iterable of batches; it is walked once. How cells are batched does not matter.
    down_projections
        Names of linear modules (or Hugging Face's ``Conv1D``) whose input and output are of shape
        (cells, tokens, channels); ``block`` is the position in this list.
    forward_loss
        Runs the model on a batch and returns the loss of each cell, shape (cells,). It alone
        decides which tokens count: padding that it does not read has no gradient.
    labels
        Returns the type of each cell of a batch, int, shape (cells,).

    Raises
    ------
    ValueError
        If there are no batches, or loss and labels are not one number per cell.
    RuntimeError
        If a module is not run exactly once in a forward pass, or not on (cells, tokens, channels).
    """
    layers = [model.get_submodule(name) for name in down_projections]
    weights = [oriented_weight(layer).double() for layer in layers]
    found = CellGradients(weights, {}, {}, [torch.zeros_like(w) for w in weights])
    for batch in batches:
        kinds = labels(batch).cpu()
        with frozen(model), torch.enable_grad():
            inputs, gradients = _inputs_and_gradients(
                model, batch, layers, forward_loss, len(kinds), down_projections
            )
        for kind, n in zip(*(x.tolist() for x in kinds.unique(return_counts=True)), strict=True):
            if kind not in found.by_type:
                found.by_type[kind] = [torch.zeros_like(w) for w in weights]
            found.n_cells[kind] = found.n_cells.get(kind, 0) + n
        for block, (h, delta) in enumerate(zip(inputs, gradients, strict=True)):
            _add_cells(found, block, h, delta, kinds)
    if not found.n_cells:
        raise ValueError("there are no batches to take gradients of")
    return found


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient, so that a backward pass keeps only what it needs."""
    requires = [p.requires_grad for p in model.parameters()]
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, value in zip(model.parameters(), requires, strict=True):
            parameter.requires_grad_(value)


def at(tensors: list[Tensor], places: np.ndarray) -> np.ndarray:
    """Return the numbers at ``block, row, column``, float64, shape (weights,)."""
    found = np.empty(len(places))
    for block in np.unique(places[:, 0]):
        own = places[:, 0] == block
        rows, columns = torch.as_tensor(places[own, 1:], device=tensors[block].device).unbind(1)
        found[own] = tensors[block][rows, columns].cpu().numpy()
    return found


def _inputs_and_gradients(
    model: nn.Module,
    batch: object,
    layers: list[nn.Module],
    forward_loss: Callable[[nn.Module, object], Tensor],
    n_cells: int,
    names: list[str],
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Return each layer's input and the gradient of the summed loss at its output."""
    inputs: list[list[Tensor]] = [[] for _ in layers]
    outputs: list[list[Tensor]] = [[] for _ in layers]

    def hook(block: int) -> Callable:
        def run(_module: nn.Module, given: tuple, output: Tensor) -> Tensor:
            if not output.requires_grad:  # the first block: nothing before it requires one
                output = output.detach().requires_grad_()
            inputs[block].append(given[0].detach())
            outputs[block].append(output)
            return output.clone()  # what follows may write into it

        return run

    handles = [layer.register_forward_hook(hook(block)) for block, layer in enumerate(layers)]
    try:
        losses = forward_loss(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    _check(losses, outputs, n_cells, names)
    gradients = torch.autograd.grad(losses.sum(), [output for (output,) in outputs])
    return [h for (h,) in inputs], gradients


def _check(losses: Tensor, outputs: list[list[Tensor]], n_cells: int, names: list[str]) -> None:
    if losses.shape != (n_cells,):
        raise ValueError(
            f"the loss is of shape {tuple(losses.shape)}, but there are {n_cells} cells"
        )
    for name, seen in zip(names, outputs, strict=True):
        if len(seen) != 1:
            raise RuntimeError(f"{name} ran {len(seen)} times in one forward pass and not once")
        if seen[0].is_nested or seen[0].dim() != 3 or len(seen[0]) != n_cells:
            raise RuntimeError(f"the output of {name} is not of shape (cells, tokens, channels)")


def _add_cells(found: CellGradients, block: int, h: Tensor, delta: Tensor, kinds: Tensor) -> None:
    """Add the gradients of a batch's cells, some cells at a time."""
    step = max(1, _HELD // found.squares[block].numel())
    for start in range(0, len(h), step):
        part = slice(start, start + step)
        g = torch.einsum("ntr,ntc->nrc", delta[part], h[part]).double()
        own = kinds[part]
        for kind in own.unique().tolist():
            chosen = torch.nonzero(own == kind)[:, 0].to(g.device)
            found.by_type[kind][block] += g.index_select(0, chosen).sum(0)
        found.squares[block] += g.square_().sum(0)
