"""The donors behind a primary stage test: a candidate's contribution in each, by stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from scsw.report import style, words
from scsw.report.donors import STAGES


def draw_donors(fig: SubFigure, donors: pd.DataFrame, tests: pd.DataFrame, title: str) -> None:
    """Draw a panel per cell class: a dot per donor, and the line of the adjusted slope.

    Parameters
    ----------
    fig
        Where to draw.
    donors
        Rows of `Tables.stage_donors` of one candidate.
    tests
        The primary tests of the same candidate, one per cell class.
    title
        Stands after the panel letter.
    """
    stage = str(tests["stage"].iloc[0])
    name, levels = STAGES[stage]
    points = donor_points(donors, stage)
    tests = tests[tests["cell_class"].isin(points["cell_class"])].sort_values("cell_class")
    axes = fig.subplots(1, len(tests), sharex=True, sharey=True, squeeze=False)[0]
    for ax, test in zip(axes, tests.itertuples(), strict=True):
        colour = style.COLOURS[list(STAGES).index(stage)]
        _panel(ax, points[points["cell_class"] == test.cell_class], test, colour)
    for ax in axes:
        ax.set_xlim(-0.6, len(levels) - 0.4)
        short = [level.replace("intermediate", "interm.") for level in levels]
        ax.set_xticks(range(len(levels)), short, rotation=90 if len(levels) < 6 else 0)
        ax.margins(y=0.08)
    axes[0].set_ylabel("contribution (SD)")
    look = {"x": 0.005, "ha": "left", "fontweight": "bold"}
    fig.suptitle(f"a  {title}: contribution of each donor by {name}", **look)


def donor_points(donors: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return a point per cell class and donor with a known stage.

    Returns
    -------
    pandas.DataFrame
        ``cell_class, donor_id, stage`` (its level) and ``sd``: standard deviations of the
        contribution from its mean over the rows of the class, averaged over a donor's regions.
    """
    known = donors[donors[stage].ge(0) & np.isfinite(donors["contribution"].astype(float))]
    by_class = known.groupby("cell_class", observed=True)["contribution"]
    from_mean = known["contribution"] - by_class.transform("mean")
    sd = from_mean / by_class.transform("std").where(lambda x: x > 0)
    points = known.assign(sd=sd, stage=known[stage])
    keys = ["cell_class", "donor_id"]
    return points.groupby(keys, observed=True)[["stage", "sd"]].mean().reset_index()


def _panel(ax: Axes, points: pd.DataFrame, test, colour: str) -> None:
    ax.axhline(0, color=style.LIGHT, linewidth=0.6)
    for level, own in points.groupby("stage"):
        place = level + style.spread(len(own), 0.6)
        look = {"markersize": 2.2, "markeredgewidth": 0.4, "linestyle": "none"}
        ax.plot(place, own["sd"], "o", markerfacecolor="white", markeredgecolor="black", **look)
    told = "not tested"
    if test.status == "tested":
        ends = np.array([points["stage"].min(), points["stage"].max()])
        ax.plot(ends, test.beta * (ends - points["stage"].mean()), color=colour, lw=1.6)
        told = f"q {words.amount(test.q)}"
    ax.set_title(f"{test.cell_class or 'all'}\nn = {words.count(len(points))}, {told}")
    ax.yaxis.set_major_formatter(style.tick_text)
