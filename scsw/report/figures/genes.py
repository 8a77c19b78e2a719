"""Gene scores: the genes that a candidate reads from and writes to, and the known AD genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.biology.ranking import orientation, ranked_genes, view_scores
from scsw.report import style, words
from scsw.report.names import AD_GENES
from scsw.report.tables import Tables

VIEWS = {"read_in": "read-in", "write_out": "write-out"}
TOP_GENES, CANDIDATES = 10, 3
BAND = 4.5  # points
RING = {
    "marker": "o",
    "markersize": 8.5,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "linestyle": "none",
}


def draw(t: Tables) -> Figure:
    """Draw the top genes of the best candidates (rows) by view (columns)."""
    best = t.best_candidates(CANDIDATES)
    scored = set(zip(t.genes["seed"], t.genes["candidate_id"], strict=True))
    best = best[[key in scored for key in zip(best["seed"], best["candidate_id"], strict=True)]]
    if best.empty:
        return style.placard("No candidate was mapped to genes.")
    panel = 13 + style.ROW * (TOP_GENES + len(AD_GENES) + 1)
    fig = style.new_figure(style.DOUBLE, panel * len(best) + 8)
    axes = fig.subplots(len(best), len(VIEWS), squeeze=False)
    for place, (row, candidate) in enumerate(zip(axes, best.itertuples(), strict=True)):
        for ax, view in zip(row, VIEWS, strict=True):
            scores = gene_rows(t.genes, candidate.seed, candidate.candidate_id, view)
            _panel(ax, scores, t.config["statistics"]["alpha"])
            title = f"seed {candidate.seed}, {candidate.candidate_id}, {VIEWS[view]}"
            title += _shared(best, place, view)
            style.panel_letter(ax, chr(ord("a") + list(axes.flat).index(ax)), title)
    for ax in axes[-1]:
        ax.set_xlabel("z against matched genes")
    fig.legend(handles=_key(t.config["statistics"]["alpha"]), loc="outside lower center", ncols=3)
    return fig


def _shared(best: pd.DataFrame, place: int, view: str) -> str:
    """Name the panel of an earlier candidate of the same hidden unit, which reads the same."""
    unit = best[["seed", "family", "block", "column"]]
    first = int(np.flatnonzero((unit == unit.iloc[place]).all(axis=1))[0])
    known = view == "read_in" and first < place
    return f" (as {chr(ord('a') + len(VIEWS) * first)})" if known else ""


def gene_rows(genes: pd.DataFrame, seed: int, candidate_id: str, view: str) -> pd.DataFrame:
    """Return the strongest genes of one view, then every AD gene, scored or not.

    The order is that of `scsw.biology.ranking.ranked_genes`, which the enrichment uses too;
    read-in z-scores are turned so that positive means driving the candidate.

    Returns
    -------
    pandas.DataFrame
        ``gene, z, q, unit_low, unit_high, unit_q, known``: the range (mean ± 2 SD) and the test
        against hidden units or edits alike. All are NaN for an AD gene that was not scored.
    """
    scores = view_scores(genes[genes["seed"] == seed], view, candidate_id)
    units = scores.set_index("gene")[["unit_mean", "unit_sd", "unit_q"]]
    if view == "read_in":
        units["unit_mean"] *= orientation(scores)
    units["unit_low"] = units["unit_mean"] - 2 * units["unit_sd"]
    units["unit_high"] = units["unit_mean"] + 2 * units["unit_sd"]
    ranked = ranked_genes(scores, view).join(units, on="gene")
    top = ranked.head(TOP_GENES)
    known = ranked.set_index("gene").reindex(list(AD_GENES)).reset_index()
    columns = ["gene", "z", "q", "unit_low", "unit_high", "unit_q"]
    parts = [top[columns].assign(known=False), known[columns].assign(known=True)]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _panel(ax: Axes, rows: pd.DataFrame, alpha: float) -> None:
    n_top = int((~rows["known"]).sum())
    places = np.arange(len(rows)) + np.where(rows["known"], 1, 0)
    for place, row in zip(places, rows.itertuples(), strict=True):
        if not np.isfinite(row.z):
            where = ax.get_yaxis_transform()
            look = {"va": "center", "color": style.GREY, "bbox": style.PAPER}
            ax.text(0.02, place, "not scored", transform=where, **look)
            continue
        ax.plot([0, row.z], [place, place], color=style.GREY, linewidth=0.8)
        if np.isfinite(row.unit_low):
            band = {"color": style.LIGHT, "linewidth": BAND, "solid_capstyle": "butt", "zorder": 1}
            ax.plot([row.unit_low, row.unit_high], [place, place], **band)
        if row.unit_q < alpha:
            ax.plot(row.z, place, **RING)
        ax.plot(
            row.z,
            place,
            marker="D" if row.known else "o",
            markerfacecolor=style.COLOURS[1 if row.known else 0] if row.q < alpha else "white",
            markeredgecolor="black",
            markeredgewidth=0.6,
        )
    ax.axvline(0, color="black", linewidth=0.4)
    ax.axhline(n_top, color=style.LIGHT, linewidth=0.8)
    ax.set_yticks(places, [words.shortened(str(gene), 16) for gene in rows["gene"]])
    ax.set_ylim(places[-1] + 0.7, -0.7)
    ax.margins(x=0.08)
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(style.tick_text)


def _key(alpha: float) -> list[Line2D]:
    handles = []
    for name, marker, colour in (("top gene", "o", 0), ("known AD gene", "D", 1)):
        for fill, sign in ((style.COLOURS[colour], "<"), ("white", "≥")):
            look = {"markerfacecolor": fill, "markeredgecolor": "black", "linestyle": "none"}
            handles.append(
                Line2D([], [], marker=marker, label=f"{name}, q {sign} {alpha:g}", **look)
            )
    band = {"color": style.LIGHT, "linewidth": BAND}
    handles.append(Line2D([], [], label="units or edits alike, ± 2 SD", **band))
    handles.append(Line2D([], [], label=f"q against these < {alpha:g}", **RING))
    return handles
