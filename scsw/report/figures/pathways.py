"""Pathways: the gene sets closest to the best candidates' genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style, words
from scsw.report.figures.genes import VIEWS
from scsw.report.tables import Tables

CANDIDATES = 9  # columns per view
SETS = {"ora": 18, "prerank": 12}  # rows per method
TITLES = {"ora": "Over-representation", "prerank": "Preranked GSEA"}
STATISTICS = {"ora": "log2 odds ratio", "prerank": "NES"}
LABEL = 44  # characters of a gene set's name


def draw(t: Tables) -> Figure:
    """Draw gene sets (rows) by view and candidate (columns); size is -log10 q."""
    methods = [method for method in SETS if (t.pathways["method"] == method).any()]
    if not methods:
        return style.placard("No gene set was tested.")
    columns = _columns(t)
    shown = {method: best_sets(t.pathways, columns, method) for method in methods}
    heights = [max(34, 14 + 1.15 * style.ROW * shown[m]["row"].nunique()) for m in methods]
    fig = style.new_figure(style.DOUBLE, sum(heights) + 42)
    axes = fig.subplots(len(methods), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for place, (ax, method) in enumerate(zip(axes, methods, strict=True)):
        _panel(ax, shown[method], columns, method, t.config["statistics"]["alpha"])
        style.panel_letter(ax, "ab"[place], TITLES[method])
    axes[0].set_title(axes[0].get_title(loc="left"), loc="left", fontweight="bold", pad=12)
    labels = [f"seed {seed}  {candidate}" for seed, candidate, _ in columns]
    axes[-1].set_xticks(range(len(columns)), labels, rotation=90)
    axes[-1].set_xlim(-0.7, len(columns) - 0.3)
    _name_views(axes, columns)
    fig.legend(handles=_key(t.config["statistics"]["alpha"]), loc="outside lower center", ncols=5)
    return fig


def _columns(t: Tables) -> list[tuple[int, str, str]]:
    """Return (seed, candidate, view) of the columns: best candidates, read-in before write-out."""
    tested = t.pathways[["seed", "candidate_id"]].drop_duplicates()
    best = t.best_candidates(len(t.verdicts)).merge(tested, on=["seed", "candidate_id"])
    pairs = best[["seed", "candidate_id"]].head(CANDIDATES).itertuples(index=False)
    pairs = [tuple(pair) for pair in pairs]
    present = set(t.pathways["view"])
    return [(*pair, view) for view in VIEWS if view in present for pair in pairs]


def best_sets(pathways: pd.DataFrame, columns: list[tuple], method: str) -> pd.DataFrame:
    """Return the rows of the gene sets with the smallest q of any shown column."""
    keys = pd.MultiIndex.from_tuples(columns, names=["seed", "candidate_id", "view"])
    own = pathways[pathways["method"] == method].set_index(list(keys.names))
    own = own[own.index.isin(keys)].reset_index()
    order = own.sort_values(["q", "p", "library", "gene_set"], kind="stable")
    chosen = order.drop_duplicates(["library", "gene_set"]).head(SETS[method])
    names = chosen[["library", "gene_set"]].assign(row=range(len(chosen)))
    return own.merge(names, on=["library", "gene_set"])


def set_label(library: str, gene_set: str) -> str:
    """Write a gene set's name readably, with its library."""
    prefix = {"hallmark": "HALLMARK_", "reactome": "REACTOME_", "wikipathways": "WP_"}
    name = gene_set.removeprefix(prefix.get(library, "")).replace("_", " ")
    return words.shortened(name, LABEL) + f" ({library[:1].upper()})"


def _panel(ax: Axes, rows: pd.DataFrame, columns: list[tuple], method: str, alpha: float) -> None:
    places = {column: place for place, column in enumerate(columns)}
    x = [places[key] for key in zip(rows["seed"], rows["candidate_id"], rows["view"], strict=True)]
    values = rows["statistic"].astype(float)
    values = np.log2(values.where(values > 0)) if method == "ora" else values
    values = values.replace([np.inf, -np.inf], np.nan)
    drawn = ax.scatter(
        x,
        rows["row"],
        s=_size(rows["q"].to_numpy(float)),
        c=values.fillna(0),
        cmap=style.HEATMAP,
        norm=Normalize(values.min(), values.max()) if values.notna().any() else None,
        edgecolors=["black" if q < alpha else "none" for q in rows["q"]],
        linewidths=0.8,
    )
    labels = rows.drop_duplicates("row").sort_values("row")
    names = [set_label(*key) for key in zip(labels["library"], labels["gene_set"], strict=True)]
    ax.set_yticks(labels["row"], names)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(color=style.LIGHT, linewidth=0.3)
    ax.set_axisbelow(True)
    bar = ax.figure.colorbar(drawn, ax=ax, aspect=15, fraction=0.05)
    bar.set_label(STATISTICS[method])
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


def _key(alpha: float) -> list[Line2D]:
    handles = []
    for q in (0.5, 0.05, 0.001):
        side = np.sqrt(_size(np.array([q])))[0]
        look = {"marker": "o", "linestyle": "none", "markersize": side, "color": style.GREY}
        handles.append(Line2D([], [], label=f"q {q:g}", markeredgewidth=0, **look))
    ring = {"markerfacecolor": "white", "markeredgecolor": "black", "markeredgewidth": 0.8}
    return [*handles, Line2D([], [], marker="o", linestyle="none", label=f"q < {alpha:g}", **ring)]
