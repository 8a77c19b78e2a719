"""Stages: slope of a candidate's activity and effect along the stages of disease."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style
from scsw.report.tables import Tables

MEASURES = {"contribution": "contribution", "spike": "spike", "effect_nll": "rise in NLL"}
STAGES = {"adnc": "ADNC", "braak": "Braak", "thal": "Thal", "cerad": "CERAD"}
STAGES |= {"cognition": "cognition", "cps": "CPS (per 0.25)"}
PER = {"cps": 0.25}  # a quarter of the score's range, to share an axis with steps of a stage
THINNED, THIN_MARK = "thinned", "<"
CANDIDATES = 3
BAND = 9.5  # mm of height that one cell class takes


def draw(t: Tables) -> Figure:
    """Draw a forest plot per candidate (rows) and measure (columns), donors as units."""
    by_class = t.stages[t.stages["cell_type"].eq("all") & t.stages["stage"].isin(list(STAGES))]
    best = t.best_candidates(len(t.verdicts))[["seed", "candidate_id"]]
    best = best.merge(by_class[["seed", "candidate_id"]].drop_duplicates()).head(CANDIDATES)
    classes = sorted(by_class["cell_class"].astype(str).unique())
    primary = set(by_class.loc[by_class["primary"].astype(bool), "stage"])
    alpha = t.config["statistics"]["alpha"]
    if best.empty:
        return style.placard("No candidate was tested against the stages of disease.")
    panel = 14 + BAND * len(classes)
    fig = style.new_figure(style.DOUBLE, panel * len(best) + 14)
    axes = fig.subplots(len(best), len(MEASURES), sharey=True, squeeze=False)
    for row, candidate in zip(axes, best.itertuples(), strict=True):
        mine = by_class[
            (by_class["seed"] == candidate.seed)
            & (by_class["candidate_id"] == candidate.candidate_id)
        ]
        for ax, measure in zip(row, MEASURES, strict=True):
            _panel(ax, mine[mine["measure"] == measure], classes, primary, alpha)
        title = f"seed {candidate.seed}, {candidate.candidate_id}"
        style.panel_letter(row[0], chr(ord("a") + list(axes[:, 0]).index(row[0])), title)
    for ax, name in zip(axes[-1], MEASURES.values(), strict=True):
        ax.set_xlabel(f"slope of {name} (SD per unit)")
    tested = set(by_class.loc[by_class["status"] == "tested", "stage"])
    fig.legend(handles=_key(tested, alpha), loc="outside lower center", ncols=5)
    return fig


def _panel(
    ax: Axes, rows: pd.DataFrame, classes: list[str], primary: set[str], alpha: float
) -> None:
    shifts = dict(zip([*STAGES, THINNED], style.spread(len(STAGES) + 1, 0.84), strict=True))
    for place, cell_class in enumerate(classes):
        mine = rows[rows["cell_class"].astype(str) == cell_class]
        tested = mine[(mine["status"] == "tested") & (mine["depth"] != THINNED)]
        thin = mine[(mine["status"] == "tested") & (mine["depth"] == THINNED)]
        if tested.empty:
            where = ax.get_yaxis_transform()
            look = {"ha": "center", "va": "center", "bbox": style.PAPER}
            ax.text(0.5, place, "not tested", transform=where, **look)
        for row in tested.itertuples():
            _slope(ax, row, place + shifts[row.stage], alpha)
        for row in thin[thin["stage"].isin(primary)].itertuples():
            _thinned(ax, row, place + shifts[THINNED], alpha)
        if place:
            ax.axhline(place - 0.5, color=style.LIGHT, linewidth=0.6)
    ax.axvline(0, color="black", linewidth=0.4)
    ax.set_yticks(range(len(classes)), [name or "all" for name in classes])
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(style.tick_text)


def _slope(ax: Axes, row, y: float, alpha: float) -> None:
    place = list(STAGES).index(row.stage)
    colour = style.COLOURS[place]
    width, unit = 1.6 if row.primary else 0.7, PER.get(row.stage, 1)
    ax.plot([unit * row.beta_low, unit * row.beta_high], [y, y], color=colour, linewidth=width)
    ax.plot(
        unit * row.beta,
        y,
        marker=style.MARKERS[place],
        markersize=4.5 if row.primary else 3,
        markerfacecolor=colour if row.q < alpha else "white",
        markeredgecolor=colour,
        markeredgewidth=0.7,
    )


def _thinned(ax: Axes, row, y: float, alpha: float) -> None:
    unit = PER.get(row.stage, 1)
    ax.plot([unit * row.beta_low, unit * row.beta_high], [y, y], color=style.GREY, linewidth=0.7)
    fill = style.GREY if row.q < alpha else "white"
    look = {"markeredgecolor": style.GREY, "markeredgewidth": 0.7, "markersize": 3}
    ax.plot(unit * row.beta, y, marker=THIN_MARK, markerfacecolor=fill, **look)


def _key(tested: set[str], alpha: float) -> list[Line2D]:
    handles = [
        Line2D([], [], marker=style.MARKERS[i], color=style.COLOURS[i], linewidth=0.7, label=name)
        for i, (stage, name) in enumerate(STAGES.items())
        if stage in tested
    ]
    look = {"marker": "o", "linestyle": "none", "markeredgecolor": "black", "markersize": 4}
    return [
        *handles,
        Line2D([], [], markerfacecolor="black", label=f"q < {alpha:g}", **look),
        Line2D([], [], markerfacecolor="white", label=f"q ≥ {alpha:g}", **look),
        Line2D([], [], color=style.GREY, linewidth=1.8, label="primary test"),
        Line2D([], [], color=style.GREY, marker=THIN_MARK, linewidth=0.7, label=f"{THINNED} cells"),
    ]
