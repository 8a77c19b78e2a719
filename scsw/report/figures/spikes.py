"""Spike landscape: how far the largest channels of each block stand out, site by site."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style
from scsw.report.names import model_label
from scsw.report.tables import Tables

SITES = {
    "mlp_hidden": "MLP hidden",
    "mlp_out": "MLP output",
    "pre_norm2": "sum before norm 2",
    "out": "block output",
}
LARGEST = 3  # channels shown per block, site and model
FOUND_BY = {"spike": "D", "below_rule": "o", "first_order": "s"}


def draw(t: Tables) -> Figure:
    """Draw the spike ratio of the largest channels against the block, one column per site."""
    present = set(zip(t.spikes["arm"], t.spikes["seed"], strict=True))
    groups = [[m for m in t.models if m in present and (m[0] == "real") == real] for real in (1, 0)]
    groups = [group for group in groups if group]
    if not groups:
        return style.placard("No spike was measured.")
    fig = style.new_figure(style.DOUBLE, 18 + 58 * len(groups))
    axes = fig.subplots(len(groups), len(SITES), sharex=True, sharey=True, squeeze=False)
    number = {model: place for place, model in enumerate(t.models)}
    for row, group in zip(axes, groups, strict=True):
        for ax, site in zip(row, SITES, strict=True):
            _panel(ax, t, site, group, number)
        title = "fine-tuned models" if group[0][0] == "real" else "control models"
        row[0].set_ylabel(f"{title}\nspike ratio")
        handles = [_model_handle(model, number[model]) for model in group]
        row[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5))
    for place, name in enumerate(SITES.values()):
        style.panel_letter(axes[0, place], "abcd"[place], name)
        axes[-1, place].set_xlabel("block")
    _scale(axes, t)
    fig.legend(handles=_key(t), loc="outside lower center", ncols=4)
    return fig


def largest_channels(spikes: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the `n` rows of largest ratio of each model, site and block."""
    ordered = spikes.sort_values(["ratio", "channel"], ascending=[False, True], kind="stable")
    return ordered.groupby(["arm", "seed", "site", "block"], sort=False).head(n)


def _panel(ax: Axes, t: Tables, site: str, group: list, number: dict) -> None:
    shifts = style.spread(len(group), 0.5)
    for (arm, seed), shift in zip(group, shifts, strict=True):
        colour, marker, line = _look(number[arm, seed])
        rows = t.spikes[
            (t.spikes["site"] == site) & (t.spikes["arm"] == arm) & (t.spikes["seed"] == seed)
        ]
        shown = largest_channels(rows, LARGEST).sort_values(["block", "ratio"])
        first = shown.groupby("block").tail(1)
        ax.plot(shown["block"] + shift, shown["ratio"], ".", color=colour, markersize=2)
        ax.plot(
            first["block"] + shift,
            first["ratio"],
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=3,
            linewidth=0.6,
        )
        for found_by, mark in FOUND_BY.items():
            places = candidate_points(t, site, arm, seed, found_by)
            ax.plot(
                places["block"] + shift,
                places["ratio"],
                mark,
                markerfacecolor="none",
                markeredgecolor="black",
                markeredgewidth=0.6,
                markersize=5.5,
            )
    ax.axhline(t.config["search"]["spike_ratio"], color="black", linestyle="--", linewidth=0.7)


def candidate_points(t: Tables, site: str, arm: str, seed: int, found_by: str) -> pd.DataFrame:
    """Return block and ratio of a model's candidates at a site, where the site knows them."""
    mine = t.candidates[
        (t.candidates["arm"] == arm)
        & (t.candidates["seed"] == seed)
        & (t.candidates["found_by"] == found_by)
    ]
    if site == "mlp_hidden":
        return mine[["block"]].assign(ratio=mine["hidden_ratio"]).dropna()
    spikes = t.spikes
    own = spikes[(spikes["arm"] == arm) & (spikes["seed"] == seed) & (spikes["site"] == site)]
    channels = mine[["block", "row"]].rename(columns={"row": "channel"}).drop_duplicates()
    return own.merge(channels, on=["block", "channel"])[["block", "ratio"]].dropna()


def _look(number: int) -> tuple:
    place = number % len(style.COLOURS)
    return style.COLOURS[place], style.MARKERS[place], style.LINES[place]


def _scale(axes, t: Tables) -> None:
    points = [
        candidate_points(t, site, *model, found_by)["ratio"]
        for site in SITES
        for model in t.models
        for found_by in FOUND_BY
    ]
    known = pd.concat([series.astype(float) for series in points])
    largest = largest_channels(t.spikes[t.spikes["site"].isin(SITES)], LARGEST)["ratio"]
    rule = t.config["search"]["spike_ratio"]
    low = min([*largest[largest > 0], *known[known > 0], rule]) / 1.5
    for ax in axes.flat:
        style.log_axis(ax, "y", low, max([*largest, *known, rule]) * 1.5)
        blocks = int(t.spikes["block"].max()) + 1
        ax.set_xticks(range(0, blocks, max(1, -(-blocks // 6))))
        ax.set_xlim(-0.6, blocks - 0.4)


def _model_handle(model: tuple[str, int], number: int) -> Line2D:
    colour, marker, line = _look(number)
    label = model_label(*model).replace(", ", ",\n").replace("shuffled ", "shuffled\n")
    return Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=3, label=label)


def _key(t: Tables) -> list[Line2D]:
    ring = {"linestyle": "none", "markerfacecolor": "none", "markeredgecolor": "black"}
    largest = f"{LARGEST} largest channels"
    rule = f"stop rule ({style.tick_text(t.config['search']['spike_ratio'])})"
    return [
        Line2D([], [], color="black", linestyle="--", linewidth=0.7, label=rule),
        Line2D([], [], marker=".", color=style.GREY, linestyle="none", label=largest),
        Line2D([], [], marker="D", label="candidate (spike)", markersize=6, **ring),
        Line2D([], [], marker="o", label="candidate (below stop rule)", markersize=6, **ring),
        Line2D([], [], marker="s", label="candidate (first order)", markersize=6, **ring),
    ]
