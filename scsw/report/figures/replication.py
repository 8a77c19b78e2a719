"""Replication: whether genes, pathways and stage slopes agree between cohorts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style, words
from scsw.report.tables import Tables

VIEWS = {"read_in": "read-in genes", "write_out": "write-out genes", "direction": "direction genes"}


def draw(t: Tables) -> Figure:
    """Draw rank correlations of gene and pathway scores, and slopes of one against the other."""
    rows = correlation_rows(t.replication["genes"], t.replication["pathways"])
    stages = t.replication["stages"]
    if not rows and stages.empty:
        return style.placard("Nothing could be compared with another cohort.")
    alpha = t.config["statistics"]["alpha"]
    fig = style.new_figure(style.DOUBLE, max(28 + 3.2 * style.ROW * len(rows), 75))
    axes = fig.subplots(1, 2, width_ratios=[1.2, 1])
    _correlations(axes[0], rows, alpha)
    style.panel_letter(axes[0], "a", "Gene and gene-set scores")
    classes = _slopes(axes[1], stages, alpha)
    style.panel_letter(axes[1], "b", "Stage slopes")
    fig.legend(handles=_key(alpha), loc="outside lower center", ncols=2)
    if classes:
        fig.legend(handles=classes, loc="outside center right", title="cell class")
    return fig


def correlation_rows(genes: pd.DataFrame, pathways: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return ``spearman, q`` of each pair of cohorts and view or library, keyed by its label."""
    rows = {}
    for (a, b, view), table in genes.groupby(["cohort_a", "cohort_b", "view"]):
        rows[f"{_pair(a, b)}\n{VIEWS.get(view, view)}"] = table[["spearman", "q"]]
    for (a, b, library), table in pathways.groupby(["cohort_a", "cohort_b", "library"]):
        rows[f"{_pair(a, b)}\n{words.shortened(library, 20)} sets"] = table[["spearman", "q"]]
    return rows


def _pair(first: str, second: str) -> str:
    return f"{words.shortened(first, 16)} – {words.shortened(second, 16)}"


def _key(alpha: float) -> list[Line2D]:
    look = {"marker": "o", "linestyle": "none", "markeredgecolor": "black", "markersize": 3.5}
    return [
        Line2D([], [], markerfacecolor=style.GREY, label=f"q < {alpha:g}", **look),
        Line2D([], [], markerfacecolor="white", label=f"q ≥ {alpha:g}", **look),
    ]


def _correlations(ax: Axes, rows: dict[str, pd.DataFrame], alpha: float) -> None:
    """Draw each pair of candidates as one point, filled where q is below `alpha`."""
    ax.set_xlim(-1, 1)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    ax.axvline(0, color="black", linewidth=0.4)
    ax.set_xlabel("Spearman correlation")
    for place, table in enumerate(rows.values()):
        shifts = style.spread(len(table), 0.7)
        for kept, fill in ((table["q"] < alpha, style.COLOURS[0]), (table["q"] >= alpha, "white")):
            ax.plot(
                table.loc[kept, "spearman"],
                (place + shifts)[kept.to_numpy()],
                "o",
                markersize=3.5,
                markerfacecolor=fill,
                markeredgecolor="black",
                markeredgewidth=0.5,
                clip_on=False,
            )
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    if not rows:
        ax.text(0, 0, "nothing compared", ha="center", va="center")


def _slopes(ax: Axes, stages: pd.DataFrame, alpha: float) -> list[Line2D]:
    """Draw the slopes and return the key of their cell classes."""
    known = stages.dropna(subset=["beta_a", "beta_b"])
    ax.set_xlabel("slope in the first cohort")
    ax.set_ylabel("slope in the second cohort")
    ax.axhline(0, color="black", linewidth=0.4)
    ax.axvline(0, color="black", linewidth=0.4)
    if known.empty:
        ax.text(0.5, 0.5, "nothing compared", ha="center", transform=ax.transAxes)
        return []
    reach = 1.1 * max(float(np.abs(known[["beta_a", "beta_b"]]).to_numpy().max()), 1e-6)
    ax.plot([-reach, reach], [-reach, reach], color=style.LIGHT, linestyle="--", linewidth=0.7)
    handles = []
    for place, (cell_class, rows) in enumerate(known.groupby("cell_class", observed=True)):
        colour, marker = style.COLOURS[place % 8], style.MARKERS[place % 8]
        for kept, fill in ((rows["q"] < alpha, colour), (rows["q"] >= alpha, "white")):
            ax.plot(
                rows.loc[kept, "beta_a"],
                rows.loc[kept, "beta_b"],
                marker,
                markersize=4,
                markerfacecolor=fill,
                markeredgecolor=colour,
                markeredgewidth=0.8,
            )
        look = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 4}
        handles.append(Line2D([], [], label=str(cell_class), **look))
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(style.tick_text)
    ax.locator_params(nbins=4)
    return handles
