"""The figure of the calibration, drawn from its stored tables alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scsw.files import read_table
from scsw.report import style
from scsw.superweight.calibration.summary import (
    ALPHA,
    QUESTIONS,
    false_verdicts,
    power_by_effect,
    power_by_strength,
)
from scsw.superweight.calibration.uniformity import deviation

MOST_FALSE = 4 / 200  # families with a causal verdict that issue and docs allow
OUTCOMES = {  # label, marker, line, colour
    "found": ("among the candidates", "o", "-", style.COLOURS[0]),
    "causal": ("called causal", "s", "--", style.COLOURS[1]),
    "grade": ("called causal, with its grade", "^", ":", style.COLOURS[6]),
}
SHORT = {
    "q": "q ≤ 0.05",
    "lower": "and lower bound > 0",
    "lenient": "causal, any\neffect counting",
    "least": "q ≤ 0.05 and\nlower bound > least",
    "causal": "causal, by the rules",
}


def draw(null: pd.DataFrame, power: pd.DataFrame, n_controls: int, min_effect: float) -> Figure:
    """Draw p-values, false verdicts and power.

    Parameters
    ----------
    null, power
        ``null.parquet`` and ``power.parquet``.
    n_controls
        Random controls of each family.
    min_effect
        Smallest effect that counts, as a share of the gap.
    """
    kinds = sorted(power["kind"].unique())
    fig = style.new_figure(style.DOUBLE, 62 + 58 * len(kinds))
    grid = fig.subplots(1 + len(kinds), 2, squeeze=False)
    p_values(grid[0, 0], null, n_controls)
    questions(grid[0, 1], null)
    letters = iter("cdefgh")
    for row, kind in enumerate(kinds, 1):
        own, name = power[power["kind"] == kind], kind.removeprefix("implanted_")
        by_strength(grid[row, 0], own)
        style.panel_letter(grid[row, 0], next(letters), f"Implants, {name}")
        by_effect(grid[row, 1], own, min_effect)
        style.panel_letter(grid[row, 1], next(letters), f"The same, {name}")
    handles, labels = grid[1, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def p_values(ax: Axes, null: pd.DataFrame, n_controls: int) -> None:
    """Draw F(p) − p, pooled and of each model."""
    t = np.arange(1, n_controls + 2) / (n_controls + 1)
    for _, own in null.groupby("model"):
        ax.plot(t, deviation(own["p"], n_controls), color=style.LIGHT, lw=0.6, zorder=1)
    ax.plot(t, deviation(null["p"], n_controls), color=style.COLOURS[0], lw=1.4, zorder=3)
    band = 1.36 / np.sqrt(len(null))  # Kolmogorov's 95 % of that many independent values
    ax.axhspan(-band, band, color=style.COLOURS[5], alpha=0.3, lw=0, zorder=0)
    ax.axhline(0, color=style.GREY, lw=0.6)
    ax.set(xlabel="rank p of blind random scalars", ylabel="share of p-values below, minus p")
    reach = max(0.12, 1.1 * float(np.abs(ax.get_ylim()).max()))
    ax.set(xlim=(0, 1), ylim=(-reach, reach))
    n, models = len(null), null["model"].nunique()
    ax.text(0.02, 0.97, f"{n:,} p-values of {models} models", transform=ax.transAxes, va="top")
    text = "band: 95 %, for the blue line"
    ax.text(0.02, 0.03, text, transform=ax.transAxes, color=style.GREY)
    style.panel_letter(ax, "a", "Are p-values uniform?\n")


def questions(ax: Axes, null: pd.DataFrame) -> None:
    """Draw the share of families with a candidate that passes each question."""
    table = false_verdicts(null).set_index("question").loc[list(QUESTIONS)]
    y = np.arange(len(table))[::-1]
    errors = [table["share"] - table["low"], table["high"] - table["share"]]
    black = style.COLOURS[6]
    ax.errorbar(
        100 * table["share"], y, xerr=100 * np.array(errors), fmt="o", capsize=2, color=black
    )
    right = 103 * max(table["high"].max(), 1.2 * ALPHA)
    for place, row in zip(y, table.itertuples(), strict=True):
        ax.text(1.04 * right, place, f"{row.passed} of {row.families}", va="center")
    for share, text, line in ((MOST_FALSE, "4 of 200", "--"), (ALPHA, "α", ":")):
        ax.axvline(100 * share, color=style.COLOURS[1], ls=line, lw=0.9, zorder=0)
        ax.text(100 * share, len(y) - 0.42, text, color=style.COLOURS[1], ha="center", va="bottom")
    ax.set_yticks(y, [SHORT[name] for name in table.index])
    ax.set(xlim=(-0.02 * right, right), ylim=(-0.6, len(table) - 0.45))
    ax.set_xlabel("families of blind scalars, %")
    style.panel_letter(ax, "b", "With any candidate that passes\n")


def by_strength(ax: Axes, power: pd.DataFrame) -> None:
    """Draw the shares of implants by the size of the implanted scalar."""
    table = power_by_strength(power)
    strengths = sorted(table["strength"].unique())
    for offset, (name, look) in zip((-0.08, 0, 0.08), OUTCOMES.items(), strict=True):
        own = table[table["outcome"] == name].set_index("strength").loc[strengths]
        _points(ax, np.arange(len(strengths)) + offset, own, look)
    n = table["n"].min()
    ax.set_xticks(range(len(strengths)), [f"{s:g}" for s in strengths])
    ax.set_xlabel(f"size of the implanted scalar ({n} implants each)")
    _percent(ax)


def by_effect(ax: Axes, power: pd.DataFrame, min_effect: float) -> None:
    """Draw the shares by the effect of zeroing the implant, and the single implants."""
    table = power_by_effect(power)
    bins = sorted(table["below"].unique())
    for offset, (name, look) in zip((-0.1, 0, 0.1), OUTCOMES.items(), strict=True):
        own = table[table["outcome"] == name].set_index("below").loc[bins]
        _points(ax, np.arange(len(bins)) + offset, own, look)
    counts = table[table["outcome"] == "found"].set_index("below")["n"]
    labels = []
    for upper in bins:
        text = f"< {100 * upper:g}" if np.isfinite(upper) else "more"
        labels.append(f"{text}\n(n={counts[upper]})")
    ax.set_xticks(range(len(bins)), labels)
    least = [place for place, upper in enumerate(bins) if upper > min_effect + 1e-12]
    if least and least[0]:
        ax.axvline(least[0] - 0.5, color=style.GREY, ls=":", lw=0.9)
        middle = (least[0] - 1) / 2
        ax.text(middle, 111, "too small", ha="center", va="bottom", color=style.GREY)
    ax.set_xlabel("rise of the NLL without the implant, % of the gap")
    _percent(ax)


def _points(ax: Axes, x: np.ndarray, own: pd.DataFrame, look: tuple) -> None:
    label, marker, line, colour = look
    errors = 100 * np.array([own["share"] - own["low"], own["high"] - own["share"]])
    ax.errorbar(x, 100 * own["share"], yerr=errors, marker=marker, ls=line, color=colour,
                label=label, capsize=1.5, lw=0.9)  # fmt: skip


def _percent(ax: Axes) -> None:
    ax.set(ylim=(-4, 122), ylabel="implants, %")
    ax.set_yticks([0, 25, 50, 75, 100])


def write(stored: Path, n_controls: int, min_effect: float) -> None:
    """Draw the figure of the tables in `stored` beside them, as SVG and PNG."""
    null, power = (read_table(stored / f"{name}.parquet") for name in ("null", "power"))
    with style.applied():
        fig = draw(null, power, n_controls, min_effect)
        style.mark_simulated(fig)
        style.fix_layout(fig)
        fig.savefig(stored / "calibration.svg", metadata={"Date": None})
        fig.savefig(stored / "calibration.png", metadata={"Software": None}, dpi=200)
