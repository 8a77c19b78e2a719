"""External validation: leading genes against diagnosis in cohorts that the model never saw."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style, words
from scsw.report.sections.external import both_nulls
from scsw.report.tables import Tables

VIEWS = {"read_in": "read-in", "write_out": "write-out"}
CANDIDATES, COHORTS, GENES = 3, 3, 8
BAND = 8.0  # mm of height that one set of genes takes


def draw(t: Tables) -> Figure:
    """Draw the sets of the best candidates (above) and the strongest genes (below) by cohort."""
    best = t.best_candidates(len(t.verdicts))[["seed", "candidate_id"]]
    best = best.merge(t.external[["seed", "candidate_id"]].drop_duplicates()).head(CANDIDATES)
    mine = t.external.merge(best, on=["seed", "candidate_id"])
    cohorts = sorted(mine.loc[mine["status"] == "tested", "external"].unique())[:COHORTS]
    if not cohorts:
        return style.placard("No gene could be tested against diagnosis in another cohort.")
    alpha = t.config["statistics"]["alpha"]
    keys = [(c.seed, c.candidate_id, view) for c in best.itertuples() for view in VIEWS]
    classes = sorted(mine["cell_class"].unique())
    fig = style.new_figure(style.DOUBLE, 45 + BAND * len(keys) + 1.5 * style.ROW * GENES)
    heights = [BAND * len(keys), 1.5 * style.ROW * GENES]
    axes = fig.subplots(2, len(cohorts), squeeze=False, height_ratios=heights)
    sets = both_nulls(mine)
    for place, (name, column) in enumerate(zip(cohorts, axes.T, strict=True)):
        _sets(column[0], sets[sets["external"] == name], keys, classes, alpha, labels=place == 0)
        own = mine[(mine["external"] == name) & (mine["test"] == "gene")]
        _genes(column[1], own, classes, alpha)
        title = f"{words.shortened(str(name), 18)}\n     {_people(mine[mine['external'] == name])}"
        style.panel_letter(column[0], chr(ord("a") + place), title)
        style.panel_letter(column[1], chr(ord("a") + len(cohorts) + place))
    fig.legend(handles=_key(classes, alpha), loc="outside lower center", ncols=4)
    return fig


def _people(rows: pd.DataFrame) -> str:
    """Return the tissue and how many people were compared, at most, over the cell classes."""
    cases, controls = (int(rows[name].max()) for name in ("n_ad", "n_control"))
    return f"{rows['tissue'].iloc[0]}\n     {cases} AD, {controls} control"


def _sets(
    ax: Axes, sets: pd.DataFrame, keys: list[tuple], classes: list[str], alpha: float, labels: bool
) -> None:
    own = [name for name in classes if name in set(sets["cell_class"])]
    shifts = dict(zip(own, style.spread(len(own), 0.8), strict=True))
    for y, (seed, candidate, view) in enumerate(keys):
        of_set = sets[
            (sets["seed"] == seed) & (sets["candidate_id"] == candidate) & (sets["view"] == view)
        ]
        tested = of_set[of_set["status"] == "tested"]
        if tested.empty:
            where = ax.get_yaxis_transform()
            look = {"ha": "center", "va": "center", "bbox": style.PAPER}
            ax.text(0.5, y, "not tested", transform=where, **look)
        for row in tested.itertuples():
            _point(ax, row.effect, y + shifts[row.cell_class], row, classes, alpha)
        if y:
            ax.axhline(y - 0.5, color=style.LIGHT, linewidth=0.6)
    names = [f"seed {seed}, {VIEWS[view]}\n{candidate}" for seed, candidate, view in keys]
    ax.set_yticks(range(len(keys)), names if labels else [""] * len(keys))
    ax.set_ylim(len(keys) - 0.5, -0.5)
    _finish(ax, "mean |t| above matched genes")


def _genes(ax: Axes, genes: pd.DataFrame, classes: list[str], alpha: float) -> None:
    """Draw the genes of smallest p, each once per cell class."""
    top = genes.sort_values(["p", "gene"]).drop_duplicates(["gene", "cell_class"]).head(GENES)
    for y, row in enumerate(top.itertuples()):
        colour = style.COLOURS[classes.index(row.cell_class)]
        ax.plot([row.effect_low, row.effect_high], [y, y], color=colour, linewidth=0.8)
        _point(ax, row.effect, y, row, classes, alpha)
    ax.set_yticks(range(len(top)), [words.shortened(gene, 14) for gene in top["gene"]])
    ax.set_ylim(max(len(top), 1) - 0.5, -0.5)
    _finish(ax, "AD − control (SD)")


def _point(ax: Axes, x: float, y: float, row, classes: list[str], alpha: float) -> None:
    place = classes.index(row.cell_class)
    colour = style.COLOURS[place]
    ax.plot(
        x,
        y,
        marker=style.MARKERS[place],
        markersize=4,
        markerfacecolor=colour if row.q < alpha else "white",
        markeredgecolor=colour,
        markeredgewidth=0.7,
    )


def _finish(ax: Axes, label: str) -> None:
    ax.axvline(0, color="black", linewidth=0.4)
    ax.set_xlabel(label)
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(style.tick_text)


def _key(classes: list[str], alpha: float) -> list[Line2D]:
    handles = [
        Line2D([], [], marker=style.MARKERS[i], color=style.COLOURS[i], linestyle="none", label=c)
        for i, c in enumerate(classes)
    ]
    look = {"marker": "o", "linestyle": "none", "markeredgecolor": "black", "markersize": 4}
    return [
        *handles,
        Line2D([], [], markerfacecolor="black", label=f"q < {alpha:g}", **look),
        Line2D([], [], markerfacecolor="white", label=f"q ≥ {alpha:g}", **look),
    ]
