"""Cohort overview: cells by type, donors by stage, sex and study, genes removed and matched."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scsw.report import style, words
from scsw.report.donors import donors_by_level
from scsw.report.tables import Tables


def draw(t: Tables) -> Figure:
    """Draw cells per type and split, donors per level and split, genes removed and coverage."""
    cells = cells_by_type(t.obs)
    donors = donors_by_level(t.donors)
    genes = t.qc[t.qc["axis"] == "genes"]
    top = 12 + style.ROW * max(len(cells), len(donors))
    bottom = 12 + style.ROW * max(len(genes), 2 * 4)
    fig = style.new_figure(style.DOUBLE, top + bottom + 20)
    grid = fig.add_gridspec(2, 2, height_ratios=[top, bottom])
    axes = [fig.add_subplot(grid[i, j]) for i in (0, 1) for j in (0, 1)]
    _stacked(axes[0], cells, "cells")
    style.panel_letter(axes[0], "a", "Cells by type")
    _stacked(axes[1], donors, "donors")
    style.panel_letter(axes[1], "b", "Donors by level")
    _losses(axes[2], genes)
    style.panel_letter(axes[2], "c", "Genes removed")
    _coverage(axes[3], t.coverage)
    style.panel_letter(axes[3], "d", "Vocabulary match")
    _legend(fig, cells, donors)
    return fig


def cells_by_type(obs: pd.DataFrame) -> pd.DataFrame:
    """Return cells per type (rows, most frequent first) and split (columns)."""
    table = pd.crosstab(obs["cell_type"].astype(str), obs["split"].astype(str))
    table = _split_order(table)
    return table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def _split_order(table: pd.DataFrame) -> pd.DataFrame:
    return table.reindex(columns=[split for split in style.SPLITS if split in table.columns])


def _stacked(ax: Axes, table: pd.DataFrame, unit: str) -> None:
    left = pd.Series(0, index=table.index)
    for split in table.columns:
        colour, hatch = style.SPLITS[split]
        ax.barh(
            range(len(table)),
            table[split],
            left=left,
            color=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.4,
            height=0.75,
        )
        left = left + table[split]
    ax.set_yticks(range(len(table)), [words.shortened(str(name), 26) for name in table.index])
    ax.set_ylim(max(len(table), 4) - 0.4, -0.6)  # a few bars are no thicker than many
    ax.locator_params(axis="x", nbins=4, integer=True)
    ax.xaxis.set_major_formatter(lambda value, _: words.count(value))
    ax.set_xlabel(unit)


def _losses(ax: Axes, qc: pd.DataFrame) -> None:
    share = 100 * qc["removed"] / qc["before"].where(qc["before"] > 0)
    places = range(len(qc))
    ax.barh(places, share, color=style.LIGHT, edgecolor="black", linewidth=0.4, height=0.75)
    names = qc["filter"].astype(str).str.replace("_", " ")
    ax.set_yticks(places, [words.shortened(name, 30) for name in names])
    ax.set_ylim(len(qc) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("removed (%)")
    beside = ax.secondary_yaxis("right")
    numbers = zip(qc["removed"], qc["before"], strict=True)
    beside.set_yticks(places, [f"{words.count(r)} of {words.count(b)}" for r, b in numbers])
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)


def _coverage(ax: Axes, coverage: pd.DataFrame) -> None:
    shown = coverage[coverage["matched_by"] != "total"]
    for offset, column, label, colour, hatch in (
        (-0.2, "gene_share", "share of genes", style.COLOURS[0], ""),
        (0.2, "count_share", "share of counts", style.COLOURS[5], "////"),
    ):
        places = [place + offset for place in range(len(shown))]
        ax.barh(
            places,
            100 * shown[column],
            height=0.38,
            color=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.4,
            label=label,
        )
    ax.set_yticks(range(len(shown)), shown["matched_by"].str.replace("_", " "))
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.set_xlabel("%")
    ax.legend(loc="lower right")


def _legend(fig: Figure, cells: pd.DataFrame, donors: pd.DataFrame) -> None:
    handles = []
    for split in [x for x in style.SPLITS if x in cells.columns or x in donors.columns]:
        colour, hatch = style.SPLITS[split]
        handles.append(
            Patch(facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.4, label=split)
        )
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="panels a, b")
