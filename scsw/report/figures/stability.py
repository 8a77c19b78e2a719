"""Stability: which spikes are new, where they pass, and whether other models have them."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scsw.report import style, words
from scsw.report.names import model_label
from scsw.report.tables import Tables

SITES = {"mlp_out": "MLP output", "pre_norm2": "sum"}
ORIGINS = {  # marker, face, edge, hatch; the bars and the marks share their fill
    "acquired": ("o", style.COLOURS[1], "black", ""),
    "inherited": ("s", "white", "black", "////"),
    "own start": ("D", style.LIGHT, "black", "...."),
    "lost": ("X", style.COLOURS[0], style.COLOURS[0], ""),
}
SHARES = {  # marker, face
    "donors": ("o", "black"),
    "cell_types": ("s", "white"),
    "regions": ("^", "white"),
}
TOKENS = {"cls_ratio": "<cls>", "genes_ratio": "genes"}
MOST_POSITIONS, MOST_PAIRS = 24, 12
LINE, BAND, KEY = 3.4, 15.5, 16  # mm of height: a row, what surrounds a panel, the key


def draw(t: Tables) -> Figure:
    """Draw spikes by origin, each position over models and groups, and the matched profiles."""
    if t.spike_summary.empty:
        return style.placard("No spike was measured.")
    models = _models(t)
    places, pairs = positions(t.spike_stability), t.profile_agreement.head(MOST_PAIRS)
    # Heights of the bands, each with its title, ticks and axis label.
    first = BAND + LINE * max(len(models), 2)
    last = BAND + LINE * len(pairs) if len(pairs) else 0
    fits = int((style.MAX_HEIGHT - first - last - BAND - KEY) // LINE)
    shown = places.head(max(1, min(MOST_POSITIONS, fits)))
    second = BAND + LINE * max(len(shown), 2) if len(shown) else 2 * LINE
    heights = [first, second, last] if last else [first, second]
    fig = style.new_figure(style.DOUBLE, sum(heights) + KEY)
    # The bands are grids of their own: only so do their heights include what surrounds a panel.
    grid = fig.add_gridspec(len(heights), 1, height_ratios=heights)
    _counts(fig, grid[0], t, models)
    if len(shown):
        _positions(fig, grid[1], t, models, shown, len(places))
    else:
        _sentence(grid[1].subgridspec(1, 1).subplots(), t)
    if last:
        _profiles(grid[2].subgridspec(1, 1).subplots(), pairs, len(t.profile_agreement))
    key = _key(t, shown, last > 0)
    fig.legend(
        list(key.values()),
        list(key),
        loc="outside lower center",
        ncols=5,
        handler_map={tuple: HandlerTuple(ndivide=None)},
    )
    return fig


def positions(spikes: pd.DataFrame) -> pd.DataFrame:
    """Return one row per position of a start, that of the model in which it stands out most."""
    largest = spikes.sort_values(
        ["ratio", "block", "site", "channel"], ascending=[False, True, True, True], kind="stable"
    )
    return largest.drop_duplicates(["start", "block", "site", "channel"]).reset_index(drop=True)


def _models(t: Tables) -> pd.DataFrame:
    """Return the summary in the order of the models, with their labels."""
    order = {model: place for place, model in enumerate(t.models)}
    table = t.spike_summary
    place = [order[model] for model in zip(table["arm"], table["seed"], strict=True)]
    table = table.assign(place=place).sort_values("place", ignore_index=True)
    names = [model_label(row.arm, row.seed) for row in table.itertuples()]
    return table.assign(label=[f"{name}  ({i})" for i, name in enumerate(names, start=1)])


def _counts(fig: Figure, place, t: Tables, models: pd.DataFrame) -> None:
    left, right = place.subgridspec(1, 2, wspace=0.05).subplots(sharey=True)
    rows = range(len(models))
    own = models["n_spikes"].where(models["arm"].isin(["untrained", "pretrained"]), 0)
    parts = {"acquired": models["n_acquired"], "inherited": models["n_inherited"], "own start": own}
    start = 0 * own
    for origin, widths in parts.items():
        _, face, edge, hatch = ORIGINS[origin]
        left.barh(
            rows,
            widths,
            left=start,
            height=0.7,
            facecolor=face,
            edgecolor=edge,
            hatch=hatch,
            lw=0.6,
        )
        start = start + widths
    longest = max(int(models["n_spikes"].max()), 1)
    for row, model in enumerate(models.itertuples()):
        text = words.count(model.n_spikes)
        text += f", {words.count(model.n_lost)} lost" if model.n_lost else ""
        left.text(model.n_spikes + 0.015 * longest, row, f" {text}", va="center")
    left.set_xlim(0, longest * 1.3)
    left.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    left.set_yticks(rows, models["label"])
    left.set_ylim(len(models) - 0.4, -0.6)
    left.set_xlabel("spiking positions")
    style.panel_letter(left, "a", "spikes by origin")
    rule = t.config["search"]["spike_ratio"]
    right.plot(models["largest_ratio"], rows, "D", color="black", markersize=3.5)
    hidden = {"markerfacecolor": "white", "markeredgecolor": style.GREY, "linestyle": "none"}
    right.plot(models["largest_hidden_ratio"], rows, "v", markersize=3.5, **hidden)
    right.axvline(rule, color="black", linestyle="--", linewidth=0.7)
    known = [*models["largest_ratio"].dropna(), *models["largest_hidden_ratio"].dropna(), rule]
    style.log_axis(right, "x", min(value for value in known if value > 0) / 1.4, max(known) * 1.4)
    right.set_xlabel("largest ratio (medians)")
    right.tick_params(labelleft=False)
    style.panel_letter(right, "b", "largest spike")


def _positions(
    fig: Figure, place, t: Tables, models: pd.DataFrame, shown: pd.DataFrame, n_all: int
) -> None:
    n = max(len(models), 3)
    widths = [n, max(2, (n + 6) / 6.5), 6]  # the names of two tokens need a part of the whole
    axes = place.subgridspec(1, 3, width_ratios=widths, wspace=0.05).subplots(sharey=True)
    by_model, by_token, by_group = axes
    keys = ["start", "block", "site", "channel"]
    number = shown[keys].assign(row=range(len(shown)))
    table = t.spike_stability.merge(number, on=keys)
    columns = {(m.arm, m.seed): i for i, m in enumerate(models.itertuples())}
    table["column"] = [columns[m] for m in zip(table["arm"], table["seed"], strict=True)]
    quiet = table[table["origin"] == "not a spike"]
    by_model.plot(quiet["column"], quiet["row"], ".", color=style.GREY, markersize=1.5)
    for origin, (marker, face, edge, _) in ORIGINS.items():
        own = table[table["origin"] == origin]
        by_model.scatter(
            own["column"], own["row"], s=13, marker=marker, facecolor=face, edgecolor=edge, lw=0.6
        )
    by_model.set_xticks(range(len(models)), range(1, len(models) + 1))
    by_model.set_xlim(-0.6, max(len(models), 3) - 0.4)
    by_model.set_yticks(range(len(shown)), [_label(row) for row in shown.itertuples()])
    by_model.set_ylim(len(shown) - 0.4, -0.6)
    by_model.set_xlabel("model, as in a")
    some = f" ({len(shown)} of {words.count(n_all)})" if n_all > len(shown) else ""
    style.panel_letter(by_model, "c", f"block, site and channel{some}")
    rule = t.config["search"]["spike_ratio"]
    for column, name in enumerate(TOKENS):
        for passes, mark in {True: ("o", 3.5), False: (".", 1.5)}.items():
            rows = number.loc[(shown[name] >= rule) == passes, "row"]
            by_token.plot([column] * len(rows), rows, mark[0], color="black", markersize=mark[1])
    by_token.set_xticks(range(2), TOKENS.values())
    by_token.set_xlim(-0.6, 1.6)
    by_token.set_xlabel("at tokens")
    style.panel_letter(by_token, "d")
    for (name, (marker, face)), shift in zip(SHARES.items(), (-0.22, 0, 0.22), strict=True):
        by_group.plot(
            group_shares(shown, name),
            number["row"] + shift,
            marker,
            markerfacecolor=face,
            markeredgecolor="black",
            markeredgewidth=0.6,
            markersize=3,
            clip_on=False,
        )
    by_group.set_xlim(-0.03, 1.03)
    by_group.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    by_group.set_xlabel("share of groups in which it passes")
    style.panel_letter(by_group, "e")
    for ax in axes:
        ax.set_axisbelow(True)
        ax.grid(axis="y", color=style.LIGHT, linewidth=0.4)
    for ax in axes[1:]:
        ax.tick_params(labelleft=False, left=False)


def group_shares(spikes: pd.DataFrame, name: str) -> pd.Series:
    """Return the share of groups in which each position passes; of a single group there is none."""
    return spikes[f"share_of_{name}"].where(spikes[f"n_{name}"] > 1)


def _label(row) -> str:
    return f"block {row.block}, {SITES[row.site]}, {row.channel}"


def _sentence(ax: Axes, t: Tables) -> None:
    rule = style.tick_text(t.config["search"]["spike_ratio"])
    ax.set_axis_off()
    text = f"No channel of any model reaches {rule} medians: there is no position to compare."
    ax.text(0.5, 0.5, text, ha="center", va="center", color=style.GREY, transform=ax.transAxes)


def _profiles(ax: Axes, pairs: pd.DataFrame, n_all: int) -> None:
    for row, pair in enumerate(pairs.itertuples()):
        ax.barh(
            row,
            pair.control_high - pair.control_low,
            left=pair.control_low,
            height=0.6,
            color=style.LIGHT,
        )
        ax.plot([pair.control_mean] * 2, [row - 0.3, row + 0.3], color=style.GREY)
        ax.plot(pair.mean_correlation, row, "o", color="black")
        ax.text(1.02, row, _tested(pair), va="center", transform=ax.get_yaxis_transform())
    names = [f"seeds {pair.seed_a} and {pair.seed_b}" for pair in pairs.itertuples()]
    ax.set_yticks(range(len(pairs)), names)
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("mean |r| of matched gene profiles")
    some = f"first {len(pairs)} of {words.count(n_all)} pairs" if n_all > len(pairs) else ""
    style.panel_letter(ax, "f", f"gene profiles {some}".strip())


def _tested(pair) -> str:
    if not pair.n_units:
        return "no profiles to match"
    if words.is_missing(pair.p):
        return "not tested"
    return f"p = {words.amount(pair.p)}"


def _key(t: Tables, shown: pd.DataFrame, with_profiles: bool) -> dict:
    """Return the handles of the key by their labels; an origin's is its bar and its mark."""
    plain = {"linestyle": "none", "color": "black", "markeredgewidth": 0.6, "markersize": 3.5}
    key: dict = {}
    for origin, (marker, face, edge, hatch) in ORIGINS.items() if len(shown) else ():
        look = plain | {"markerfacecolor": face, "markeredgecolor": edge}
        key[origin] = mark = Line2D([], [], marker=marker, **look)
        if origin != "lost":
            key[origin] = (Patch(facecolor=face, edgecolor=edge, hatch=hatch, lw=0.6), mark)
    key["inside a block (b)"] = Line2D([], [], marker="D", **plain)
    key["MLP hidden (b)"] = Line2D([], [], marker="v", markerfacecolor="white", **plain)
    rule = f"rule ({style.tick_text(t.config['search']['spike_ratio'])})"
    key[rule] = Line2D([], [], color="black", linestyle="--", linewidth=0.7)
    if len(shown):
        key["below the rule"] = Line2D([], [], marker=".", **(plain | {"markersize": 1.5}))
        for name, (marker, face) in SHARES.items():
            if group_shares(shown, name).notna().any():
                label = f"{name.replace('_', ' ')} (e)"
                key[label] = Line2D([], [], marker=marker, markerfacecolor=face, **plain)
    if with_profiles:
        key["candidates (f)"] = Line2D([], [], marker="o", **(plain | {"markersize": 4}))
        key["like units (f)"] = Patch(color=style.LIGHT)
    return key
