"""Streaming statistics of one site's activations, per channel and group of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scsw.superweight.add_batch import add_batch
from scsw.superweight.histogram import (
    LOWEST_BIN,
    WIDTH,
    add_to_histogram,
    histogram_quantile,
    histogram_quantiles,
    places,
)
from scsw.superweight.kernels.site_pass import CHUNK, has_site_pass, site_pass
from scsw.superweight.kernels.site_update import site_update
from scsw.superweight.run_compiled import run_compiled
from scsw.superweight.to_numpy import to_numpy


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

    @cached_property
    def stacked(self) -> Tensor:
        """Groups of all groupings, int64, shape (groupings, cells)."""
        if self.groups:
            return torch.stack(list(self.groups.values()))
        return torch.zeros(0, len(self.real), dtype=torch.int64, device=self.real.device)

    @cached_property
    def kinds(self) -> Tensor:
        """What `site_pass` knows of the tokens, uint8, shape (cells, tokens of whole chunks)."""
        kinds = self.real.to(torch.uint8)
        if self.special is not None:
            kinds = kinds + 2 * (self.real & self.special).to(torch.uint8)
        return F.pad(kinds, (0, -kinds.shape[1] % CHUNK))

    @cached_property
    def lengths(self) -> Tensor:
        """Real tokens of each cell, int64, shape (cells,)."""
        return self.real.sum(1)

    @cached_property
    def n_kinds(self) -> Tensor:
        """Number of special tokens and of others, int64, shape (2,)."""
        n = self.real.sum()
        n_special = 0 * n if self.special is None else (self.real & self.special).sum()
        return torch.stack([n_special, n - n_special])


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
        Whether sums of powers are kept; without, only maxima and the site's median are.

    Attributes
    ----------
    n_cells, n_tokens
        Cells and, once finished, real tokens.
    max, max_cell, max_token
        Largest |x| of each channel, and where it is: the number of the cell, counted from the
        first one seen, and its token; shape (channels,).
    top
        Cells whose largest channel this is, shape (channels,).
    histogram
        Counts of |x|, shape (channels, ``BINS + 2``); without moments those of all channels
        together, shape (1, ``BINS + 2``).
    powers
        Sums of x, x², x³, x⁴ and |x|, float64, shape (5, channels).
    zeros
        Real tokens at which x is exactly 0, shape (channels,).
    groups
        For each grouping ``max`` and ``sum`` of |x|, shape (groups, channels), and the number of
        ``tokens``, shape (groups,). The grouping ``token`` has the groups special and other.

    They are numpy arrays once `finish` was called.
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
        self.positive_only, self._special, self._moments = positive_only, special, moments
        self._sizes = dict(groupings or {})
        self._device = torch.device(device)
        n_groups = sum(self._sizes.values())

        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        first = np.cumsum([0, *self._sizes.values()])[:-1]
        # Not to wait for the GPU, which would idle once for each site.
        self._first_group = torch.from_numpy(first)[:, None].to(self._device, non_blocking=True)
        self.n_cells, self.n_tokens = 0, 0
        # A GPU counts in 32 bits; the counts go to others of 64 before they could overflow.
        narrow = torch.int64 if self._device.type == "cpu" else torch.int32
        self._counts, self._n_counted = zeros(WIDTH, channels, dtype=narrow), 0
        self._earlier: Tensor | None = None
        self._state = {
            "max": zeros(channels, dtype=torch.float32),
            "max_cell": zeros(channels, dtype=torch.int64) - 1,
            "max_token": zeros(channels, dtype=torch.int64) - 1,
            "top": zeros(channels, dtype=torch.int64),
            "powers": zeros(5, channels),
            "zeros": zeros(channels, dtype=torch.int64),
            "group_max": zeros(n_groups, channels, dtype=torch.float32),
            "group_sum": zeros(n_groups, channels),
            "group_tokens": zeros(n_groups, dtype=torch.int64),
            "kind_max": zeros(2, channels, dtype=torch.float32),
            "kind_sum": zeros(2, channels),
            "kind_tokens": zeros(2, dtype=torch.int64),
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
        self._make_room(tokens.real.numel())
        add = self._add_by_kernel if has_site_pass(self._device, WIDTH) else self._add_by_torch
        new = add(x, tokens)
        self.n_cells += len(x)
        return NewMaxima(*new)

    def _add_by_kernel(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        kept = {"moments": self._moments, "special": self._special}
        chunks = site_pass(x, tokens.kinds, self._counts, LOWEST_BIN, any(kept.values()))
        groups = tokens.stacked, self._first_group
        counted = tokens.lengths, tokens.n_kinds, self.n_cells
        return site_update(self._state, chunks, groups, *counted, **kept)

    def _add_by_torch(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        special = tokens.special if self._special else None
        groups = tokens.stacked + self._first_group if self._sizes else None
        self._state, new = run_compiled(add_batch, self._device)(
            self._state, x, tokens.real, special, groups, self.n_cells, self._moments
        )
        self._count(x, tokens.real)
        return new

    def _count(self, x: Tensor, real: Tensor) -> None:
        """Add |x| to the histogram; padding may be counted as 0."""
        if self._device.type == "cpu":
            counts = torch.bincount(places(x, real), minlength=self._counts.numel())
            self._counts += counts.view_as(self._counts)
        else:
            run_compiled(add_to_histogram, self._device)(self._counts, x, real)

    def _make_room(self, n_tokens: int) -> None:
        """Make sure that no counter can overflow while `n_tokens` are counted."""
        if self._n_counted + n_tokens > torch.iinfo(self._counts.dtype).max:
            self._earlier = self._all_counts().to(torch.int64, copy=True)
            self._counts.zero_()
            self._n_counted = 0
        self._n_counted += n_tokens

    def _all_counts(self) -> Tensor:
        return self._counts if self._earlier is None else self._earlier + self._counts

    def finish(self, n_tokens: int) -> SiteStatistics:
        """Turn all sums into numpy arrays, once every batch was added.

        Parameters
        ----------
        n_tokens
            Real tokens of all batches.
        """
        finish([self], n_tokens)
        return self

    def _take(self, state: dict[str, np.ndarray], counts: np.ndarray) -> None:
        """Take over what `finish` has brought to the CPU; `counts` are those of all channels."""
        self._site_counts = counts
        self._site_counts[0] -= counts.sum() - self.n_tokens * self._counts.shape[1]  # the padding
        for name in ("max", "max_cell", "max_token", "top", "powers", "zeros"):
            setattr(self, name, state[name])
        self.groups, first = {}, 0
        for name, n in self._sizes.items():
            self.groups[name] = {
                key: state[f"group_{key}"][first : first + n] for key in ("max", "sum", "tokens")
            }
            first += n
        if self._special:
            self.groups["token"] = {key: state[f"kind_{key}"] for key in ("max", "sum", "tokens")}
        # The histograms stay on the device, from which a quantile is brought faster than they are.
        self._counts = self._all_counts() if self._moments else None
        del self._state, self._earlier

    @cached_property
    def _real_counts(self) -> Tensor:
        """Counts of |x| over real tokens, on the device, shape (``BINS + 2``, channels)."""
        counts = self._counts.to(torch.int64, copy=True)
        counts[0] -= counts.sum(0) - self.n_tokens  # the padding
        return counts

    @property
    def histogram(self) -> np.ndarray:
        """Counts of |x| over real tokens, int64; see the class."""
        if self._counts is None:
            return self._site_counts[None]
        return self._real_counts.t().cpu().numpy()

    def site_median(self) -> float:
        """Median of |x| over real tokens and channels (positive entries where asked for).

        Where most entries are 0, it is that of the others: a spike among zeros is a spike.
        """
        counts = self._site_counts
        if self.positive_only or histogram_quantile(counts, 0.5) == 0:
            counts = np.concatenate([[0], counts[1:]])
        return histogram_quantile(counts, 0.5)

    def quantile(self, q: float) -> np.ndarray:
        """Quantile of |x| of each channel over real tokens."""
        return histogram_quantiles(self._real_counts, q).cpu().numpy()

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


def finish(sites: Sequence[SiteStatistics], n_tokens: int) -> None:
    """Turn all sums of all sites into numpy arrays, in few copies.

    Parameters
    ----------
    sites
        To which every batch was added.
    n_tokens
        Real tokens of all batches.
    """
    states = iter(to_numpy([value for site in sites for value in site._state.values()]))
    counts = to_numpy([site._all_counts().sum(1) for site in sites])
    for site, own in zip(sites, counts, strict=True):
        site.n_tokens = n_tokens
        site._take({name: next(states) for name in site._state}, own)
