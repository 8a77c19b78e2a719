"""Histograms of |x| that add up exactly over batches, and their quantiles."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

# Bins of |x|: 16 to each power of two from 2^-40 to 2^40. They are cut from the bits of the float32
# number, so that every device puts a number into the same bin, and fixed, so that histograms of
# batches add up to that of all cells.
_OCTAVES, _PER_OCTAVE = 40, 16
BINS = 2 * _OCTAVES * _PER_OCTAVE
WIDTH = BINS + 2  # below, among which is 0, and above
# Of a number's exponent and the highest bits of its fraction.
LOWEST_BIN = (127 - _OCTAVES) * _PER_OCTAVE - 1


def flat_tokens(x: Tensor, real: Tensor) -> Tensor:
    """Return (tokens, channels) in float32, or bool: real tokens, and on a GPU 0 at padding.

    Leaving padding out is faster on CPU; on a GPU it would wait for their number.
    """
    if x.device.type == "cpu":
        x = x[real]
    else:
        x = torch.where(real[..., None], x, torch.zeros((), dtype=x.dtype, device=x.device))
        x = x.flatten(0, 1)
    return x if x.dtype == torch.bool else x.float()


def places(x: Tensor, real: Tensor) -> Tensor:
    """Return the place of each |x| in flattened counts; padding may be among them, as 0."""
    n = x.shape[2]
    channels = torch.arange(n, device=x.device, dtype=torch.int32)
    return (bin_of(flat_tokens(x, real).abs()) * n + channels).flatten()


def add_to_histogram(counts: Tensor, x: Tensor, real: Tensor) -> None:
    """Count |x| of each channel, in place."""
    place = places(x, real)
    ones = torch.ones_like(place, dtype=counts.dtype)
    counts.view(-1).scatter_add_(0, place.long(), ones)


def bin_of(size: Tensor) -> Tensor:
    """Return the bin of each number, which is float32 and not negative."""
    # The exponent and the four highest bits of the fraction.
    number = (size.contiguous().view(torch.int32) >> 19) - LOWEST_BIN
    return number.clamp(0, BINS + 1)


def histogram_quantile(counts: np.ndarray, q: float) -> float:
    """Quantile of a histogram, interpolated within its bin; 0 if it is empty."""
    return float(histogram_quantiles(torch.from_numpy(counts)[:, None], q)[0])


def histogram_quantiles(counts: Tensor, q: float) -> Tensor:
    """Quantile of each of several histograms, float64, shape (channels,).

    Parameters
    ----------
    counts
        Integers, shape (``BINS + 2``, channels).
    q
        0 to 1.
    """
    total = counts.sum(0)
    cumulative = counts.cumsum(0)
    index = (cumulative < q * total.double()).sum(0).clamp(max=len(counts) - 1)
    before, own = ((x.gather(0, index[None])[0]).double() for x in (cumulative - counts, counts))
    edges = torch.tensor(_edges(), dtype=torch.float64, device=counts.device)
    low, high = edges[index], edges[index + 1]
    found = low + (q * total.double() - before) / own * (high - low)
    return torch.where((index == 0) | (total == 0), 0.0, found)


@cache
def _edges() -> np.ndarray:
    """Lower edge of each bin, and the upper one of the last, which is that of all bins."""
    octave, part = np.divmod(np.minimum(np.arange(BINS + 3), BINS + 1) - 1, _PER_OCTAVE)
    return 2.0 ** (octave - _OCTAVES) * (1 + part / _PER_OCTAVE)
