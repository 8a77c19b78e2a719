"""Fine-tuning: loss by step, and test performance beside the baselines."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scsw.report import style, words
from scsw.report.names import model_label
from scsw.report.tables import Tables

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}
PREDICTORS = {  # label, marker, fill, size; the smallest mark is drawn last
    "majority": ("most common type", "|", "black", 7),
    "frozen_encoder": ("logistic regression on the untuned model", "D", style.LIGHT, 6),
    "pca_logistic": ("PCA + logistic regression", "s", "white", 6.5),
    "scgpt": ("scGPT", "o", style.COLOURS[0], 4),
}


def draw(t: Tables) -> Figure:
    """Draw training and validation loss, then three test metrics of each model."""
    scored = t.performance[t.performance["cell_type"] == "all"]
    measured = set(zip(scored["arm"], scored["seed"], strict=True))
    models = [model for model in t.models if model in measured]
    lower = 20 + 1.2 * style.ROW * len(models)
    fig = style.new_figure(style.DOUBLE, 55 + lower + 6)
    grid = fig.add_gridspec(2, 3, height_ratios=[55, lower])
    _losses(fig.add_subplot(grid[0, :]), t)
    for place, (metric, name) in enumerate(METRICS.items()):
        ax = fig.add_subplot(grid[1, place])
        _metric(ax, scored[scored["metric"] == metric], models, labelled=place == 0)
        style.panel_letter(ax, "bcd"[place], f"Test {name}")
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


def _losses(ax: Axes, t: Tables) -> None:
    for place, seed in enumerate(t.seeds):
        rows = t.history[t.history["seed"] == seed]
        colour = style.COLOURS[place % len(style.COLOURS)]
        train, validation = (rows[rows["split"] == part] for part in ("train", "validation"))
        ax.plot(train["step"], train["loss"], color=colour, linewidth=0.5, alpha=0.6)
        ax.plot(
            validation["step"],
            validation["loss"],
            color=colour,
            marker=style.MARKERS[place % len(style.MARKERS)],
            linestyle=style.LINES[place % len(style.LINES)],
            label=f"seed {seed}, validation",
        )
    ax.plot([], [], color=style.GREY, linewidth=0.5, alpha=0.6, label="training (thin lines)")
    losses = t.history["loss"][np.isfinite(t.history["loss"])]
    if len(losses) and losses.min() > 0 and losses.max() > 20 * losses.min():
        style.log_axis(ax, "y", losses.min() / 1.2, losses.max() * 1.2)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("loss")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    style.panel_letter(ax, "a", "Loss")


def _metric(ax: Axes, rows, models: list[tuple[str, int]], labelled: bool) -> None:
    for predictor, (label, marker, fill, size) in PREDICTORS.items():
        own = rows[rows["predictor"] == predictor].set_index(["arm", "seed"]).reindex(models)
        places = range(len(models))
        ax.hlines(places, own["donor_low"], own["donor_high"], color="black", linewidth=0.7)
        ax.plot(
            own["donor_mean"],
            places,
            marker=marker,
            markersize=size,
            markerfacecolor=fill,
            markeredgecolor="black",
            markeredgewidth=1.2 if marker == "|" else 0.6,
            linestyle="none",
            label=label,
            clip_on=False,
        )
    ax.set_yticks(range(len(models)), [model_label(*m) if labelled else "" for m in models])
    ax.set_ylim(len(models) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_xlabel(f"mean of {words.several(int(rows['n_donors'].max()), 'donor')}")
    ax.grid(axis="y", color=style.LIGHT, linewidth=0.5)
