"""The look of every figure: sizes, colours, markers, ticks, and how a figure is saved."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from scsw.report.names import FORMATS

MM = 1 / 25.4
SINGLE, DOUBLE, MAX_HEIGHT = 89, 183, 235  # mm: one column, two columns, a page
# Behind a text that a line would cross.
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
FONT = 7  # points; journals ask for at least 5 to 7 at final size
ROW = 3.0  # mm of height that one line of labels takes

# Okabe and Ito's colours; each series also has its own marker and line, so that the figures
# can be read in grey and by the colour-blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 2, 1, 2)))
SPLITS = {  # fill, hatch
    "train": ("#0072B2", ""),
    "validation": ("#CC79A7", "xxxx"),
    "discovery": ("#F0E442", "...."),
    "test": ("#FFFFFF", "////"),
    "several parts": ("#999999", ""),
}
VERDICT_MARKS = {  # marker, fill
    "causal, informative": ("o", COLOURS[1]),
    "causal, constant": ("D", COLOURS[4]),
    "masked pair": ("s", COLOURS[5]),
    "not causal": ("o", "white"),
    "not assessable": ("X", "#7F7F7F"),
}
GREY, LIGHT = "#555555", "#D0D0D0"
PLACARD = "placard"  # label of a figure that holds a sentence only
HEATMAP = "cividis"  # its lightness rises evenly, so the order survives in grey

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "legend.title_fontsize": FONT,
    "figure.titlesize": FONT,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "lines.linewidth": 0.9,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "mathtext.default": "regular",
    "savefig.dpi": 300,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "scsw",
    "pdf.fonttype": 42,  # TrueType, editable
    "path.simplify": True,
}
_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draw and save inside this block with our settings only, whatever the user's matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of the given size in mm, never taller than a page."""
    return Figure(figsize=(width * MM, min(height, MAX_HEIGHT) * MM), layout="constrained")


def save_figure(fig: Figure, name: str, out: str | Path, simulated: bool) -> None:
    """Write ``<out>/<name>.{svg,pdf,png}``; a simulated run's figures carry that word."""
    if simulated:
        mark_simulated(fig)
    fix_layout(fig)
    Path(out).mkdir(parents=True, exist_ok=True)
    for kind in FORMATS:
        fig.savefig(Path(out) / f"{name}.{kind}", format=kind, metadata=_METADATA[kind])


def fix_layout(fig: Figure) -> None:
    """Lay a figure out once, so that all formats agree, and round the places of its axes.

    The layout solver's last digits differ from time to time; unrounded they reach the names
    that an SVG gives its clip paths.
    """
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for ax in fig.axes:
        ax.set_position([round(value, 5) for value in ax.get_position().bounds])


def mark_simulated(fig: Figure) -> None:
    """Put the word "simulated" in the top right corner, in a strip kept free for it."""
    mm = MM / fig.get_figheight()
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - 3.4 * mm))
    look = {"ha": "right", "va": "top", "style": "italic", "color": COLOURS[1]}
    fig.text(0.995, 1 - 0.4 * mm, "simulated", **look)


def verdict_key(verdicts: Iterable[str]) -> list[Line2D]:
    """Return a legend's handles of the verdicts that occur."""
    look = {"markeredgecolor": "black", "linestyle": "none"}
    return [
        Line2D([], [], marker=marker, markerfacecolor=fill, label=verdict, **look)
        for verdict, (marker, fill) in VERDICT_MARKS.items()
        if verdict in set(verdicts)
    ]


def placard(sentence: str) -> Figure:
    """Return a figure that says in words why there is nothing to draw."""
    lines = textwrap.wrap(sentence, 52)
    fig = new_figure(SINGLE, 14 + ROW * len(lines))
    fig.text(0.5, 0.45, "\n".join(lines), ha="center", va="center", color=GREY)
    fig.set_label(PLACARD)
    return fig


def panel_letter(ax: Axes, letter: str, title: str = "") -> None:
    """Write a panel's letter and title above its top left corner."""
    ax.set_title(f"{letter}  {title}" if title else letter, loc="left", fontweight="bold")


def tick_text(value: float, _position: int | None = None) -> str:
    """Write a tick without raised exponents, which would be smaller than the smallest font."""
    if value == 0:
        return "0"
    text = f"{value:g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.0e}"
    mantissa, _, exponent = text.partition("e")
    text = f"{mantissa}e{int(exponent)}" if exponent else text
    return text.replace("-", "\N{MINUS SIGN}")


def log_axis(ax: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic from `low` to `high` with few, plainly written ticks."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    powers = [10.0**power for power in range(first, last + 1)]
    powers = [power for power in powers if low <= power <= high]
    ticks = powers[:: max(1, -(-len(powers) // 5))]
    if len(powers) < 3:
        finer = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
        ticks = [tick for tick in finer if low <= tick <= high]
    getattr(ax, f"set_{which}scale")("log")
    getattr(ax, f"set_{which}lim")(low, high)
    _set_ticks(ax, which, ticks)


def symlog_axis(ax: Axes, which: str, values: np.ndarray, linear: float) -> None:
    """Make an axis linear within ``±linear`` and logarithmic beyond, wide enough for `values`.

    `linear` is rounded to a power of ten. Every power beyond has a tick, few have a number.
    """
    linear = 10.0 ** np.round(np.log10(linear))
    low, high = min(values.min(), 0.0), max(values.max(), linear)
    low = -linear if -linear < low else low
    getattr(ax, f"set_{which}scale")("symlog", linthresh=linear, linscale=0.6)
    getattr(ax, f"set_{which}lim")(low * (1.6 if low < -linear else 1.0), high * 1.6)
    _set_ticks(ax, which, symlog_ticks(low, high * 1.6, linear))
    first, last = round(np.log10(linear)), np.log10(max(-low, high) * 1.6)
    powers = [10.0**power for power in range(first, int(last) + 2)]
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_minor_locator(FixedLocator([sign * x for x in powers for sign in (-1, 1)]))


def symlog_ticks(low: float, high: float, linear: float) -> list[float]:
    """Return zero, about four powers of ten above it and the largest one below."""

    def powers(reach: float) -> list[float]:
        if reach < linear:
            return []
        first, last = round(np.log10(linear)), int(np.floor(np.log10(reach) + 1e-9))
        step = max(1, -(-(last - first) // 4))
        return [10.0**power for power in range(last, first - 1, -step)]

    return sorted([-tick for tick in powers(-low)[:1]] + [0.0] + powers(high))


def linear_threshold(values: np.ndarray, largest: float) -> float:
    """Return where a symlog axis turns linear: the bulk of `values`, at most 5 decades down."""
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)])
    bulk = float(np.quantile(magnitudes, 0.5)) if magnitudes.size else largest / 100
    return min(max(bulk, largest * 1e-5, 1e-12), largest)


def spread(n: int, width: float) -> np.ndarray:
    """Return `n` offsets spread evenly over `width` and centred on zero."""
    return (np.arange(n) - (n - 1) / 2) * (width / max(n, 1))


def rows_that_fit(n_panels: int, n_rows: int, *, fixed: float, overhead: float) -> int:
    """Return how many rows each of `n_panels` stacked panels can show on one page.

    Parameters
    ----------
    n_panels, n_rows
        Panels on the page; rows that the longest would like to show.
    fixed, overhead
        Height in mm that a panel needs beside its rows, and that the page needs beside panels.
    """
    room = (MAX_HEIGHT - overhead) / max(n_panels, 1) - fixed
    return max(1, min(n_rows, int(room // ROW)))


def _set_ticks(ax: Axes, which: str, ticks: list[float]) -> None:
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(tick_text))
