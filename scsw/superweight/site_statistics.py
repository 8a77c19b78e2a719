"""Streaming statistics of one site's activations, per channel and group of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

# Bins of |x|: 32 to each power of two from 2^-20 to 2^20. They are cut from the bits of the float32
# number, so that every device puts a number into the same bin, and fixed, so that histograms of
# batches add up to that of all cells.
_OCTAVES, _PER_OCTAVE = 20, 32
BINS = 2 * _OCTAVES * _PER_OCTAVE
_WIDTH = BINS + 2  # below, among which is 0, and above


@dataclass
class Tokens:
    """What a batch's tokens are.

    Attributes
    ----------
    real
        True at real tokens, bool, shape (cells, tokens).
    groups
        For each grouping the group of each cell, int64, shape (cells,).
    special
        True at tokens that are no gene, such as `<cls>`; bool, shape (cells, tokens).
    """

    real: Tensor
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    special: Tensor | None = None

    def to(self, device: torch.device) -> Tokens:
        """Return the same on `device`."""
        special = None if self.special is None else self.special.to(device)
        groups = {name: group.to(device) for name, group in self.groups.items()}
        return Tokens(self.real.to(device), groups, special)


@dataclass
class NewMaxima:
    """The channels whose largest |x| a batch has raised, and the tokens that hold it.

    Attributes
    ----------
    channels
        True for a channel with a new maximum, shape (channels,).
    cell, token
        Where the batch's maximum of each channel is, int64, shape (channels,).
    """

    channels: Tensor
    cell: Tensor
    token: Tensor


class SiteStatistics:
    """Statistics of |x| at one site over real tokens; memory does not grow with cells.

    Parameters
    ----------
    channels
        Width of the site.
    groupings
        For each name the number of groups, e.g. ``{"cell_type": 12, "donor": 8}``.
    device
        Where the activations are.
    positive_only
        Take the site's median over positive entries (a ReLU's output is mostly zero).
    special
        Whether tokens are told apart into special ones and others.
    moments
        Whether sums of powers are kept; without, only maxima and quantiles are.

    Attributes
    ----------
    n_cells, n_tokens
        Cells and real tokens so far.
    max, max_cell, max_token
        Largest |x| of each channel, and where it is: the number of the cell, counted from the
        first one seen, and its token; shape (channels,).
    top
        Cells whose largest channel this is, shape (channels,).
    histogram
        Counts of |x|, int64, shape (channels, ``BINS + 2``).
    powers
        Sums of x, x², x³, x⁴ and |x|, float64, shape (5, channels).
    zeros
        Real tokens at which x is exactly 0, shape (channels,).
    groups
        For each grouping ``max`` and ``sum`` of |x|, shape (groups, channels), and the number of
        ``tokens``, shape (groups,). The grouping ``token`` has the groups special and other.
    """

    def __init__(
        self,
        channels: int,
        groupings: Mapping[str, int] | None = None,
        *,
        device: torch.device | str = "cpu",
        positive_only: bool = False,
        special: bool = False,
        moments: bool = True,
    ) -> None:
        self.positive_only, self._moments = positive_only, moments
        self._compiled = torch.device(device).type == "cuda"

        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.n_cells, self.n_tokens = 0, 0
        self.max = zeros(channels, dtype=torch.float32)
        self.max_cell, self.max_token = (zeros(channels, dtype=torch.int64) - 1 for _ in range(2))
        self.top = zeros(channels, dtype=torch.int64)
        self.histogram = zeros(channels, _WIDTH, dtype=torch.int64)
        self.powers, self.zeros = zeros(5, channels), zeros(channels, dtype=torch.int64)
        sizes = dict(groupings or {}) | ({"token": 2} if special else {})
        self.groups = {
            name: {
                "max": zeros(n, channels, dtype=torch.float32),
                "sum": zeros(n, channels),
                "tokens": zeros(n, dtype=torch.int64),
            }
            for name, n in sizes.items()
        }

    def update(self, x: Tensor, tokens: Tokens) -> NewMaxima:
        """Add one batch.

        Parameters
        ----------
        x
            Activations, shape (cells, tokens, channels).
        tokens
            What the tokens are, on the device of `x`.
        """
        run = _compiled if self._compiled else _as_it_is
        special = tokens.special if "token" in self.groups else None
        found = run(per_cell)(x, tokens.real, special, self._moments)
        run(add_to_histogram)(self.histogram, x, tokens.real)
        best, cell = found["max"].max(0)
        token = found["token"].gather(0, cell[None])[0]
        new = best > self.max
        self.max = torch.where(new, best, self.max)
        self.max_cell = torch.where(new, cell + self.n_cells, self.max_cell)
        self.max_token = torch.where(new, token, self.max_token)
        self.top += torch.bincount(found["max"].argmax(1), minlength=len(self.top))
        self._add_groups(found, tokens)
        if self._moments:
            self.powers += found["powers"].sum(1)
            self.zeros += found["zeros"].sum(0)
        self.n_cells += len(x)
        return NewMaxima(new, cell, token)

    def _add_groups(self, found: dict[str, Tensor], tokens: Tokens) -> None:
        sizes = found["powers"][4] if self._moments else found["max"].double()
        counts = tokens.real.sum(1)
        for name, group in tokens.groups.items():
            if name in self.groups:
                self._add_group(name, group, found["max"], sizes, counts)
        if "special_max" in found:
            n = (tokens.real & tokens.special).sum(1)
            kinds = (
                (0, found["special_max"], found["special_sum"], n),
                (1, found["other_max"], sizes - found["special_sum"], counts - n),
            )
            for kind, largest, total, own in kinds:
                self._add_group("token", torch.full_like(counts, kind), largest, total, own)

    def _add_group(self, name: str, group: Tensor, largest: Tensor, total: Tensor, n: Tensor):
        stored, wide = self.groups[name], group[:, None].expand_as(largest)
        stored["max"].scatter_reduce_(0, wide, largest, "amax")
        stored["sum"].index_add_(0, group, total)
        stored["tokens"].index_add_(0, group, n)

    def finish(self, n_tokens: int) -> SiteStatistics:
        """Turn all sums into numpy arrays, once every batch was added.

        Parameters
        ----------
        n_tokens
            Real tokens of all batches.
        """
        self.n_tokens = n_tokens
        for name in ("max", "max_cell", "max_token", "top", "histogram", "powers", "zeros"):
            setattr(self, name, _array(getattr(self, name)))
        self.groups = {
            name: {key: _array(value) for key, value in stored.items()}
            for name, stored in self.groups.items()
        }
        # Padding was counted as zeros.
        self.histogram[:, 0] -= self.histogram.sum(1) - n_tokens
        return self

    def site_median(self) -> float:
        """Median of |x| over real tokens and channels (positive entries where asked for)."""
        counts = self.histogram.sum(0)
        if self.positive_only:
            counts[0] = 0
        return histogram_quantile(counts, 0.5)

    def quantile(self, q: float) -> np.ndarray:
        """Quantile of |x| of each channel over real tokens."""
        return np.array([histogram_quantile(row, q) for row in self.histogram])

    def mean(self) -> np.ndarray:
        """Signed mean of x of each channel over real tokens."""
        return self.powers[0] / max(self.n_tokens, 1)

    def mean_size(self) -> np.ndarray:
        """Mean of |x| of each channel over real tokens."""
        return self.powers[4] / max(self.n_tokens, 1)

    def zero_share(self) -> np.ndarray:
        """Share of the real tokens at which a channel is exactly 0."""
        return self.zeros / max(self.n_tokens, 1)

    def kurtosis(self) -> np.ndarray:
        """Kurtosis of x of each channel over real tokens (3 for a Gaussian); NaN if constant."""
        m1, m2, m3, m4 = self.powers[:4] / max(self.n_tokens, 1)
        variance = m2 - m1**2
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        # Below this share of the mean square, the difference is nothing but rounding.
        known = variance > 1e-12 * m2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(known, fourth / variance**2, np.nan)

    def participation_ratio(self) -> np.ndarray:
        """Share of the tokens that carry a channel's energy: (Σx²)² / (n Σx⁴), from 1/n to 1.

        It is 1 for a channel of the same size at every token and 1/n for one that is silent but
        for a single token; NaN for a channel that is always 0.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.powers[1] ** 2 / (self.n_tokens * self.powers[3])


