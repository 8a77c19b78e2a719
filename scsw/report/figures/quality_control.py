"""Quality control: cells left after each filter, and what the thresholds cut off."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scsw.report import style, words
from scsw.report.filters import cell_filters
from scsw.report.tables import Tables

KEPT = {"facecolor": style.COLOURS[5], "edgecolor": "black", "linewidth": 0.5}
DROPPED = {"facecolor": "none", "edgecolor": "#A03C00", "linewidth": 0.8, "hatch": "//////"}
BASE = 0.5  # where the bars stand on a logarithmic axis: below one cell
FINE_MITO = 20  # per cent up to which the bins of pct_mito are narrow
COARSE = 5  # width of the others
HISTOGRAM = 44  # mm of height


@dataclass(frozen=True)
class Measure:
    """How one measure of cells is shown.

    Attributes
    ----------
    key
        Its threshold in the config's section `preprocess`.
    side
        ``at least`` or ``at most``.
    """

    title: str
    label: str
    absent: str
    key: str
    side: str
    log: bool = False


MEASURES = {
    "n_genes": Measure("Genes per cell", "genes", "gene numbers", "min_genes", "at least", True),
    "total_counts": Measure("Counts per cell", "counts", "counts", "min_counts", "at least", True),
    "pct_mito": Measure(
        "Mitochondrial share", "mitochondrial counts (%)", "mitochondrial genes or share",
        "max_pct_mito", "at most",
    ),
    "doublet_score": Measure(
        "Doublet score", "doublet score", "doublet scores", "max_doublet_score", "at most"
    ),
}  # fmt: skip


def draw(t: Tables) -> Figure:
    """Draw the cells left after each filter, then a histogram of every measure."""
    settings = t.config["preprocess"]
    filters = cell_filters(t.qc, settings)
    idle = _idle(filters)
    top = 19 + style.ROW * (1.3 * (1 + (filters["removed"] > 0).sum()) + len(idle))
    fig = style.new_figure(style.DOUBLE, top + 2 * HISTOGRAM + 8)
    # Two parts: the long labels of the upper one must not narrow the histograms.
    above, below = fig.subfigures(2, 1, height_ratios=[top, 2 * HISTOGRAM])
    _left(above.subplots(), filters, idle)
    n_cells = int(filters["before"].iloc[0]) if len(filters) else len(t.obs)
    for ax, letter, (name, measure) in zip(
        below.subplots(2, 2).flat, "bcde", MEASURES.items(), strict=True
    ):
        rows = t.qc_histograms[t.qc_histograms["measure"] == name]
        _measure(ax, rows, measure, name, settings, n_cells)
        style.panel_letter(ax, letter, measure.title)
    _legend(fig, t.qc_histograms)
    return fig


def shown_bins(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the bins as they are drawn, equally wide but for an open one at either end.

    ``pct_mito`` has narrow bins up to `FINE_MITO` per cent and wide ones beyond. Either all that
    lie beyond are put into one open bin, or, where they hold over 5 % of cells, all bins are wide.

    Parameters
    ----------
    rows
        ``low, high, kept, dropped`` of one measure, without gaps.

    Returns
    -------
    pandas.DataFrame
        The same columns; ``high`` is infinite for the open bin.
    """
    rows = rows[["low", "high", "kept", "dropped"]]
    if name != "pct_mito" or rows.empty:
        return rows.reset_index(drop=True)
    n_cells = rows["kept"] + rows["dropped"]
    beyond = rows["low"] >= FINE_MITO
    if n_cells[beyond].sum() > 0.05 * n_cells.sum():
        low = rows["low"] // COARSE * COARSE
        merged = rows.groupby(low)[["kept", "dropped"]].sum().reset_index()
        merged.insert(1, "high", merged["low"] + COARSE)
        return merged
    if not beyond.any():
        return rows.reset_index(drop=True)
    sums = rows.loc[beyond, ["kept", "dropped"]].sum()
    last = pd.DataFrame([{"low": FINE_MITO, "high": np.inf, **sums}])
    return pd.concat([rows[~beyond], last], ignore_index=True)


def _idle(filters: pd.DataFrame) -> list[str]:
    """Name the filters that removed nothing, in lines."""
    total = filters.groupby("label", sort=False)["removed"].sum()
    names = "; ".join(total.index[total == 0])
    return textwrap.wrap(f"Removed no cell: {names}.", 112) if names else []


def _left(ax: Axes, filters: pd.DataFrame, idle: list[str]) -> None:
    """Draw the cells left after each filter that removed any."""
    removing = filters[filters["removed"] > 0]
    n_cells = int(filters["before"].iloc[0]) if len(filters) else 0
    left = [n_cells, *removing["after"]]
    places = range(len(left))
    ax.barh(places, left, height=0.75, **KEPT)
    ax.barh(places[1:], removing["removed"], left=left[1:], height=0.75, **DROPPED)
    ax.set_yticks(places, ["all cells of the source", *removing["label"]])
    ax.set_ylim(len(left) - 0.4, -0.6)
    ax.set_xlim(0, max(n_cells, 1) * 1.005)
    ax.locator_params(axis="x", nbins=6, integer=True)
    ax.xaxis.set_major_formatter(lambda value, _: words.count(value))
    ax.set_xlabel("\n".join(["cells", *idle]))
    beside = ax.secondary_yaxis("right")
    beside.set_yticks(
        places, [words.count(n_cells), *[_loss(row) for row in removing.itertuples()]]
    )
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
    style.panel_letter(ax, "a", "Cells left after each filter")


