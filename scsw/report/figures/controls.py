"""Control arms: what each was expected to show, and what happened."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style
from scsw.report.names import COMPARED, model_label
from scsw.report.tables import Tables

WIDTHS = (25, 48, 46, 60)  # mm: model, expectation, best effect, outcome
CHARACTERS = (15, 32, 0, 44)  # that fit into these widths
LINE = 3.3  # mm per line of text


def draw(t: Tables) -> Figure:
    """Draw a table with one row per model and a dot plot of its largest effect."""
    rows = control_rows(t)
    lines = [max(cell.count("\n") + 1 for cell in row["text"]) for row in rows]
    heights = np.array([LINE * n + 2.5 for n in lines])
    fig = style.new_figure(style.DOUBLE, heights.sum() + 24)
    axes = fig.subplots(1, 4, sharey=True, width_ratios=WIDTHS)
    edges = np.concatenate([[0], np.cumsum(heights)])
    middles = (edges[:-1] + edges[1:]) / 2
    axes[0].set_ylim(edges[-1], 0)
    titles = ("Model", "Expected", "Largest effect (nats per cell)", "Outcome")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontweight="bold")
        for edge in edges:
            ax.axhline(edge, color=style.LIGHT, linewidth=0.6)
    for ax, place in ((axes[0], 0), (axes[1], 1), (axes[3], 2)):
        ax.set_axis_off()
        for edge in edges:
            ax.plot([0, 1], [edge, edge], color=style.LIGHT, linewidth=0.6)
        ax.set_xlim(0, 1)
        for row, middle in zip(rows, middles, strict=True):
            ax.text(0, middle, row["text"][place], va="center", ha="left", in_layout=False)
    _dots(axes[2], t, rows, middles)
    fig.legend(handles=_key(rows), loc="outside lower center", ncols=5)
    return fig


def control_rows(t: Tables) -> list[dict]:
    """Return one row per model: its best verdict (or None) and the wrapped words beside it."""
    verdicts = pd.concat([t.verdicts, t.arm_verdicts]) if len(t.arm_verdicts) else t.verdicts
    rows = []
    for arm, seed in t.models:
        mine = verdicts[(verdicts["arm"] == arm) & (verdicts["seed"] == seed)]
        judged = mine.dropna(subset=["effect_nll"]).sort_values(
            ["effect_nll", "rank"], ascending=[False, True]
        )
        best = judged.iloc[0] if len(judged) else None
        expected, outcome = _words(t, arm, seed, mine)
        cells = (model_label(arm, seed), expected, outcome)
        widths = (CHARACTERS[0], CHARACTERS[1], CHARACTERS[3])
        wrapped = [textwrap.fill(c, w) for c, w in zip(cells, widths, strict=True)]
        rows.append({"model": (arm, seed), "best": best, "text": wrapped})
    return rows


def _words(t: Tables, arm: str, seed: int, verdicts: pd.DataFrame) -> tuple[str, str]:
    if arm == "real":
        n = int(verdicts["causal"].astype(bool).sum())
        return "the question of this run", f"{n} of {len(verdicts)} candidates judged causal"
    found = t.controls[(t.controls["arm"] == arm) & (t.controls["seed"] == seed)]
    if found.empty:
        return "–", "no result in controls.parquet"
    row = found.iloc[0]
    passed = {True: "Passed: ", False: "FAILED: ", None: "Undecided: "}[_truth(row["passed"])]
    passed = "" if arm in COMPARED else passed
    outcome = str(row["outcome"]).replace("q = ", "q\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return str(row["expectation"]), passed + outcome


def _truth(value) -> bool | None:
    return None if pd.isna(value) else bool(value)


def _dots(ax: Axes, t: Tables, rows: list[dict], middles: np.ndarray) -> None:
    bests = [row["best"] for row in rows if row["best"] is not None]
    columns = ["effect_nll", "effect_low", "effect_high", "min_effect"]
    values = np.array([[float(best[c]) for c in columns] for best in bests] or [[0.0, 0, 0, 1]])
    values = values[np.isfinite(values)]
    thresholds = np.array([float(best["min_effect"]) for best in bests] or [1.0])
    largest = float(np.abs(values).max(initial=1e-9))
    style.symlog_axis(ax, "x", values, style.linear_threshold(thresholds / 10, largest))
    ax.axvline(0, color="black", linewidth=0.4)
    for row, middle in zip(rows, middles, strict=True):
        best = row["best"]
        if best is None:
            text = "not judged"
            ax.text(0.5, middle, text, ha="center", va="center", transform=ax.get_yaxis_transform())
            continue
        marker, fill = style.VERDICT_MARKS[best["verdict"]]
        ax.plot([best["effect_low"], best["effect_high"]], [middle, middle], color="black")
        ax.plot(
            [best["min_effect"]] * 2,
            [middle - 2, middle + 2],
            color=style.COLOURS[2],
            linewidth=1.2,
        )
        ax.plot(
            best["effect_nll"],
            middle,
            marker=marker,
            markerfacecolor=fill,
            markeredgecolor="black",
            markeredgewidth=0.6,
            markersize=5,
        )
    ax.spines["left"].set_visible(False)
    ax.tick_params(left=False, labelleft=False)


def _key(rows: list[dict]) -> list[Line2D]:
    verdicts = [row["best"]["verdict"] for row in rows if row["best"] is not None]
    relevant = Line2D([], [], color=style.COLOURS[2], linewidth=1.2, label="smallest relevant")
    return [*style.verdict_key(verdicts), relevant]
