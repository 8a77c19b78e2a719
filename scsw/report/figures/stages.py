"""Stages: slope of a candidate's activity and effect along the stages of disease."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style
from scsw.report.figures.stage_donors import draw_donors
from scsw.report.tables import Tables

MEASURES = {"contribution": "contribution", "spike": "spike", "effect_nll": "rise in NLL"}
STAGES = {"adnc": "ADNC", "braak": "Braak", "thal": "Thal", "cerad": "CERAD"}
STAGES |= {"cognition": "cognition", "cps": "CPS (per 0.25)"}
PER = {"cps": 0.25}  # a quarter of the score's range, to share an axis with steps of a stage
THINNED, THIN_MARK = "thinned", "<"
CANDIDATES = 3
BAND = 9.5  # mm of height that one cell class takes
DONORS, LEGEND = 48, 14  # mm of the donors' panels, and of the key


def draw(t: Tables) -> Figure:
    """Draw the donors behind the primary tests of the best candidate, and forests of slopes.

    A forest is a row per candidate and a column per measure, with donors as units.
    """
    by_class = t.stages[t.stages["cell_type"].eq("all") & t.stages["stage"].isin(list(STAGES))]
    best = t.best_candidates(len(t.verdicts))[["seed", "candidate_id"]]
    tested = by_class[by_class["status"] == "tested"]
    best = best.merge(tested[["seed", "candidate_id"]].drop_duplicates())
    if best.empty:
        return style.placard("No candidate could be tested against the stages of disease.")
    classes = sorted(by_class["cell_class"].astype(str).unique())
    primary = by_class[by_class["primary"].astype(bool)]
    alpha = t.config["statistics"]["alpha"]
    shown = primary.merge(best.head(1))
    donors = t.stage_donors.merge(best.head(1))
    top = DONORS if len(donors) else 0
    panel = 14 + BAND * len(classes)
    best = best.head(min(CANDIDATES, int((style.MAX_HEIGHT - LEGEND - top) // panel)))
    fig = style.new_figure(style.DOUBLE, top + panel * len(best) + LEGEND)
    forests = fig
    if top:
        above, forests = fig.subfigures(2, 1, height_ratios=[top, panel * len(best)])
        draw_donors(above, donors, shown, _named(best.iloc[0]))
    axes = forests.subplots(len(best), len(MEASURES), sharey=True, squeeze=False)
    for place, (row, candidate) in enumerate(zip(axes, best.itertuples(), strict=True)):
        mine = by_class[
            (by_class["seed"] == candidate.seed)
            & (by_class["candidate_id"] == candidate.candidate_id)
        ]
        for ax, measure in zip(row, MEASURES, strict=True):
            _panel(ax, mine[mine["measure"] == measure], classes, set(primary["stage"]), alpha)
        letter = chr(ord("a") + bool(top) + place)
        style.panel_letter(row[0], letter, f"{_named(candidate)}: slopes")
    for ax, name in zip(axes[-1], MEASURES.values(), strict=True):
        ax.set_xlabel(f"slope of {name} (SD per unit)")
    fig.legend(handles=_key(set(tested["stage"]), alpha), loc="outside lower center", ncols=5)
    return fig


def _named(candidate) -> str:
    return f"seed {candidate.seed}, {candidate.candidate_id}"


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
