"""The sum at each channel's peak, split into what makes it up: weights, bias and residual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import nn

from scsw.superweight.observe import OUTPUT, SUM, Observation, weight_and_bias

# Half precision rounds a sum by far less than this share of its absolute terms.
_ROUNDING = 0.02


@dataclass(frozen=True)
class SplitSums:
    """The sums of one site, each at the token where its channel's |x| is largest.

    Attributes
    ----------
    site
        ``mlp_out`` or ``pre_norm2``.
    ratio, size
        That |x|, over the site's median and as it is, shape (rows,).
    places
        Batch, cell in it and token, int64, shape (rows, 3).
    terms
        w·h of each weight, shape (rows, columns).
    bias, residual
        What else is added, shape (rows,); the residual is NaN where it is not looked at.
    total
        |residual| + |bias| + Σ|w·h|, shape (rows,).
    """

    site: str
    ratio: np.ndarray
    size: np.ndarray
    places: np.ndarray
    terms: np.ndarray
    bias: np.ndarray
    residual: np.ndarray
    total: np.ndarray

    def place(self, row: int) -> dict[str, int]:
        """Return ``batch, cell, token`` of a channel's peak."""
        return dict(zip(("batch", "cell", "token"), self.places[row].tolist(), strict=True))


def split_sums(block: int, layer: nn.Module, seen: Observation) -> Iterator[SplitSums]:
    """Yield a block's sums at the output of its down-projection and, if seen, with the residual.

    Parameters
    ----------
    block, layer
        Number of the block, and its down-projection.
    seen
        What a pass over the cells saw.

    Raises
    ------
    RuntimeError
        If the down-projection's output is not its weight times its input plus its bias, as behind
        an adapter or a hook, so that no weight can be blamed.
    """
    weight, bias = weight_and_bias(layer)
    for site in (OUTPUT, SUM):
        name = f"{block}.{site}"
        if name not in seen.peaks:
            continue
        peaks, statistics = seen.peaks[name], seen.sites[name]
        terms, residual = weight * peaks.hidden, peaks.total - peaks.output
        _check_output(terms, bias, peaks.output, statistics.max > 0, f"{block}.{OUTPUT}")
        parts = [np.abs(residual), np.abs(bias), np.abs(terms).sum(axis=1)]
        yield SplitSums(
            site=site,
            ratio=statistics.max / (statistics.site_median() or np.nan),
            size=statistics.max,
            places=np.column_stack([seen.places[statistics.max_cell], statistics.max_token]),
            terms=terms,
            bias=bias,
            residual=residual,
            total=np.nansum(parts, axis=0),
        )


def _check_output(
    terms: np.ndarray, bias: np.ndarray, output: np.ndarray, seen: np.ndarray, name: str
) -> None:
    wrong = np.abs(terms.sum(axis=1) + bias - output)
    rows = seen & (wrong > _ROUNDING * (np.abs(terms).sum(axis=1) + np.abs(bias)))
    if rows.any():
        raise RuntimeError(
            f"{name} is not weight x input + bias in {rows.sum()} of {rows.size} channels, so that "
            "no weight can be blamed: merge adapters, and name the module that holds the weight"
        )
