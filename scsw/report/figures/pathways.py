"""Pathways: the gene sets closest to the best candidates' genes, and to those of their controls."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.biology.enrich.calibration import is_enriched
from scsw.report import style, words
from scsw.report.figures.genes import VIEWS
from scsw.report.tables import Tables

CANDIDATES = 6  # columns per view
PRIMARY = 16  # rows of the primary family per method
SETS = {"ora": 6, "prerank": 4}  # rows of other sets per method
TITLES = {"ora": "Over-representation", "prerank": "Preranked GSEA"}
STATISTICS = {"ora": "log2 odds ratio", "prerank": "NES"}
TESTS = ("naive", "calibrated")  # against random genes, against matched controls
LABEL = 40  # characters of a gene set's name
LINE = 1.1 * style.ROW  # mm of height of a row


def draw(t: Tables) -> Figure:
    """Draw gene sets (rows) by view and candidate (columns), against both nulls side by side."""
    methods = [method for method in SETS if (t.pathways["method"] == method).any()]
    if not methods:
        return style.placard("No gene set was tested.")
    alpha = t.config["statistics"]["alpha"]
    columns = _columns(t)
    tests = TESTS if (t.pathways["n_controls"] > 0).any() else TESTS[:1]
    shown = {method: shown_sets(t.pathways, columns, method) for method in methods}
    heights = [max(30, 12 + LINE * shown[m]["row"].nunique()) for m in methods]
    fig = style.new_figure(style.DOUBLE, sum(heights) + 44)
    axes = fig.subplots(
        *(len(methods), len(tests)), height_ratios=heights, sharex=True, sharey="row", squeeze=False
    )
    letters = iter("abcd")
    for row, method in zip(axes, methods, strict=True):
        drawn = [
            _panel(ax, shown[method], columns, method, test, alpha)
            for ax, test in zip(row, tests, strict=True)
        ]
        for ax, test in zip(row, tests, strict=True):
            style.panel_letter(ax, next(letters), f"{TITLES[method]}, {test}")
        _name_sets(row[0], shown[method])
        _colour_bar(row, drawn[0], STATISTICS[method])
    labels = [f"seed {seed}  {candidate}" for seed, candidate, _ in columns]
    for ax in axes[-1]:
        ax.set_xticks(range(len(columns)), labels, rotation=90)
        ax.set_xlim(-0.7, len(columns) - 0.3)
    for column in axes.T:
        column[0].set_title(column[0].get_title(loc="left"), loc="left", fontweight="bold", pad=12)
        _name_views(column, columns)
    fig.legend(handles=_key(), loc="outside lower center", ncols=4)
    return fig


def _columns(t: Tables) -> list[tuple[int, str, str]]:
    """Return (seed, candidate, view) of the columns: best candidates, read-in before write-out."""
    tested = t.pathways[["seed", "candidate_id"]].drop_duplicates()
    best = t.best_candidates(len(t.verdicts)).merge(tested, on=["seed", "candidate_id"])
    pairs = best[["seed", "candidate_id"]].head(CANDIDATES).itertuples(index=False)
    pairs = [tuple(pair) for pair in pairs]
    present = set(t.pathways["view"])
    return [(*pair, view) for view in VIEWS if view in present for pair in pairs]


def shown_sets(pathways: pd.DataFrame, columns: list[tuple], method: str) -> pd.DataFrame:
    """Return the rows of the primary sets, then of the others with the smallest q of any column.

    Returns
    -------
    pandas.DataFrame
        Rows of `pathways` in the shown columns, with their place ``row``.
    """
    keys = pd.MultiIndex.from_tuples(columns, names=["seed", "candidate_id", "view"])
    own = pathways[pathways["method"] == method].set_index(list(keys.names))
    own = own[own.index.isin(keys)].reset_index()
    order = own.sort_values(["q", "p", "library", "gene_set"], kind="stable")
    order = order.drop_duplicates(["library", "gene_set"])
    primary = order["primary"].astype(bool)
    first = order[primary].sort_values(["library", "gene_set"]).head(PRIMARY)
    chosen = pd.concat([first, order[~primary].head(SETS[method])])
    names = chosen[["library", "gene_set"]].assign(row=range(len(chosen)))
    return own.merge(names, on=["library", "gene_set"])


def set_label(library: str, gene_set: str) -> str:
    """Write a gene set's name readably, with its library."""
    prefix = {"hallmark": "HALLMARK_", "reactome": "REACTOME_", "wikipathways": "WP_"}
    name = gene_set.removeprefix(prefix.get(library, "AD_")).replace("_", " ")
    return words.shortened(name, LABEL) + f" ({library[:1].upper()})"


