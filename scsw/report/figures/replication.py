"""Replication: whether candidates, genes, pathways and stage slopes agree between cohorts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.biology.replicate.replication_summary import judged
from scsw.report import style, words
from scsw.report.tables import Tables

LEVELS = {"candidates": "Candidates", "genes": "Genes", "pathways": "Gene sets", "stages": "Stages"}
KINDS = {  # column that tells the kinds of a level apart, and their names
    "candidates": ("measure", {"acquired_spikes": "acquired spikes shared", "growth": "growth of "
                               "spike ratios", "profile": "|r| of unit profiles"}),
    "genes": ("view", {"read_in": "read-in", "write_out": "write-out"}),
    "pathways": ("library", {}),
    "stages": ("stage", {"adnc": "ADNC", "braak": "Braak", "thal": "Thal", "cerad": "CERAD",
                         "cognition": "cognition", "cps": "CPS",
                         "apoe_e2": "APOE ε2", "apoe_e4": "APOE ε4"}),
}  # fmt: skip
OVER = {"pathways": ("n_sets", "sets"), "stages": ("n_classes", "classes")}  # of a correlation
ROW, SCATTER, MOST_KINDS = 12, 62, 8  # mm of a pair of cohorts, mm of the slopes, kinds in a key


def draw(t: Tables) -> Figure:
    """Draw every test by level (columns) and pair of cohorts (rows), and the slopes below."""
    summary = t.replication["summary"]
    if summary.empty:
        return style.placard("Nothing could be compared with another cohort.")
    alpha = t.config["statistics"]["alpha"]
    pairs = list(summary[["cohort_a", "cohort_b"]].drop_duplicates().itertuples(index=False))
    slopes = t.replication["stages"].dropna(subset=["beta_a", "beta_b"])
    keys = 5 + style.ROW * (1 + max(len(_kinds(t, level)) for level in LEVELS))
    top = 20 + keys + ROW * len(pairs)
    heights = [top, SCATTER] if len(slopes) else [top]
    fig = style.new_figure(style.DOUBLE, sum(heights) + 8)
    grid = fig.add_gridspec(len(heights), 1, height_ratios=heights)
    axes = grid[0].subgridspec(1, len(LEVELS)).subplots(sharey=True)
    for place, (ax, (level, name)) in enumerate(zip(axes, LEVELS.items(), strict=True)):
        _level(ax, t, level, pairs, alpha)
        style.panel_letter(ax, "abcd"[place], name)
    axes[0].set_yticks(range(len(pairs)), [_pair(*pair) for pair in pairs])
    axes[0].set_ylim(len(pairs) - 0.5, -0.5)
    if len(slopes):
        panel, beside = grid[1].subgridspec(1, 2, width_ratios=[1, 1]).subplots()
        style.panel_letter(panel, "e", "Stage slopes of matched candidates")
        classes = _slopes(panel, slopes, alpha)
        names = pairs[0] if len(pairs) == 1 else ("the first cohort", "the second cohort")
        first, second = (words.shortened(name, 24) for name in names)
        panel.set_xlabel(f"slope in {first} (SD per unit of stage)")
        panel.set_ylabel(f"slope in {second} (SD per unit)")
        beside.set_axis_off()
        beside.legend(handles=classes, loc="center left", title="cell class", ncols=2)
    fig.legend(handles=_key(alpha), loc="outside lower center", ncols=3)
    return fig


def points(t: Tables, level: str) -> pd.DataFrame:
    """Return ``cohort_a, cohort_b, kind, value, expected, q`` of every test of a level."""
    table = judged(t.replication, level)
    value = "statistic" if level == "candidates" else "spearman"
    expected = table["expected"] if level == "candidates" else np.nan
    known = table.assign(kind=table[KINDS[level][0]], value=table[value], expected=expected)
    known = known.dropna(subset=["value"])
    return known[["cohort_a", "cohort_b", "kind", "value", "expected", "q"]]


def _kinds(t: Tables, level: str) -> dict[str, str]:
    """Return the kinds of a level that have a test, with their names, at most `MOST_KINDS`.

    Correlations over a few sets or classes say so: those reach far from 0 by chance.
    """
    names = KINDS[level][1]
    known = points(t, level)
    found = known["kind"].astype(str).unique()
    order = [kind for kind in names if kind in found] + sorted(set(found) - set(names))
    told = {kind: names.get(kind, words.shortened(kind, 18)) for kind in order[:MOST_KINDS]}
    if level not in OVER:
        return told
    column, noun = OVER[level]
    sizes = judged(t.replication, level).loc[known.index, column].groupby(known["kind"])
    low, high = sizes.min(), sizes.max()
    return {
        kind: f"{name} ({words.span(low[kind], high[kind], write=words.count)} {noun})"
        for kind, name in told.items()
    }


def _pair(first: str, second: str) -> str:
    return f"{words.shortened(first, 16)}\n{words.shortened(second, 16)}"


def _level(ax: Axes, t: Tables, level: str, pairs: list[tuple[str, str]], alpha: float) -> None:
    """Draw each test as one point, filled where q is within `alpha`."""
    table, kinds = points(t, level), _kinds(t, level)
    ax.axvline(0, color="black", linewidth=0.4)
    for place, (a, b) in enumerate(pairs):
        own = table[(table["cohort_a"] == a) & (table["cohort_b"] == b)]
        if own.empty:
            ax.text(0, place, "not testable", ha="center", va="center", bbox=style.PAPER)
        for k, shift in enumerate(style.spread(len(kinds), 0.8)):
            rows = own[own["kind"] == list(kinds)[k]]
            look = {"color": style.GREY, "linewidth": 1.2}
            for value in rows["expected"].dropna():
                ax.plot([value] * 2, place + shift + np.array([-0.06, 0.06]), **look)
            colour, marker = style.COLOURS[k], style.MARKERS[k]
            for kept, fill in ((rows["q"] <= alpha, colour), (~(rows["q"] <= alpha), "white")):
                look = {"markerfacecolor": fill, "markeredgecolor": colour, "markersize": 3.5}
                values = rows.loc[kept, "value"]
                ax.plot(values, np.full(len(values), place + shift), marker, **look)
    for between in range(1, len(pairs)):
        ax.axhline(between - 0.5, color=style.LIGHT, linewidth=0.6)
    ax.set_xlim(-1.08, 1.08)
    ax.set_xticks([-1, 0, 1], ["\N{MINUS SIGN}1", "0", "1"])
    ax.set_xlabel("statistic" if level == "candidates" else "Spearman correlation")
    handles = [
        Line2D([], [], marker=style.MARKERS[k], color=style.COLOURS[k], linestyle="none",
               markersize=3.5, label=name)
        for k, name in enumerate(kinds.values())
    ]  # fmt: skip
    if handles:
        below = (0.5, -7 / (12 + ROW * len(pairs)))  # under the axis label, whatever the height
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=below, handletextpad=0.2)


def _key(alpha: float) -> list[Line2D]:
    look = {"marker": "o", "linestyle": "none", "markeredgecolor": "black", "markersize": 3.5}
    null = {"color": style.GREY, "marker": "|", "linestyle": "none"}
    return [
        Line2D([], [], markerfacecolor=style.GREY, label=f"q ≤ {alpha:g}", **look),
        Line2D([], [], markerfacecolor="white", label=f"q > {alpha:g}", **look),
        Line2D([], [], label="mean of the null", **null),
    ]


def _slopes(ax: Axes, known: pd.DataFrame, alpha: float) -> list[Line2D]:
    """Draw the slopes and return the key of their cell classes."""
    ax.axhline(0, color="black", linewidth=0.4)
    ax.axvline(0, color="black", linewidth=0.4)
    reach = 1.1 * max(float(np.abs(known[["beta_a", "beta_b"]]).to_numpy().max()), 1e-6)
    ax.plot([-reach, reach], [-reach, reach], color=style.LIGHT, linestyle="--", linewidth=0.7)
    handles = []
    for place, (cell_class, rows) in enumerate(known.groupby("cell_class", observed=True)):
        colour, marker = style.COLOURS[place % 8], style.MARKERS[place % 8]
        for kept, fill in ((rows["q"] <= alpha, colour), (~(rows["q"] <= alpha), "white")):
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
