"""Biomarkers: whether a candidate's views agree, and what each listed gene has for itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style, words
from scsw.report.names import AD_GENES
from scsw.report.tables import Tables

PAIRS = {  # pair of views: name, marker, colour
    ("read_in", "write_out"): ("read-in, write-out", "o", style.COLOURS[0]),
    ("read_in", "direction"): ("read-in, direction", "s", style.COLOURS[1]),
    ("write_out", "direction"): ("write-out, direction", "D", style.COLOURS[2]),
}
EVIDENCE = ("read-in", "write-out", "gene sets", "stage", "replication", "GWAS")
CANDIDATES, GENES = 8, 15
LINE = 3.4  # mm of height of a row


def draw(t: Tables) -> Figure:
    """Draw the agreement of the views, and the evidence of the first and the named genes."""
    genes = shown_genes(t.biomarkers)
    if genes.empty:
        return style.placard("This run has no table of candidate biomarkers.")
    alpha = t.config["statistics"]["alpha"]
    views = shown_candidates(t)
    rows = max(len(genes), 3 * len(views), 8)
    fig = style.new_figure(style.DOUBLE, 36 + LINE * rows)
    axes = fig.subplots(1, 2, width_ratios=[1, 1.35])
    _agreement(axes[0], views, alpha)
    style.panel_letter(axes[0], "a", "Agreement of views")
    _evidence(axes[1], genes, alpha)
    style.panel_letter(axes[1], "b", "Evidence by gene")
    fig.legend(handles=_key(alpha), loc="outside lower center", ncols=3)
    return fig


def shown_genes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the first genes, then the named ones that are not among them."""
    first = table["rank"].le(GENES)
    named = table["gene"].isin(AD_GENES) & ~first
    return pd.concat([table[first], table[named]], ignore_index=True).assign(
        named=lambda rows: rows["gene"].isin(AD_GENES)
    )


def shown_candidates(t: Tables) -> dict[str, pd.DataFrame]:
    """Return the agreement of the best candidates that have any, by label."""
    found = {}
    for row in t.best_candidates(len(t.verdicts)).itertuples():
        own = (t.view_agreement["seed"] == row.seed) & (
            t.view_agreement["candidate_id"] == row.candidate_id
        )
        if own.any() and len(found) < CANDIDATES:
            found[f"{row.candidate_id}\nseed {row.seed}"] = t.view_agreement[own]
    return found


def evidence(row: pd.Series, alpha: float) -> list[bool | None]:
    """Return, in the order of `EVIDENCE`, whether each was shown; None where it was not tested."""

    def passed(name: str) -> bool | None:
        return None if pd.isna(row[f"{name}_q"]) else str(row[f"{name}_passes"]) == "True"

    linked = pd.notna(row["candidate_id"])
    return [
        passed("read_in"),
        passed("write_out"),
        bool(row["n_pathways"] > 0) if linked else None,
        # What is lost on cells of one depth may be one of depth.
        None
        if pd.isna(row["stage_q"])
        else bool(row["stage_q"] <= alpha and row["stage_survives"] == "yes"),
        {"replicated": True, "not replicated": False}.get(row["replication"]),
        row["gwas"] == "yes",
    ]


def _agreement(ax: Axes, views: dict[str, pd.DataFrame], alpha: float) -> None:
    ax.axvline(0, color="black", linewidth=0.4)
    ax.set_xlabel("Spearman correlation")
    reach = 0.1
    for place, table in enumerate(views.values()):
        pairs = table.set_index(["view_a", "view_b"])
        for shift, (pair, (_, marker, colour)) in zip(
            style.spread(3, 0.7), PAIRS.items(), strict=True
        ):
            if pair not in pairs.index:
                continue
            row, y = pairs.loc[pair], place + shift
            look = {"color": style.GREY, "linewidth": 1.2}
            ax.plot([row["null_spearman"]] * 2, [y - 0.13, y + 0.13], **look)
            # Read-in and write-out must also agree beyond other channels of the same unit.
            passed = row["q"] <= alpha and not row["control_q"] > alpha
            fill = colour if passed else "white"
            ax.plot(row["spearman"], y, marker, markerfacecolor=fill, markeredgecolor=colour)
            reach = max(reach, abs(row["spearman"]), abs(row["null_spearman"]))
    ax.set_xlim(-1.15 * reach, 1.15 * reach)
    ax.locator_params(axis="x", nbins=4)
    ax.xaxis.set_major_formatter(style.tick_text)
    ax.set_yticks(range(len(views)), list(views))
    ax.set_ylim(max(len(views), 1) - 0.5, -0.5)
    if not views:
        ax.text(0, 0, "nothing compared", ha="center", va="center", bbox=style.PAPER)


def _evidence(ax: Axes, genes: pd.DataFrame, alpha: float) -> None:
    for place, (_, row) in enumerate(genes.iterrows()):
        for column, shown in enumerate(evidence(row, alpha)):
            if shown is not None:
                fill = "black" if shown else "white"
                look = {"markerfacecolor": fill, "markeredgecolor": "black"}
                ax.plot(column, place, "o", markersize=4.5, markeredgewidth=0.6, **look)
        ax.text(len(EVIDENCE) - 0.4, place, str(row["grade"]), va="center")
    first = int((~genes["named"] | genes["rank"].le(GENES)).sum())
    if 0 < first < len(genes):
        ax.axhline(first - 0.5, color=style.LIGHT, linewidth=0.8)
    labels = [
        f"{words.shortened(str(row.gene), 14)}{'*' if row.named else ''}"
        for row in genes.itertuples()
    ]
    ax.set_yticks(range(len(genes)), labels)
    ax.set_ylim(len(genes) - 0.5, -0.5)
    ax.set_xlim(-0.5, len(EVIDENCE) + 1.3)
    ax.set_xticks(np.arange(len(EVIDENCE)), EVIDENCE, rotation=90)
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)


def _key(alpha: float) -> list[Line2D]:
    look = {"linestyle": "none", "markeredgecolor": "black"}
    return [
        *[
            Line2D([], [], marker=m, color=c, linestyle="none", label=name)
            for name, m, c in PAIRS.values()
        ],
        Line2D([], [], color=style.GREY, marker="|", linestyle="none", label="mean of the null"),
        Line2D([], [], marker="o", markerfacecolor="black", label=f"shown (q ≤ {alpha:g})", **look),
        Line2D([], [], marker="o", markerfacecolor="white", label="tested, not shown", **look),
        Line2D([], [], marker="$*$", color="black", linestyle="none", label="named gene"),
    ]
