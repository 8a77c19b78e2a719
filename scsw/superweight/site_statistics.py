"""Streaming statistics of one site's activations, per channel and group of cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Fixed log-spaced bins, so that histograms of batches add up to that of all cells.
LOWEST, HIGHEST, BINS = 1e-6, 1e6, 1200


class SiteStatistics:
    """Statistics of |x| at one site over real tokens; memory does not grow with cells.

    Parameters
    ----------
    channels
        Width of the site.
    groupings
        For each name the number of groups, e.g. ``{"cell_type": 12, "donor": 8}``.
    positive_only
        Take the site's median over positive entries (a ReLU's output is mostly zero).
    """

    def __init__(
        self, channels: int, groupings: dict[str, int], *, positive_only: bool = False
    ) -> None:
        self.positive_only = positive_only
        self.n_cells, self.n_tokens = 0, 0
        self.powers = np.zeros((4, channels))  # sums of x, x², x³, x⁴
        self.sum_abs = np.zeros(channels)
        self.histogram = np.zeros((channels, BINS + 2), dtype=np.int64)
        self.n_zero = 0
        self.top = np.zeros(channels, dtype=np.int64)  # cells whose largest channel this is
        self.max = np.zeros(channels)
        self.max_gene = np.full(channels, -1, dtype=np.int64)
        self.max_bin = np.full(channels, np.nan)
        self.groups = {
            name: {
                "max": np.zeros((n, channels)),
                "sum": np.zeros((n, channels)),
                "tokens": np.zeros(n, dtype=np.int64),
            }
            for name, n in groupings.items()
        }

    def update(
        self, x: Tensor, real: Tensor, genes: Tensor, bins: Tensor, groups: dict[str, np.ndarray]
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        x
            Activations, shape (cells, tokens, channels).
        real
            True at real tokens, shape (cells, tokens).
        genes, bins
            Token id and shown value of each token, shape (cells, tokens).
        groups
            For each grouping the group of each cell, int, shape (cells,).
        """
        x = x.float()
        size = torch.where(real[..., None], x.abs(), 0)
        per_cell_max, where = size.max(1)
        per_cell_sum = size.sum(1, dtype=torch.float64).cpu().numpy()
        tokens = real.sum(1).cpu().numpy()
        self.n_cells += x.shape[0]
        self.n_tokens += int(tokens.sum())
        self.sum_abs += per_cell_sum.sum(0)
        self.top += np.bincount(per_cell_max.argmax(1).cpu().numpy(), minlength=self.top.size)
        flat = x[real].double()
        for power in range(4):
            self.powers[power] += (flat ** (power + 1)).sum(0).cpu().numpy()
        self._add_to_histogram(size[real])
        self._update_maximum(per_cell_max, where, genes, bins)
        maxima = per_cell_max.double().cpu().numpy()
        for name, own in groups.items():
            stored = self.groups[name]
            np.maximum.at(stored["max"], own, maxima)
            np.add.at(stored["sum"], own, per_cell_sum)
            np.add.at(stored["tokens"], own, tokens)

    def site_median(self) -> float:
        """Median of |x| over real tokens and channels (positive entries where asked for)."""
        counts = self.histogram.sum(0)
        if self.positive_only:
            counts = counts.copy()
            counts[0] -= self.n_zero
        return histogram_quantile(counts, 0.5)

    def quantile(self, q: float) -> np.ndarray:
        """Quantile of |x| of each channel over real tokens."""
        return np.array([histogram_quantile(row, q) for row in self.histogram])

    def kurtosis(self) -> np.ndarray:
        """Kurtosis of x of each channel over real tokens (3 for a Gaussian); NaN if constant."""
        m1, m2, m3, m4 = self.powers / max(self.n_tokens, 1)
        variance = m2 - m1**2
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(variance > 1e-20, fourth / variance**2, np.nan)

    def mean(self) -> np.ndarray:
        """Signed mean of x of each channel over real tokens."""
        return self.powers[0] / max(self.n_tokens, 1)

    def _add_to_histogram(self, size: Tensor) -> None:
        scaled = torch.log(size.clamp(LOWEST / 10, HIGHEST * 10) / LOWEST)
        index = (scaled * (BINS / np.log(HIGHEST / LOWEST))).floor().long() + 1
        index = index.clamp(0, BINS + 1)
        self.n_zero += int((size == 0).sum())
        channels, width = size.shape[1], BINS + 2
        offset = torch.arange(channels, device=size.device) * width
        counts = torch.bincount((index + offset).flatten(), minlength=channels * width)
        self.histogram += counts.reshape(channels, width).cpu().numpy()

    def _update_maximum(self, maxima: Tensor, where: Tensor, genes: Tensor, bins: Tensor) -> None:
        best, cell = maxima.max(0)
        best, cell = best.double().cpu().numpy(), cell.cpu().numpy()
        token = where.cpu().numpy()[cell, np.arange(best.size)]
        new = best > self.max
        self.max = np.where(new, best, self.max)
        self.max_gene = np.where(new, genes.cpu().numpy()[cell, token], self.max_gene)
        self.max_bin = np.where(new, bins.cpu().numpy()[cell, token], self.max_bin)


def histogram_quantile(counts: np.ndarray, q: float) -> float:
    """Quantile of a log-spaced histogram, interpolated within its bin; 0 if it is empty."""
    total = counts.sum()
    if total == 0:
        return 0.0
    cumulative = np.cumsum(counts)
    index = int(np.searchsorted(cumulative, q * total))
    if index == 0:
        return 0.0
    before = cumulative[index - 1]
    within = (q * total - before) / counts[index]
    return float(LOWEST * (HIGHEST / LOWEST) ** ((index - 1 + within) / BINS))