def per_cell(x: Tensor, real: Tensor, special: Tensor | None, moments: bool) -> dict[str, Tensor]:
    """Return what is wanted of each cell and channel, padding left out.

    One function without loops, so that a compiler can make it one pass over `x`.
    """
    x = torch.where(real[..., None], x.float(), 0.0)
    size = x.abs()
    largest, token = size.max(1)
    found = {"max": largest, "token": token}
    if moments:
        wide = x.double()
        square = wide * wide
        sums = (wide, square, square * wide, square * square, size.double())
        found["powers"] = torch.stack([each.sum(1) for each in sums])
        found["zeros"] = (real[..., None] & (x == 0)).sum(1)
    if special is not None:
        own = torch.where(special[..., None], size, 0.0)
        found["special_max"], found["special_sum"] = own.amax(1), own.double().sum(1)
        found["other_max"] = torch.where(special[..., None], 0.0, size).amax(1)
    return found


def add_to_histogram(histogram: Tensor, x: Tensor, real: Tensor) -> None:
    """Count |x| of each channel; padding is counted as 0."""
    size = torch.where(real[..., None], x.float().abs(), 0.0)
    channels = torch.arange(x.shape[2], device=x.device)
    place = (bin_of(size).long() + channels * _WIDTH).flatten()
    if x.device.type == "cpu":  # many times as fast there
        histogram += torch.bincount(place, minlength=histogram.numel()).view_as(histogram)
    else:
        histogram.view(-1).scatter_add_(0, place, torch.ones_like(place))


def bin_of(size: Tensor) -> Tensor:
    """Return the bin of each number, which is float32 and not negative."""
    # The exponent and the five highest bits of the fraction.
    number = (size.contiguous().view(torch.int32) >> 18) - (127 - _OCTAVES) * _PER_OCTAVE + 1
    return number.clamp(0, BINS + 1)


def histogram_quantile(counts: np.ndarray, q: float) -> float:
    """Quantile of a histogram, interpolated within its bin; 0 if it is empty."""
    total = counts.sum()
    if total == 0:
        return 0.0
    cumulative = np.cumsum(counts)
    index = int(np.searchsorted(cumulative, q * total))
    if index == 0:
        return 0.0
    before = cumulative[index - 1]
    within = (q * total - before) / counts[index]
    low, high = _edge(index), _edge(index + 1)
    return float(low + within * (high - low))


def _edge(index: int) -> float:
    octave, part = divmod(min(index, BINS + 1) - 1, _PER_OCTAVE)
    return 2.0 ** (octave - _OCTAVES) * (1 + part / _PER_OCTAVE)


def _array(x: Tensor) -> np.ndarray:
    return (x.double() if x.is_floating_point() else x).cpu().numpy()


def _as_it_is(function: Callable) -> Callable:
    return function


@cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)
