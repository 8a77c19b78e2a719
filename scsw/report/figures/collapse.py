"""Collapse by cell type: rise in NLL of each cell type when a candidate is zeroed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from scsw.report import style, words
from scsw.report.tables import Tables

PANEL, LABELS = 7, 36  # mm beside the rows of a panel, and beside the panels


def draw(t: Tables) -> Figure:
    """Draw a heatmap of candidates (rows) by cell types (columns), one per fine-tuned model."""
    seeds = [seed for seed in t.seeds if (t.verdicts["seed"] == seed).any()]
    if not seeds or t.type_effects.empty:
        return style.placard("No candidate was found, so no collapse was measured.")
    longest = int(t.verdicts["seed"].value_counts().max())
    n_rows = style.rows_that_fit(len(seeds), longest, fixed=PANEL, overhead=LABELS)
    types = sorted(t.obs["cell_type"].astype(str).unique())
    tables = {seed: effect_table(t, seed, types).head(n_rows) for seed in seeds}
    heights = [PANEL + style.ROW * len(table) for table in tables.values()]
    width = min(style.DOUBLE, max(style.SINGLE, 62 + 5 * len(types)))
    fig = style.new_figure(width, max(sum(heights), 42) + LABELS)
    axes = fig.subplots(len(seeds), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    values = np.concatenate([table.to_numpy(float).ravel() for table in tables.values()])
    norm = colour_scale(values, float(t.verdicts["min_effect"].median()))
    for place, (ax, (seed, table)) in enumerate(zip(axes, tables.items(), strict=True)):
        image = _heatmap(ax, table, norm)
        total = int((t.verdicts["seed"] == seed).sum())
        part = "" if len(table) == total else f" (best {len(table)} of {total} candidates)"
        style.panel_letter(ax, chr(ord("a") + place), f"seed {seed}{part}")
        _mark_causal(ax, t, seed, table)
    donors = t.type_effects.groupby("cell_type")["n_donors"].max().reindex(types).fillna(0)
    labels = [f"{words.shortened(name, 22)} ({k:.0f})" for name, k in donors.items()]
    axes[-1].set_xticks(range(len(types)), labels, rotation=90)
    axes[-1].set_xlabel("cell type (number of test donors)")
    colour_bar(fig, image, list(axes), shrink=0.9, aspect=30)
    return fig


def effect_table(t: Tables, seed: int, types: list[str]) -> pd.DataFrame:
    """Return the rise in NLL, candidates by rank (rows) by `types`; NaN without test cells."""
    mine = t.type_effects[t.type_effects["seed"] == seed]
    wide = mine.pivot(index="candidate_id", columns="cell_type", values="effect_nll")
    ranked = t.verdicts[t.verdicts["seed"] == seed].sort_values("rank")["candidate_id"]
    return wide.reindex(index=ranked, columns=types)


def colour_scale(values: np.ndarray, relevant: float) -> SymLogNorm:
    """Return a scale that is linear up to the smallest relevant effect, and reaches it.

    So what is too small to matter stays dark, and a collapse is bright. Without a relevant
    effect the scale is linear over the bulk of `values`.
    """
    values = values[np.isfinite(values)]
    largest = max(float(np.abs(values).max(initial=0)), 1e-9)
    if relevant > 0:
        linear, largest = 10.0 ** np.round(np.log10(relevant)), max(largest, relevant)
    else:
        linear = 10.0 ** np.floor(np.log10(style.linear_threshold(values, largest)))
    low = min(float(values.min(initial=0)), 0.0)
    return SymLogNorm(linear, linscale=0.6, vmin=low, vmax=max(largest, linear))


def colour_bar(fig: Figure | SubFigure, image: QuadMesh, axes: list[Axes], **look: float) -> None:
    """Draw the key of a heatmap's colours; on a mostly linear scale with even ticks."""
    norm = image.norm
    ticks = style.symlog_ticks(norm.vmin, norm.vmax, norm.linthresh)
    if norm.vmax < 10 * norm.linthresh:
        ticks = MaxNLocator(5).tick_values(norm.vmin, norm.vmax)
        ticks = [tick for tick in ticks if norm.vmin <= tick <= norm.vmax]
    bar = fig.colorbar(image, ax=axes, **look)
    bar.set_label("rise in NLL (nats per cell)")
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(style.tick_text))


def _heatmap(ax, table: pd.DataFrame, norm: SymLogNorm):
    ax.set_facecolor("white")
    rows, columns = table.shape
    image = ax.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(table.to_numpy(float)),
        norm=norm,
        cmap=style.HEATMAP,
        edgecolors="white",
        linewidth=0.3,
    )
    for row, column in np.argwhere(~np.isfinite(table.to_numpy(float))):
        ax.text(column, row, "–", ha="center", va="center", color=style.GREY)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.tick_params(length=0)
    return image


def _mark_causal(ax, t: Tables, seed: int, table: pd.DataFrame) -> None:
    mine = t.verdicts[(t.verdicts["seed"] == seed) & t.verdicts["causal"].astype(bool)]
    causal = set(mine["candidate_id"])
    labels = [("● " if name in causal else "") + name for name in table.index]
    ax.set_yticks(range(len(table)), labels)
