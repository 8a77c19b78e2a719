"""Spatial read-out: accuracy on the panel, programmes along the depth, AD axes by stage."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style, words
from scsw.report.figures.stages import STAGES
from scsw.report.tables import Tables

ACCURACIES = {
    "accuracy_all_genes": "nuclei, all genes",
    "accuracy_panel": "nuclei, panel",
    "accuracy": "tissue, panel",
    "floor": "commonest type",
}
NAMES = STAGES | {"cps": "CPS"}
ROWS, CANDIDATES = 12, 5


def draw(t: Tables) -> Figure:
    """Draw accuracies (a), slopes along the depth and their change (b, c), slopes on stages (d)."""
    measured = t.spatial[t.spatial["status"] == "measured"]
    if measured.empty:
        return style.placard(f"The spatial read-out stopped: {_reason(t)}.")
    tested = t.spatial[t.spatial["status"] == "tested"]
    depth = tested[tested["step"] == "position"]
    changed = tested.loc[tested["candidate_id"] != "", "candidate_id"]
    candidates = list(changed.unique())[:CANDIDATES]
    stages = tested[(tested["step"] == "stage") & tested["candidate_id"].isin(["", *candidates])]
    stages = stages.sort_values("p").head(ROWS)
    if depth.empty and stages.empty:
        fig = style.new_figure(style.DOUBLE, 34)
        _accuracies(fig.subplots(), measured)
        return fig
    alpha = t.config["statistics"]["alpha"]
    sets = sorted(depth["gene_set"].unique())
    n_rows = [len(ACCURACIES), max(2 * len(sets), 3), max(len(stages), 3)]
    fig = style.new_figure(style.DOUBLE, 64 + 1.5 * style.ROW * sum(n_rows))
    grid = fig.add_gridspec(3, 2, height_ratios=n_rows)
    first = fig.add_subplot(grid[0, :])
    _accuracies(first, measured)
    style.panel_letter(first, "a", "Accuracy")
    intact, change = fig.add_subplot(grid[1, 0]), fig.add_subplot(grid[1, 1])
    _by_set(intact, depth, sets, [""], alpha)
    style.panel_letter(intact, "b", "Programmes along the depth")
    intact.set_xlabel("slope per unit of depth (bins)")
    _by_set(change, depth, sets, candidates, alpha)
    change.set_yticklabels([])
    style.panel_letter(change, "c", "Change, candidate zeroed")
    change.set_xlabel("change of that slope (bins)")
    last = fig.add_subplot(grid[2, :])
    _forest(last, stages, candidates, alpha)
    style.panel_letter(last, "d", "AD axes by stage, smallest p")
    last.set_xlabel("slope (SD per unit of stage)")
    fig.legend(handles=_key(candidates, alpha), loc="outside lower center", ncols=3)
    return fig


def _reason(t: Tables) -> str:
    rows = t.spatial[t.spatial["measure"] == "share_kept"]
    return str(rows["reason"].iloc[0]) if len(rows) else "there is no spatial data"


def _accuracies(ax: Axes, measured: pd.DataFrame) -> None:
    rows = measured[measured["measure"].isin(ACCURACIES)].set_index("measure")
    names = [name for name in ACCURACIES if name in rows.index]
    for y, name in enumerate(names):
        row = rows.loc[name]
        colour = style.GREY if name == "floor" else style.COLOURS[0]
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=0.9)
        ax.plot(row["value"], y, "s" if name == "floor" else "o", color=colour, markersize=4)
    ax.set_yticks(range(len(names)), [ACCURACIES[name] for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of cells, mean over donors")


def _by_set(
    ax: Axes, rows: pd.DataFrame, sets: list[str], candidates: list[str], alpha: float
) -> None:
    """Draw one row per set and, within it, one slope per candidate ("": the intact model)."""
    shifts = style.spread(len(candidates), 0.7)
    for candidate, shift in zip(candidates, shifts, strict=True):
        for row in rows[rows["candidate_id"] == candidate].itertuples():
            _slope(ax, row, sets.index(row.gene_set) + shift, candidates, alpha)
    ax.set_yticks(range(len(sets)), [_axis_name(name) for name in sets])
    _finish(ax, len(sets))


def _forest(ax: Axes, rows: pd.DataFrame, candidates: list[str], alpha: float) -> None:
    for y, row in enumerate(rows.itertuples()):
        _slope(ax, row, y, candidates, alpha)
    labels = [
        f"{_axis_name(row.gene_set)}, {words.shortened(row.cell_type, 16)}, {NAMES[row.stage]}"
        for row in rows.itertuples()
    ]
    ax.set_yticks(range(len(rows)), labels)
    _finish(ax, len(rows))


def _axis_name(gene_set: str) -> str:
    return words.shortened(gene_set.removeprefix("AD_").replace("_", " "), 24)


def _slope(ax: Axes, row, y: float, candidates: list[str], alpha: float) -> None:
    place = 1 + candidates.index(row.candidate_id) if row.candidate_id else 0
    colour = style.COLOURS[place]
    ax.plot([row.low, row.high], [y, y], color=colour, linewidth=0.8)
    fill = colour if row.q < alpha else "white"
    look = {"markerfacecolor": fill, "markeredgecolor": colour, "markeredgewidth": 0.7}
    ax.plot(row.value, y, style.MARKERS[place], markersize=4, **look)


def _finish(ax: Axes, n: int) -> None:
    ax.set_ylim(max(n, 1) - 0.5, -0.5)
    ax.axvline(0, color="black", linewidth=0.4)
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(style.tick_text)
    if not ax.lines[:-1]:
        where = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "not tested", bbox=style.PAPER, **where)


def _key(candidates: list[str], alpha: float) -> list[Line2D]:
    names = ["intact", *[f"zeroed: {words.shortened(name, 24)}" for name in candidates]]
    look = {"linestyle": "none", "markersize": 4}
    handles = [
        Line2D([], [], marker=style.MARKERS[i], color=style.COLOURS[i], label=name, **look)
        for i, name in enumerate(names)
    ]
    look |= {"marker": "o", "markeredgecolor": "black"}
    return [
        *handles,
        Line2D([], [], markerfacecolor="black", label=f"q < {alpha:g}", **look),
        Line2D([], [], markerfacecolor="white", label=f"q ≥ {alpha:g}", **look),
    ]
