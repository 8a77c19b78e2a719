"""Paths: how far through the blocks the channel of a candidate stands out, and without it."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style
from scsw.report.tables import Tables

SITE = "pre_norm2"
CANDIDATES, COLUMNS = 6, 3
PANEL = 42  # mm of height
PRUNED = {"color": style.GREY, "linestyle": "--", "linewidth": 1, "marker": "x", "markersize": 3}


def draw(t: Tables) -> Figure:
    """Draw the largest |x| of each of the best candidates' channels, with and without it."""
    best = followed(t).head(CANDIDATES)
    if best.empty:
        return style.placard("No candidate was followed through the blocks.")
    rows = -(-len(best) // COLUMNS)
    fig = style.new_figure(style.DOUBLE, PANEL * rows + 12)
    axes = fig.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    blocks = int(t.paths["block"].max())
    for number, (ax, candidate) in enumerate(zip(axes.flat, best.itertuples(), strict=False)):
        _panel(ax, path_of(t, candidate.seed, candidate.candidate_id))
        title = f"seed {candidate.seed}\n{candidate.candidate_id}"
        style.panel_letter(ax, "abcdef"[number], title)
        ax.set_xlim(-0.5, blocks + 0.5)
        ax.set_xticks(range(0, blocks + 1, max(1, -(-blocks // 6))))
    for ax in list(axes.flat)[len(best) :]:
        ax.set_axis_off()
    for column in range(COLUMNS):  # the lowest panel that is drawn
        last = [row for row in range(rows) if row * COLUMNS + column < len(best)]
        if last:
            axes[last[-1], column].set_xlabel("block")
            axes[last[-1], column].tick_params(labelbottom=True)
    values = t.paths[t.paths["site"] == SITE][["amplitude", "amplitude_pruned"]].to_numpy().ravel()
    values = values[values > 0]
    if values.size:
        style.log_axis(axes[0, 0], "y", values.min() / 1.4, values.max() * 1.4)
    for row in axes[:, 0]:
        row.set_ylabel("largest |x| at the sum")
    fig.legend(handles=_key(), loc="outside lower center", ncols=3)
    return fig


def followed(t: Tables) -> pd.DataFrame:
    """Return the candidates of the fine-tuned models that have a path, best first."""
    best = t.best_candidates(len(t.verdicts))[["seed", "candidate_id"]]
    return best.merge(t.paths[["seed", "candidate_id"]].drop_duplicates())


def path_of(t: Tables, seed: int, candidate: str) -> pd.DataFrame:
    """Return the path of one candidate, block by block."""
    paths = t.paths
    own = (paths["seed"] == seed) & (paths["candidate_id"] == candidate) & (paths["site"] == SITE)
    return paths[own].sort_values("block")


def _panel(ax: Axes, path: pd.DataFrame) -> None:
    ax.plot(path["block"], path["amplitude"], ".-", color="black", linewidth=1, markersize=3)
    ax.plot(path["block"], path["amplitude_pruned"], **PRUNED)
    for name, rank, colour in (
        ("amplitude", "rank", "black"),
        ("amplitude_pruned", "rank_pruned", style.GREY),
    ):
        on_top = path[path[rank] == 1]
        ax.plot(on_top["block"], on_top[name], "o", color=colour, markersize=3.5)


def _key() -> list[Line2D]:
    return [
        Line2D([], [], color="black", linewidth=1, marker=".", markersize=3, label="intact"),
        Line2D([], [], label="candidate zeroed", **PRUNED),
        Line2D(
            [], [], color="black", marker="o", linestyle="none", markersize=3.5,
            label="largest channel of its block",
        ),
    ]  # fmt: skip
