"""Components: rise in NLL when an attention head or an MLP is replaced by its mean."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from scsw.report import style
from scsw.report.figures.collapse import _heatmap, _norm
from scsw.report.tables import Tables

PER_ROW = 3


def draw(t: Tables) -> Figure:
    """Draw a heatmap of blocks (rows) by components (columns), one per fine-tuned model."""
    seeds = [seed for seed in t.seeds if (t.components["seed"] == seed).any()]
    if not seeds:
        return style.placard("No component was measured.")
    tables = {seed: component_table(t.components, seed, "effect_nll") for seed in seeds}
    across = min(len(seeds), PER_ROW)
    down = -(-len(seeds) // PER_ROW)
    panel = max(45, 26 + style.ROW * 1.2 * max(len(table) for table in tables.values()))
    fig = style.new_figure(style.SINGLE if across == 1 else style.DOUBLE, panel * down + 6)
    axes = fig.subplots(down, across, squeeze=False, sharey=True).ravel()
    norm = _norm(np.concatenate([table.to_numpy(float).ravel() for table in tables.values()]))
    for place, (ax, (seed, table)) in enumerate(zip(axes, tables.items(), strict=False)):
        image = _heatmap(ax, table, norm)
        _mark_certain(ax, t.components, seed, table)
        names = [re.sub(r"^head", "head ", name) for name in table.columns]
        ax.set_xticks(range(len(names)), [n.replace("mlp", "MLP") for n in names], rotation=90)
        ax.set_yticks(range(len(table)), table.index)
        style.panel_letter(ax, chr(ord("a") + place), f"seed {seed}")
        if place % across == 0:
            ax.set_ylabel("block")
    for ax in axes[len(seeds) :]:
        ax.set_axis_off()
    bar = fig.colorbar(image, ax=list(axes), aspect=25)
    bar.set_label("rise in NLL (nats per cell)")
    ticks = style.symlog_ticks(norm.vmin, norm.vmax, norm.linthresh)
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(style.tick_text))
    return fig


def component_table(components: pd.DataFrame, seed: int, value: str) -> pd.DataFrame:
    """Return one value per block (rows) and component (columns, heads in order, then MLP)."""
    mine = components[components["seed"] == seed]
    wide = mine.pivot(index="block", columns="component", values=value)
    heads = sorted((n for n in wide.columns if n.startswith("head")), key=lambda n: int(n[4:]))
    return wide[[*heads, *sorted(set(wide.columns) - set(heads))]].sort_index()


def _mark_certain(ax, components: pd.DataFrame, seed: int, table: pd.DataFrame) -> None:
    """Put a dot where the donor interval lies wholly above or below zero."""
    low = component_table(components, seed, "effect_low").to_numpy(float)
    high = component_table(components, seed, "effect_high").to_numpy(float)
    for row, column in np.argwhere((low > 0) | (high < 0)):
        ax.plot(
            column,
            row,
            "o",
            markersize=2.4,
            color="white",
            markeredgecolor="black",
            markeredgewidth=0.4,
        )
