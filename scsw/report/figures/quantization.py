"""Quantisation: what rounding the weights costs, by bits, block size and what is held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scsw.report import style
from scsw.report.names import model_label
from scsw.report.tables import Tables

PANEL, LEGEND = 32, 24  # mm of a row of panels, and beside the rows
RELEVANT = {"color": style.COLOURS[2], "linestyle": (0, (6, 2)), "linewidth": 0.8}
WAYS = {  # label, colour, marker, line, place beside the block size
    "none": ("nothing held out", style.COLOURS[6], "o", "-", -0.12),
    "candidates": ("candidates held out", style.COLOURS[1], "s", "--", 0.0),
    "random": ("random weights held out", style.COLOURS[0], "^", ":", 0.12),
}


def draw(t: Tables) -> Figure:
    """Draw one row of panels per model and one column per number of bits."""
    effects = t.quantization
    models = t.quantized_models[: int((style.MAX_HEIGHT - LEGEND) // PANEL)]
    total = len(t.quantized_models)
    part = "" if len(models) == total else f" (first {len(models)} of {total} models)"
    bits = sorted(effects["bits"].unique(), reverse=True)
    blocks = block_order(effects)
    fig = style.new_figure(style.DOUBLE, PANEL * len(models) + LEGEND)
    axes = fig.subplots(len(models), len(bits), sharex=True, sharey=True, squeeze=False)
    values = _values(effects)
    threshold = style.linear_threshold(values, max(float(np.abs(values).max()), 1e-9))
    style.symlog_axis(axes[0, 0], "y", values, threshold)
    for place, (ax, (model, n_bits)) in enumerate(
        zip(axes.flat, [(model, n) for model in models for n in bits], strict=True)
    ):
        arm, seed = model
        of_model = (effects["arm"] == arm) & (effects["seed"] == seed)
        _panel(ax, effects[of_model & (effects["bits"] == n_bits)], blocks)
        if (limit := smallest_relevant(t, arm, seed)) is not None:
            ax.axhline(limit, **RELEVANT)
        letter = chr(ord("a") + place)
        title = f"{model_label(arm, seed)}, INT{n_bits}" + ("" if place else part)
        style.panel_letter(ax, letter, title)
    for ax in axes[-1]:
        ax.set_xlabel("weights that share a scale")
        ax.set_xticks(range(len(blocks)), [block_label(size) for size in blocks], rotation=90)
        ax.set_xlim(-0.5, len(blocks) - 0.5)
    for ax in axes[:, 0]:
        ax.set_ylabel("rise in NLL\n(nats per cell)")
    fig.legend(handles=_key(t), loc="outside lower center", ncols=3)
    return fig


def block_order(effects: pd.DataFrame) -> list[int]:
    """Return the block sizes in ascending order; 0, the whole matrix, comes last."""
    return sorted(effects["block_size"].unique(), key=lambda size: (size == 0, size))


def block_label(size: int) -> str:
    """Return how a block size is written at an axis."""
    return f"{size:,}" if size else "matrix"


def smallest_relevant(t: Tables, arm: str, seed: int) -> float | None:
    """Return the smallest effect that counts in a model; None where there is none."""
    verdicts = t.verdicts if arm == "real" else t.arm_verdicts
    own = verdicts[(verdicts["arm"] == arm) & (verdicts["seed"] == seed)]["min_effect"].dropna()
    return float(own.iloc[0]) if len(own) else None


def _values(effects: pd.DataFrame) -> np.ndarray:
    """Return everything that the shared axis must hold."""
    shown = effects[effects["hold_out"].isin(WAYS)]
    columns = ["effect_nll", "effect_low", "effect_high", "lowest", "highest"]
    values = shown[columns].to_numpy(float).ravel()
    values = values[np.isfinite(values)]
    return values if values.size else np.array([0.0, 1.0])


def _panel(ax: Axes, effects: pd.DataFrame, blocks: list[int]) -> None:
    ax.axhline(0, color="black", linewidth=0.4)
    for way, (_, colour, marker, line, beside) in WAYS.items():
        own = effects[effects["hold_out"] == way].set_index("block_size")
        if own.empty:
            continue
        own = own.loc[blocks]
        x = np.arange(len(blocks)) + beside
        if way == "random":
            ax.vlines(x, own["lowest"], own["highest"], color=style.LIGHT, linewidth=5)
        ax.vlines(x, own["effect_low"], own["effect_high"], color=colour, linewidth=0.7)
        face = "white" if way == "random" else colour
        ax.plot(
            x, own["effect_nll"], color=colour, linestyle=line, marker=marker, markerfacecolor=face
        )


def _key(t: Tables) -> list:
    measured = set(t.quantization["hold_out"])
    lines = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=line,
            marker=marker,
            markerfacecolor="white" if way == "random" else colour,
            label=label,
        )
        for way, (label, colour, marker, line, _) in WAYS.items()
        if way in measured
    ]
    if "random" in measured:
        lines.append(Patch(facecolor=style.LIGHT, label="range of the random draws"))
    if any(smallest_relevant(t, *model) is not None for model in t.quantized_models):
        lines.append(Line2D([], [], **RELEVANT, label="smallest relevant"))
    return lines