def _panel(
    ax: Axes, rows: pd.DataFrame, columns: list[tuple], method: str, test: str, alpha: float
):
    """Draw one method against one null; return the dots."""
    values = rows["statistic"].astype(float)
    values = np.log2(values.where(values > 0)) if method == "ora" else values
    values = values.replace([np.inf, -np.inf], np.nan)
    reach = values.abs().max()  # on both sides of zero, so that grey is no effect
    colours = Normalize(-reach, reach) if values.notna().any() else None
    q = rows["q"]
    passing = q <= alpha
    if test == "calibrated":
        q = rows["calibrated_q"].where(rows["primary"].astype(bool), rows["empirical_fdr"])
        passing = is_enriched(rows, alpha)
    kept = q.notna()
    places = {column: place for place, column in enumerate(columns)}
    x = [places[key] for key in zip(rows["seed"], rows["candidate_id"], rows["view"], strict=True)]
    drawn = ax.scatter(
        np.array(x)[kept],
        rows["row"][kept],
        s=_size(q[kept].to_numpy(float)),
        c=values.fillna(0)[kept],
        cmap=style.HEATMAP,
        norm=colours,
        edgecolors=["black" if one else "none" for one in passing[kept]],
        linewidths=0.8,
    )
    ax.grid(color=style.LIGHT, linewidth=0.3)
    ax.set_axisbelow(True)
    n_primary = rows.loc[rows["primary"].astype(bool), "row"].nunique()
    if 0 < n_primary < rows["row"].nunique():
        ax.axhline(n_primary - 0.5, color=style.GREY, linewidth=0.6)
    return drawn


def _name_sets(ax: Axes, rows: pd.DataFrame) -> None:
    labels = rows.drop_duplicates("row").sort_values("row")
    names = [set_label(*key) for key in zip(labels["library"], labels["gene_set"], strict=True)]
    ax.set_yticks(labels["row"], names)
    ax.set_ylim(len(labels) - 0.4, -0.6)


def _colour_bar(axes: np.ndarray, drawn, label: str) -> None:
    bar = axes[0].figure.colorbar(drawn, ax=list(axes), aspect=18, fraction=0.04, pad=0.02)
    bar.set_label(label)
    bar.ax.yaxis.set_major_formatter(style.tick_text)
    bar.ax.locator_params(axis="y", nbins=4)


def _size(q: np.ndarray) -> np.ndarray:
    """Return marker areas in square points: −log10 q, held between 0.1 and 4."""
    return 6 + 7 * np.clip(-np.log10(np.clip(np.nan_to_num(q, nan=1.0), 1e-12, 1)), 0.1, 4)


def _name_views(axes, columns: list[tuple]) -> None:
    """Draw a line between read-in and write-out and name both above the first panel."""
    views = [view for *_, view in columns]
    for view in dict.fromkeys(views):
        first, n = views.index(view), views.count(view)
        middle = first + (n - 1) / 2
        axes[0].annotate(
            VIEWS[view],
            (middle, 1),
            xycoords=axes[0].get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
        )
        for ax in axes:
            if first:
                ax.axvline(first - 0.5, color="black", linewidth=0.6)


def _key() -> list[Line2D]:
    handles = []
    for q in (0.5, 0.05, 0.001):
        side = np.sqrt(_size(np.array([q])))[0]
        look = {"marker": "o", "linestyle": "none", "markersize": side, "color": style.GREY}
        handles.append(Line2D([], [], label=f"q or FDR {q:g}", markeredgewidth=0, **look))
    ring = {"markerfacecolor": "white", "markeredgecolor": "black", "markeredgewidth": 0.8}
    return [*handles, Line2D([], [], marker="o", linestyle="none", label="passes", **ring)]
