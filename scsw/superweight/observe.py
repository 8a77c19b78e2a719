"""One pass over cells: the statistics of every site, and the tokens at which channels peak."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from scsw.superweight.capture import capture
from scsw.superweight.evaluating import evaluating
from scsw.superweight.site_statistics import NewMaxima, SiteStatistics, Tokens, finish
from scsw.superweight.to_numpy import to_numpy

HIDDEN, OUTPUT, SUM = "mlp_hidden", "mlp_out", "pre_norm2"


@dataclass
class Peaks:
    """What was there at the token of each channel's largest |value|, at one site of one block.

    Attributes
    ----------
    hidden
        Input of the down-projection, shape (rows, columns).
    output
        The down-projection's own output of that channel, shape (rows,).
    total
        Sum of residual and output there, NaN if the block's sum is not looked at; shape (rows,).
    """

    hidden: Tensor | np.ndarray
    output: Tensor | np.ndarray
    total: Tensor | np.ndarray

    @classmethod
    def empty(cls, rows: int, columns: int, device: torch.device) -> Peaks:
        """Return the peaks of no token yet."""
        hidden, output = (torch.zeros(s, device=device) for s in ((rows, columns), (rows,)))
        return cls(hidden, output, torch.full_like(output, torch.nan))

    def update(self, new: NewMaxima, hidden: Tensor, output: Tensor, total: Tensor | None) -> None:
        """Take over the channels that have a new maximum."""
        rows = torch.arange(len(self.total), device=self.total.device)
        own = new.channels
        at = hidden[new.cell, new.token].float()
        self.hidden = torch.where(own[:, None], at, self.hidden)
        self.output = torch.where(own, output[new.cell, new.token, rows].float(), self.output)
        if total is not None:
            self.total = torch.where(own, total[new.cell, new.token, rows].float(), self.total)


@dataclass
class Observation:
    """What one pass over the cells has seen.

    Attributes
    ----------
    sites
        `SiteStatistics` by ``{block}.{site}``.
    peaks
        `Peaks` by ``{block}.mlp_out`` and, where the sum with the residual is known,
        ``{block}.pre_norm2``.
    places
        Number of the batch and of the cell in it, for each cell, int64, shape (cells, 2).
    """

    sites: dict[str, SiteStatistics]
    peaks: dict[str, Peaks]
    places: np.ndarray = field(repr=False)


@torch.no_grad()
def observe(
    model: nn.Module,
    batches: Iterable,
    down_projections: list[str],
    sums: list[str | None],
    *,
    forward: Callable[[nn.Module, Any], Any],
    token_mask: Callable[[Any], Tensor],
    more_sites: Mapping[str, tuple[nn.Module, str]] | None = None,
    groupings: Mapping[str, int] | None = None,
    groups: Callable[[Any], Mapping[str, Tensor]] | None = None,
    special: Callable[[Any], Tensor] | None = None,
    moments: bool = False,
) -> Observation:
    """Pass over all batches once; memory does not grow with cells.

    Parameters
    ----------
    model
        Any module; it is run in eval mode and not changed.
    batches, down_projections, forward, token_mask
        As for `find_candidates`.
    sums
        For each block the module whose input is residual + output, or None.
    more_sites
        Further capture points ``{block}.{site}``.
    groupings, groups
        For each grouping the number of groups, and a function that returns the group of each cell
        of a batch, int64, shape (cells,).
    special
        Returns True at tokens that are told apart from the others, such as `<cls>`; bool, shape
        (cells, tokens).
    moments
        Whether means, kurtosis and participation ratio are wanted too.

    Raises
    ------
    RuntimeError
        If a capture point was not passed once for every batch, so that spikes could be missed.
    ValueError
        If there are no batches, activations are not finite, or a down-projection is no linear
        module with a weight of its own.
    """
    points = _points(model, down_projections, sums) | dict(more_sites or {})
    site_options = {"groupings": groupings, "special": special is not None, "moments": moments}
    collector = _Collector(model, points, down_projections, site_options)
    places = []
    with evaluating(model), capture(points, collector.receive):
        for number, batch in enumerate(batches):
            tokens = Tokens(
                token_mask(batch),
                groups(batch) if groups else {},
                special(batch) if special else None,
            )
            collector.begin(tokens)
            forward(model, batch)
            collector.end()
            cells = len(tokens.real)
            places.append(np.stack([np.full(cells, number), np.arange(cells)], axis=1))
    if not places:
        raise ValueError("there are no batches to search")
    return collector.finish(np.concatenate(places))


@dataclass
class _Held:
    """Activations of a block, kept until the last of its points is passed."""

    hidden: Tensor | None = None
    output: Tensor | None = None
    new: NewMaxima | None = None


class _Collector:
    """Receives what the capture points see."""

    def __init__(self, model, points, down_projections, site_options) -> None:
        self._points, self._options = points, site_options
        shapes = [_shape(model.get_submodule(name)) for name in down_projections]
        self._peaks: dict[str, Peaks] = {}
        self._shapes = dict(enumerate(shapes))
        self._sites: dict[str, SiteStatistics] = {}
        self._held: dict[int, _Held] = {}
        self._tokens: Tokens | None = None
        self._n_tokens: Tensor | int = 0
        self._seen: set[str] = set()

    def begin(self, tokens: Tokens) -> None:
        if not isinstance(tokens.real, Tensor) or tokens.real.dtype != torch.bool:
            kind = getattr(tokens.real, "dtype", type(tokens.real).__name__)
            raise ValueError(f"token_mask returns {kind}, expected a torch.bool tensor (.bool())")
        self._tokens = tokens
        self._n_tokens = self._n_tokens + tokens.real.sum()
        self._seen.clear()

    def receive(self, name: str, x: Tensor) -> None:
        block, site = name.split(".")
        if name in self._seen:
            raise RuntimeError(
                f"{name} was passed twice for one batch: a module that a forward pass runs several "
                "times is several blocks, which cannot be told apart (generate: one new token)"
            )
        self._seen.add(name)
        if self._tokens.real.device != x.device:
            self._tokens = self._tokens.to(x.device)
        if name not in self._sites:
            self._sites[name] = SiteStatistics(
                x.shape[-1], device=x.device, positive_only=site == HIDDEN, **self._options
            )
        x = by_cell(x, self._tokens.real, name)
        new = self._sites[name].update(x, self._tokens)
        if site not in (HIDDEN, OUTPUT, SUM):
            return
        held = self._held.setdefault(int(block), _Held())
        if site == HIDDEN:
            held.hidden = x
        elif site == OUTPUT:
            # Falcon adds its attention to this very tensor.
            held.output, held.new = x.clone(), new
        if site == (SUM if f"{block}.{SUM}" in self._points else OUTPUT):
            self._update_peaks(int(block), new, x if site == SUM else None)

    def _update_peaks(self, block: int, new: NewMaxima, total: Tensor | None) -> None:
        """Look at the peaks of a block, once the last of its points was passed."""
        held = self._held.pop(block)
        if held.output is None:
            raise RuntimeError(
                f"{block}.{SUM} was passed before {block}.{OUTPUT}, which is no part of it: name a "
                "norm that runs after the down-projection"
            )
        looked_at = {OUTPUT: held.new} | ({} if total is None else {SUM: new})
        for site, maxima in looked_at.items():
            name = f"{block}.{site}"
            if name not in self._peaks:
                self._peaks[name] = Peaks.empty(*self._shapes[block], held.output.device)
            self._peaks[name].update(maxima, held.hidden, held.output, total)

    def end(self) -> None:
        missing = sorted(set(self._points) - self._seen)
        if missing:
            raise RuntimeError(
                f"these hooks saw nothing, so spikes could be missed: {missing}; give the module "
                "that `forward` runs, before torch.compile"
            )

    def finish(self, places: np.ndarray) -> Observation:
        if not self._n_tokens:
            raise ValueError("token_mask is False at every token, so that nothing was looked at")
        sites = {name: self._sites[name] for name in self._points}
        finish(list(sites.values()), int(self._n_tokens))
        for name, site in sites.items():
            if not np.isfinite(site.max).all():
                raise ValueError(f"{name} holds activations that are no finite numbers")
        fields = [(peak.hidden, peak.output, peak.total) for peak in self._peaks.values()]
        arrays = iter(to_numpy([each for own in fields for each in own]))
        peaks = {name: Peaks(next(arrays), next(arrays), next(arrays)) for name in self._peaks}
        return Observation(sites, peaks, places)


def by_cell(x: Tensor, real: Tensor, name: str) -> Tensor:
    """Return activations in the shape (cells, tokens, channels), however the model lays them out.

    Raises
    ------
    RuntimeError
        If they are neither of every token nor of the real ones, so that padding cannot be told.
    """
    if x.shape[:-1] == real.shape:
        return x
    if x.ndim == 2 and len(x) == real.numel():
        return x.view(*real.shape, -1)
    if x.ndim == 2 and len(x) == int(real.sum()):
        spread = x.new_zeros(*real.shape, x.shape[1])
        spread[real] = x
        return spread
    raise RuntimeError(
        f"{name} has the shape {tuple(x.shape)}, but the token mask {tuple(real.shape)}: tokens "
        "cannot be told from padding (expected: cells first; no experts that see some tokens only)"
    )


def _points(
    model: nn.Module, down_projections: list[str], sums: list[str | None]
) -> dict[str, tuple[nn.Module, str]]:
    points = {}
    for block, (down, total) in enumerate(zip(down_projections, sums, strict=True)):
        layer = linear(model, down)
        points[f"{block}.{HIDDEN}"], points[f"{block}.{OUTPUT}"] = (
            (layer, "input"),
            (layer, "output"),
        )
        if total is not None:
            points[f"{block}.{SUM}"] = (model.get_submodule(total), "input")
    return points


def linear(model: nn.Module, name: str) -> nn.Module:
    """Return a linear module, whose output is its weight times its input, plus its bias.

    Raises
    ------
    ValueError
        If there is none of this name, or its weight is not a matrix of real numbers that belongs
        to it, as in an adapter, a parametrisation, a quantised or an offloaded module.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("the model is TorchScript, which runs no hooks: give it as it was before")
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"the model has no module {name}: {error}") from error
    if own_parameter(module, name, "weight").ndim != 2:
        raise ValueError(f"{name} is a {type(module).__name__}, expected a linear module")
    return module


