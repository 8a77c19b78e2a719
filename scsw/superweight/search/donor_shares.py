"""In how many donors a candidate makes a spike: looked at where each donor's channel is largest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scsw.scgpt.forward import forward_padded
from scsw.superweight.capture import capture
from scsw.superweight.observe import HIDDEN, OUTPUT, SUM, Observation
from scsw.superweight.search.discovery import DiscoveryCells, scgpt_sites


@dataclass
class DonorPeaks:
    """Each candidate's channel at the token where it is largest in a donor's cells.

    Attributes
    ----------
    size
        |x| there, float64, shape (candidates, donors).
    share
        The weight's signed share of the sum there, w·h / (|residual| + |bias| + Σ|w·h|), of the
        same shape.
    """

    size: np.ndarray
    share: np.ndarray


def spiking_shares(
    model: nn.Module,
    cells: DiscoveryCells,
    family: pd.DataFrame,
    seen: Observation,
    *,
    spike_ratio: float,
    min_share: float,
) -> np.ndarray:
    """Return the share of the discovery donors in which each candidate makes a spike.

    In a donor it does if, at the token of the donor's cells where its channel is largest, the
    channel reaches `spike_ratio` medians of the site (over all cells) and the weight makes at least
    `min_share` of the sum.

    Parameters
    ----------
    model, cells
        The intact model and the discovery cells.
    family
        The frozen candidates, with ``block, row, column, site``.
    seen
        What a pass over the same cells saw, for the sites' medians.
    spike_ratio, min_share
        Stop rule and smallest share, as in `find_candidates`.

    Returns
    -------
    numpy.ndarray
        Float64, shape (candidates,).
    """
    peaks = donor_peaks(model, cells, family)
    medians = [
        seen.sites[f"{row.block}.{row.site}"].site_median() or np.nan for row in family.itertuples()
    ]
    ratio = peaks.size / np.array(medians, float).reshape(-1, 1)
    return ((ratio >= spike_ratio) & (np.abs(peaks.share) >= min_share)).mean(axis=1)


@torch.no_grad()
def donor_peaks(model: nn.Module, cells: DiscoveryCells, family: pd.DataFrame) -> DonorPeaks:
    """Pass over the cells once and split each candidate's sum at every donor's largest token."""
    shape = len(family), len(cells.names["donor"])
    found = DonorPeaks(np.full(shape, -1.0), np.zeros(shape))
    points = {
        name: point
        for name, point in scgpt_sites(model, [HIDDEN, OUTPUT, SUM]).items()
        if int(name.split(".")[0]) in set(family["block"])
    }
    kept: dict[str, Tensor] = {}
    with capture(points, kept.__setitem__):
        for batch in cells:
            forward_padded(model, batch)
            donors = cells.groups(batch)["donor"].cpu().numpy()
            for place, row in enumerate(family.itertuples()):
                size, share = _peaks_of_cells(model, kept, row, batch.real)
                _keep_largest(found, place, donors, size, share)
    return found


def _peaks_of_cells(
    model: nn.Module, kept: dict[str, Tensor], row, real: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return |x| of a candidate's channel at each cell's largest token, and its share there."""
    hidden, output, total = (kept[f"{row.block}.{site}"] for site in (HIDDEN, OUTPUT, SUM))
    values = {OUTPUT: output, SUM: total}[row.site][..., row.row].float()
    size, token = torch.where(real, values.abs(), -1.0).max(1)
    cell = torch.arange(len(token), device=token.device)
    layer = model.get_submodule(row.module)
    terms = layer.weight[row.row].double() * hidden[cell, token].double()
    own = output[cell, token, row.row].double()
    residual = (total[cell, token, row.row].double() - own).abs()
    bias = layer.bias[row.row].double().abs()
    share = terms[:, row.column] / (residual + bias + terms.abs().sum(1))
    return size.double().cpu().numpy(), share.cpu().numpy()


def _keep_largest(
    found: DonorPeaks, place: int, donors: np.ndarray, size: np.ndarray, share: np.ndarray
) -> None:
    """Take over what is larger than the donor's largest so far; the first of two that are equal."""
    for donor in np.unique(donors):
        own = np.flatnonzero(donors == donor)
        best = own[size[own].argmax()]
        if size[best] > found.size[place, donor]:
            found.size[place, donor], found.share[place, donor] = size[best], share[best]
