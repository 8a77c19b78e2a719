"""Order of change: where along CPS each Alzheimer's axis begins to change, and in what order."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style
from scsw.report.tables import Tables

AS_MEASURED = "as measured"
DEPTHS = {AS_MEASURED: ("o", style.COLOURS[0]), "thinned": ("s", style.COLOURS[1])}
EXPRESSION = "expression"
PANEL = 56  # mm of height that one source takes


def draw(t: Tables) -> Figure:
    """Draw change points (left) and probabilities of orders (right).

    Expression, the same for every seed, is drawn of the first, and below it a candidate: the
    best one with a change point as measured, where there is one.
    """
    if t.change_points.empty or t.change_points["status"].eq("not testable").all():
        return style.placard("No donor has a pseudo-progression score: no order can be tested.")
    shown = [(t.seeds[0], EXPRESSION, "as expressed")]
    found = t.change_points[
        t.change_points["status"].eq("change point") & t.change_points["depth"].eq(AS_MEASURED)
    ]
    best = t.best_candidates(len(t.verdicts))[["seed", "candidate_id"]]
    best = best.merge(found, left_on=["seed", "candidate_id"], right_on=["seed", "source"])
    if len(best):
        seed, name = best.iloc[0][["seed", "candidate_id"]]
        shown.append((seed, name, f"seed {seed}, {name}"))
    fig = style.new_figure(style.DOUBLE, PANEL * len(shown) + 16)
    axes = fig.subplots(len(shown), 2, squeeze=False, width_ratios=(1, 1))
    for place, (row, (seed, source, title)) in enumerate(zip(axes, shown, strict=True)):
        own = [
            x[(x["seed"] == seed) & (x["source"] == source)]
            for x in (t.change_points, t.stage_order)
        ]
        _points(row[0], own[0])
        _orders(row[1], own[1])
        style.panel_letter(row[0], chr(ord("a") + 2 * place), title)
        style.panel_letter(row[1], chr(ord("b") + 2 * place))
    axes[-1][0].set_xlabel("CPS from which on it changes")
    for ax in axes[:, 1]:
        ax.set_xlabel("share of donor resamples in this order")
    handles = [
        Line2D([], [], marker=mark, color=colour, label=name, linewidth=0.9)
        for name, (mark, colour) in DEPTHS.items()
    ]
    handles.append(Line2D([], [], color=style.GREY, linewidth=1.2, label="expected by chance"))
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def _points(ax: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["axis"]))
    for row in rows[rows["status"] == "change point"].itertuples():
        y = names.index(row.axis) + _shift(row.depth)
        mark, colour = DEPTHS[row.depth]
        ax.plot([row.change_low, row.change_high], [y, y], color=colour)
        ax.plot(row.change_point, y, marker=mark, color=colour, markersize=4)
        where = "rises" if row.slope > 0 else "falls"
        look = {"xytext": (0, 2.5), "textcoords": "offset points", "ha": "center"}
        middle = (row.change_low + row.change_high) / 2
        if row.depth == AS_MEASURED:
            ax.annotate(where, (middle, y), va="bottom", **look)
    _say(ax, rows, names, "axis", found="change point")
    n = rows.groupby("axis")["n_donors"].max()
    _rows(ax, [f"{name}\nn = {n[name]}" for name in names])
    ax.set_xlim(-0.02, 1.02)


def _orders(ax: Axes, rows: pd.DataFrame) -> None:
    untestable = rows["status"].eq("not testable")
    if untestable.all():
        text = "No order can be tested:\nthat needs change points of both."
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=style.GREY)
        ax.set_axis_off()
        return
    names = list(dict.fromkeys(rows["order"]))
    for row in rows[~untestable].itertuples():
        y = names.index(row.order) + _shift(row.depth)
        mark, colour = DEPTHS[row.depth]
        ax.plot([row.chance] * 2, [y - 0.2, y + 0.2], color=style.GREY, linewidth=1.2)
        sure = row.status != "not resolved"
        fill = colour if sure else "white"
        ax.plot(row.probability, y, marker=mark, markeredgecolor=colour, markerfacecolor=fill)
    _say(ax, rows[untestable], names, "order")
    _rows(ax, names)
    ax.set_xlim(-0.02, 1.02)


def _say(ax: Axes, rows: pd.DataFrame, names: list[str], column: str, found: str = "") -> None:
    """Write why nothing is drawn: once where it is so at both depths."""
    look = {"ha": "center", "va": "center", "bbox": style.PAPER}
    look["transform"] = ax.get_yaxis_transform()
    for name, own in rows[rows["status"] != found].groupby(column, sort=False):
        y = names.index(name)
        if len(own) == len(DEPTHS) and own["status"].nunique() == 1:
            ax.text(0.5, y, own["status"].iloc[0], color=style.GREY, **look)
            continue
        for row in own.itertuples():
            ax.text(0.5, y + _shift(row.depth), row.status, color=DEPTHS[row.depth][1], **look)


def _shift(depth: str) -> float:
    return -0.2 if depth == AS_MEASURED else 0.2


def _rows(ax: Axes, names: list[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.6)
    for place in range(1, len(names)):
        ax.axhline(place - 0.5, color=style.LIGHT, linewidth=0.6)
    ax.xaxis.set_major_formatter(style.tick_text)