def _loss(row: Any) -> str:
    share = words.percent(row.removed / row.before)
    return f"{words.count(row.after)} left, {words.count(row.removed)} lost ({share})"


def _measure(
    ax: Axes, rows: pd.DataFrame, m: Measure, name: str, settings: dict[str, Any], n_cells: int
) -> None:
    """Draw the histogram of one measure, or say that the source lacks it."""
    limit = float(settings[m.key])
    if rows.empty:
        note = f"The source gives no {m.absent}, so the threshold ({m.side} {words.amount(limit)})"
        lines = textwrap.wrap(f"{note} was not applied.", 44)
        ax.text(0.02, 0.9, "\n".join(lines), transform=ax.transAxes, va="top", color=style.GREY)
        ax.set_axis_off()
        return
    bins = shown_bins(rows, name)
    numbers = bins[["kept", "dropped"]].to_numpy()
    tallest = float(numbers.max())
    # Room above the tallest bar for the threshold's value.
    style.log_axis(ax, "y", BASE, tallest * (tallest / BASE) ** 0.35)
    (_on_log_axis if m.log else _on_even_axis)(ax, bins, limit)
    _threshold(ax, limit, m.side)
    missing = n_cells - int(numbers.sum())
    without = f", not given for {words.several(missing, 'cell')}" if missing > 0 else ""
    ax.set_xlabel(m.label + without)
    ax.set_ylabel("cells per bin")


def _on_log_axis(ax: Axes, bins: pd.DataFrame, limit: float) -> None:
    """Draw bins on a logarithmic axis; cells with a value of zero stand apart on the left."""
    zero, others = bins[bins["low"] == 0], bins[bins["low"] > 0]
    filled = np.flatnonzero(others["kept"] + others["dropped"])
    others = others.iloc[filled[0] :] if len(filled) else others.iloc[:0]
    # The last bin of all is open; it is drawn as wide as the others.
    edges = np.append(others["low"], 10**0.1 * others["low"].max()) if len(others) else []
    ends = [*edges, max(limit, 1.0)]
    low, high = min(ends) / 1.12, max(ends) * 1.12
    style.log_axis(ax, "x", low, max(high, 10 * low))
    if len(others):
        _steps(ax, others, edges)
    if len(zero):
        _steps(ax, zero, np.array([low / 1.4, low / 1.12]))
        _add_tick(ax, low / 1.25, "0")
        ax.set_xlim(left=low / 1.6)


def _on_even_axis(ax: Axes, bins: pd.DataFrame, limit: float) -> None:
    """Draw bins on an even axis; an open last bin stands apart on the right."""
    is_open = np.isinf(bins["high"])
    closed, beyond = bins[~is_open], bins[is_open]
    end = closed["high"].max() if len(closed) else beyond["low"].iloc[0]
    # A threshold far beyond all cells would squeeze them into a corner.
    high = max(end, limit) if beyond.empty and limit <= 4 * end else end
    ax.set_xlim(0, 1.02 * high)
    ax.locator_params(axis="x", nbins=6)
    ax.xaxis.set_major_formatter(style.tick_text)
    if len(closed):
        _steps(ax, closed, np.append(closed["low"], end))
    if len(beyond):
        ax.set_xticks([tick for tick in ax.get_xticks() if tick < 0.95 * high])
        _steps(ax, beyond, np.array([1.02, 1.05]) * high)
        _add_tick(ax, 1.035 * high, f"≥ {words.amount(beyond['low'].iloc[0])}")
        ax.set_xlim(0, 1.07 * high)


def _steps(ax: Axes, bins: pd.DataFrame, edges: np.ndarray) -> None:
    """Draw kept cells filled, and dropped ones as a hatched outline before them."""
    for column, look in (("kept", KEPT), ("dropped", DROPPED)):
        if bins[column].any():
            ax.stairs(bins[column].clip(lower=BASE), edges, baseline=BASE, fill=True, **look)


def _add_tick(ax: Axes, place: float, label: str) -> None:
    places = [x for x in ax.get_xticks() if ax.get_xlim()[0] <= x <= ax.get_xlim()[1]]
    labels = [style.tick_text(x) for x in places]
    ax.set_xticks([*places, place], [*labels, label])


def _threshold(ax: Axes, limit: float, side: str) -> None:
    """Mark the threshold by a dashed line with its value, or say that it lies beyond the axis."""
    low, high = ax.get_xlim()
    text, where = f"{side} {words.amount(limit)}", ax.get_xaxis_transform()
    look = {"transform": where, "va": "top", "bbox": style.PAPER}
    if side == "at least" and limit == 0:
        ax.text(high, 0.99, "no threshold", ha="right", **look)
        return
    if not low <= limit <= high:
        ax.text(high, 0.99, f"{text}, beyond this axis", ha="right", **look)
        return
    ax.axvline(limit, color="black", linestyle="--", linewidth=1)
    to_axes = ax.transScale + ax.transLimits
    left = to_axes.transform((limit, BASE))[0] < 0.5
    ax.annotate(
        text,
        (limit, 0.99),
        xycoords=where,
        xytext=(3 if left else -3, 0),
        textcoords="offset points",
        ha="left" if left else "right",
        va="top",
    )


def _legend(fig: Figure, histograms: pd.DataFrame) -> None:
    of_all = histograms[histograms["measure"] == "n_genes"]
    handles = [
        Patch(label=f"kept ({words.count(of_all['kept'].sum())})", **KEPT),
        Patch(label=f"dropped ({words.count(of_all['dropped'].sum())})", **DROPPED),
        Line2D([], [], color="black", linestyle="--", linewidth=1, label="threshold"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3, title="panels b–e")
