"""The table of all activations by site, channel and group (contract: ``spikes.parquet``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn

from scsw.scgpt.model import encoder_layers
from scsw.superweight.observe import Observation
from scsw.superweight.search.discovery import TOKEN_KINDS, DiscoveryCells
from scsw.superweight.site_statistics import SiteStatistics

COLUMNS = (
    "block site channel group_by group n_tokens max mean q999 ratio kurtosis participation "
    "zero_share stability top_gene top_bin start_ratio"
).split()


def spike_table(
    seen: Observation,
    cells: DiscoveryCells,
    names: Mapping[int, str],
    start: Observation | None = None,
) -> pd.DataFrame:
    """Return one row per site, channel and group.

    Parameters
    ----------
    seen
        What the pass over the cells saw, with moments and groups.
    cells
        The cells.
    names
        Token of each id.
    start
        What a pass over the same cells saw in the model that fine-tuning started from.
    """
    n_channels = [site.max.size for site in seen.sites.values()]
    places = np.concatenate(
        [np.stack([s.max_cell, s.max_token], axis=1) for s in seen.sites.values()]
    )
    genes, bins = cells.tokens_at(places.clip(0))
    ends = np.cumsum([0, *n_channels])
    groups = cells.names | {"token": TOKEN_KINDS}
    parts = []
    for number, (key, site) in enumerate(seen.sites.items()):
        own = slice(ends[number], ends[number + 1])
        before = np.nan if start is None else ratios(start.sites[key])
        whole = pd.DataFrame(
            {
                "max": site.max,
                "mean": site.mean_size(),
                "q999": site.quantile(0.999),
                "ratio": ratios(site),
                "kurtosis": site.kurtosis(),
                "participation": site.participation_ratio(),
                "zero_share": site.zero_share(),
                "stability": site.top / site.n_cells,
                "top_gene": [names.get(int(gene), "") for gene in genes[own]],
                "top_bin": bins[own].astype(np.float64),
                "start_ratio": before,
            }
        ).assign(group_by="all", group="all", n_tokens=site.n_tokens)
        block, place = key.split(".")
        rows = [whole, *_by_group(site, groups)]
        table = pd.concat([each.assign(channel=np.arange(site.max.size)) for each in rows])
        parts.append(table.assign(block=int(block), site=place))
    table = pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    return table.fillna({"top_gene": ""})


def ratios(site: SiteStatistics) -> np.ndarray:
    """Return each channel's largest |x| over the site's median."""
    return site.max / (site.site_median() or np.nan)


def _by_group(site: SiteStatistics, groups: Mapping[str, list[str]]) -> Iterator[pd.DataFrame]:
    median = site.site_median() or np.nan
    for name, values in groups.items():
        stored = site.groups[name]
        for index, group in enumerate(values):
            n_tokens = int(stored["tokens"][index])
            yield pd.DataFrame(
                {
                    "max": stored["max"][index],
                    "mean": stored["sum"][index] / max(n_tokens, 1),
                    "ratio": stored["max"][index] / median,
                }
            ).assign(group_by=name, group=group, n_tokens=n_tokens)


def norm_table(model: nn.Module, start: nn.Module | None = None) -> pd.DataFrame:
    """Return the norms' γ and β as rows of the same table: parameters, which no cell changes.

    ``max`` and ``mean`` are |γ| or |β|, ``ratio`` is that over the tensor's median, NaN where most
    are 0.
    """
    parts = []
    starts = encoder_layers(start) if start is not None else [None] * len(encoder_layers(model))
    for block, (layer, before) in enumerate(zip(encoder_layers(model), starts, strict=True)):
        for norm in ("norm1", "norm2"):
            for name, kind in (("gamma", "weight"), ("beta", "bias")):
                size = _size(layer, norm, kind)
                old = np.nan if before is None else _ratio(_size(before, norm, kind))
                values = {"max": size, "mean": size, "ratio": _ratio(size), "start_ratio": old}
                parts.append(
                    pd.DataFrame(values | {"channel": np.arange(size.size)}).assign(
                        block=block, site=f"{norm}_{name}", group_by="all", group="all", n_tokens=0
                    )
                )
    return pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS).fillna({"top_gene": ""})


@torch.no_grad()
def _size(layer: nn.Module, norm: str, kind: str) -> np.ndarray:
    return getattr(layer.get_submodule(norm), kind).abs().double().cpu().numpy()


def _ratio(size: np.ndarray) -> np.ndarray:
    return size / (np.median(size) or np.nan)
