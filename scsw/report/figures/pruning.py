"""Pruning: what zeroing each candidate does, beside what zeroing random weights does."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scsw.report import style, words
from scsw.report.tables import Tables

PANEL, LEGEND = 10, 24  # mm beside the rows of a panel, and beside the panels
BOX = 0.3  # half the height of a control band, in rows


def draw(t: Tables) -> Figure:
    """Draw one panel per fine-tuned model, one row per candidate, best first."""
    panels = [seed for seed in t.seeds if (t.verdicts["seed"] == seed).any()]
    if not panels:
        return style.placard("No candidate was found, so none was pruned.")
    longest = int(t.verdicts["seed"].value_counts().max())
    n_rows = style.rows_that_fit(len(panels), longest, fixed=PANEL, overhead=LEGEND)
    shown = {seed: _rows(t, seed).head(n_rows) for seed in panels}
    heights = [PANEL + style.ROW * len(rows) for rows in shown.values()]
    fig = style.new_figure(style.DOUBLE, sum(heights) + LEGEND)
    axes = fig.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    values, threshold = _values(t, shown)
    for place, (ax, (seed, rows)) in enumerate(zip(axes, shown.items(), strict=True)):
        style.symlog_axis(ax, "x", values, threshold)
        _panel(ax, t, rows)
        total = int((t.verdicts["seed"] == seed).sum())
        part = "" if len(rows) == total else f"; best {len(rows)} of {total} candidates"
        n = f"n = {words.several(int(rows['n_test_donors'].max()), 'test donor')}"
        style.panel_letter(ax, chr(ord("a") + place), f"seed {seed} ({n}{part})")
    axes[-1].set_xlabel("rise in cell-type NLL when zeroed (nats per cell)")
    fig.legend(handles=_key(pd.concat(shown.values())), loc="outside lower center", ncols=4)
    return fig


def control_effects(t: Tables, candidate: pd.Series) -> np.ndarray:
    """Return the effects of the random controls that a candidate is judged against.

    Controls of its own tensor, or of all blocks where the config draws them there.
    """
    mine = t.effects[(t.effects["weight_set"] == "random") & (t.effects["seed"] == candidate.seed)]
    same = mine[(mine["family"] == candidate.family) & (mine["block"] == candidate.block)]
    own_tensor = t.config["prune"]["control_scope"] == "same_tensor" and len(same) > 0
    return (same if own_tensor else mine)["effect_nll"].to_numpy(float)


def _rows(t: Tables, seed: int) -> pd.DataFrame:
    return t.verdicts[t.verdicts["seed"] == seed].sort_values("rank")


def donor_effects(t: Tables, candidate) -> np.ndarray:
    """Return the effect of zeroing a candidate in each test donor."""
    own = t.donor_effects
    own = own[(own["seed"] == candidate.seed) & (own["candidate_id"] == candidate.candidate_id)]
    return own["effect_nll"].to_numpy(float)


def _values(t: Tables, shown: dict[int, pd.DataFrame]) -> tuple[np.ndarray, float]:
    """Return everything that the shared axis must hold, and where it turns linear."""
    columns = (
        "effect_nll effect_low effect_high effect_mean_nll detectable_effect noise_mean".split()
    )
    rows = pd.concat(shown.values())
    values = np.concatenate([rows[columns].to_numpy(float).ravel(), strongest_alike(rows)])
    controls = t.effects.loc[t.effects["weight_set"] == "random", "effect_nll"].to_numpy(float)
    donors = np.concatenate([donor_effects(t, row) for row in rows.itertuples()])
    everything = np.concatenate([values, controls, donors, rows["min_effect"].to_numpy(float)])
    everything = everything[np.isfinite(everything)]
    everything = everything if everything.size else np.array([0.0, 1.0])
    largest = max(float(np.abs(everything).max()), 1e-9)
    return everything, style.linear_threshold(controls, largest)


def strongest_alike(rows: pd.DataFrame) -> np.ndarray:
    """Return each candidate's strongest control among like weights; NaN where it has none."""
    return rows[["wanda_max", "row_neighbour_max"]].max(axis=1).to_numpy(float)


def _panel(ax: Axes, t: Tables, rows: pd.DataFrame) -> None:
    alike = strongest_alike(rows)
    for place, candidate in enumerate(rows.itertuples()):
        _controls(ax, place, control_effects(t, candidate))
        ax.plot(alike[place], place, marker="x", color=style.GREY, markersize=4)
        ax.plot(candidate.noise_mean, place, marker="+", color=style.GREY, markersize=5)
        _donors(ax, place, donor_effects(t, candidate))
        _candidate(ax, place, candidate)
    ax.axvline(0, color="black", linewidth=0.4)
    ax.axvline(rows["min_effect"].iloc[0], color=style.COLOURS[2], linestyle="--")
    ax.set_yticks(range(len(rows)), rows["candidate_id"])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    beside = ax.secondary_yaxis("right")
    labels = ["q " + words.amount(q) if np.isfinite(q) else "q –" for q in rows["q"].astype(float)]
    beside.set_yticks(range(len(rows)), labels)
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)


def _controls(ax: Axes, place: int, effects: np.ndarray) -> None:
    effects = effects[np.isfinite(effects)]
    if not effects.size:
        return
    low, high = np.quantile(effects, [0.025, 0.975])
    ax.plot([effects.min(), effects.max()], [place, place], color="#8C8C8C", linewidth=0.8)
    ax.fill_between([low, high], place - BOX, place + BOX, color=style.LIGHT, linewidth=0)


def _donors(ax: Axes, place: int, effects: np.ndarray) -> None:
    """Draw a dot per donor in a lane below the candidate's mark."""
    look = {"marker": "o", "markersize": 1.3, "markeredgewidth": 0, "linestyle": "none"}
    ax.plot(effects, np.full(len(effects), place + 0.36), color="black", alpha=0.6, **look)


def _candidate(ax: Axes, place: int, candidate) -> None:
    marker, fill = style.VERDICT_MARKS[candidate.verdict]
    limit = candidate.detectable_effect
    ax.plot([limit, limit], [place - 0.42, place + 0.42], color=style.COLOURS[0], linewidth=1)
    ax.plot([candidate.effect_low, candidate.effect_high], [place, place], color="black")
    ax.plot(
        candidate.effect_mean_nll,
        place,
        marker="|",
        color=style.COLOURS[3],
        markersize=6,
        markeredgewidth=1.3,
    )
    ax.plot(
        candidate.effect_nll,
        place,
        marker=marker,
        markerfacecolor=fill,
        markeredgecolor="black",
        markeredgewidth=0.6,
        markersize=4.5,
    )


def _key(rows: pd.DataFrame) -> list:
    handles = style.verdict_key(rows["verdict"])
    return [
        *handles,
        Line2D([], [], marker="o", color="black", linestyle="none", ms=1.5, label="test donors"),
        Line2D([], [], marker="|", color=style.COLOURS[3], linestyle="none", label="mean instead"),
        Line2D([], [], marker="x", color=style.GREY, linestyle="none", label="strongest alike"),
        Line2D([], [], marker="+", color=style.GREY, linestyle="none", label="noise of its size"),
        Patch(facecolor=style.LIGHT, edgecolor="#8C8C8C", label="random weights"),
        Line2D([], [], color=style.COLOURS[2], linestyle="--", label="smallest relevant"),
        Line2D([], [], color=style.COLOURS[0], label="not detectable below"),
    ]