def own_parameter(module: nn.Module, name: str, parameter: str) -> Tensor:
    """Return a parameter that a module holds itself, so that an edit changes what it computes.

    Raises
    ------
    ValueError
        If it holds none of this name, or one that cannot be edited number by number.
    """
    tensor = module._parameters.get(parameter)
    if tensor is None:
        raise ValueError(
            f"{name} ({type(module).__name__}) has no parameter {parameter} of its own: name a "
            "linear module, and merge adapters and parametrisations into it first"
        )
    wrapped = is_traceable_wrapper_subclass(tensor)  # torchao's quantised tensors, DTensor
    if not tensor.is_floating_point() or tensor.is_meta or wrapped:
        kind = f"{type(tensor).__name__} of " if wrapped else ""
        raise ValueError(
            f"{name}.{parameter} is {kind}{tensor.dtype} on {tensor.device}: expected real "
            "numbers, neither quantised nor offloaded nor sharded"
        )
    return tensor


def _shape(layer: nn.Module) -> tuple[int, int]:
    """Return the output and input channels of a linear layer."""
    return tuple(oriented_weight(layer).shape)


def oriented_weight(layer: nn.Module) -> Tensor:
    """Return the weight as (output, input); Hugging Face's ``Conv1D`` stores the transpose."""
    weight = layer.weight.detach()
    return weight.T if is_transposed(layer) else weight


def weight_and_bias(layer: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight as (output, input) and the bias, 0 where there is none; float64."""
    weight = oriented_weight(layer).double().cpu().numpy()
    bias = getattr(layer, "bias", None)
    if bias is None:
        return weight, np.zeros(len(weight))
    return weight, bias.detach().double().cpu().numpy()


def is_transposed(layer: nn.Module) -> bool:
    """Tell whether a layer stores its weight as (input, output)."""
    return type(layer).__name__ == "Conv1D"
