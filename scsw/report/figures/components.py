"""Components: rise in NLL when a head or an MLP is replaced by its mean, and their links."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scsw.report import style, words
from scsw.report.figures.collapse import _heatmap, colour_bar, colour_scale
from scsw.report.sections.components import in_order, matters, name_of
from scsw.report.tables import Tables

PER_ROW = 3
LISTED, GENES = 6, 4
# Left edge of each column of the list, as a share of its width.
COLUMNS = {"component": 0.0, "rise": 0.21, "leading genes": 0.29, "nearest AD axis": 0.545}
COLUMNS |= {"stage": 0.8}


def draw(t: Tables) -> Figure:
    """Draw a heatmap per model, blocks (rows) by components, and a list of the first few."""
    seeds = [seed for seed in t.seeds if (t.components["seed"] == seed).any()]
    if not seeds:
        return style.placard("No component was measured.")
    tables = {seed: effect_table(t.components, seed) for seed in seeds}
    across, down = min(len(seeds), PER_ROW), -(-len(seeds) // PER_ROW)
    panel = max(40, 24 + style.ROW * 1.2 * max(len(table) for table in tables.values()))
    below = 10 + style.ROW * 1.3 * (LISTED + 1)
    fig = style.new_figure(style.DOUBLE, panel * down + below + 8)
    maps, lower = fig.subfigures(2, 1, height_ratios=[panel * down + 8, below])
    axes = list(maps.subplots(down, across, squeeze=False).ravel())
    for ax in axes[len(seeds) :]:
        ax.set_axis_off()
    axes = axes[: len(seeds)]
    values = np.concatenate([table.to_numpy(float).ravel() for table in tables.values()])
    norm = colour_scale(values, float(t.verdicts["min_effect"].median()))
    alpha = t.config["statistics"]["alpha"]
    for place, (ax, (seed, table)) in enumerate(zip(axes, tables.items(), strict=True)):
        image = _heatmap(ax, table, norm)
        _mark(ax, t.components[t.components["seed"] == seed], table, alpha)
        ax.set_xticks(range(table.shape[1]), [name_of(n) for n in table.columns], rotation=90)
        ax.set_yticks(range(len(table)), table.index)
        style.panel_letter(ax, chr(ord("a") + place), f"seed {seed}")
        if place % across == 0:
            ax.set_ylabel("block")
    colour_bar(maps, image, axes, aspect=25)
    _list(lower.subplots(), t, chr(ord("a") + len(seeds)), alpha)
    maps.legend(handles=_key(alpha), loc="outside lower center", ncols=2)
    return fig


def effect_table(components: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the effect per block (rows) and component (columns, heads in order, then MLP)."""
    mine = components[components["seed"] == seed]
    wide = mine.pivot(index="block", columns="component", values="effect_nll")
    heads = sorted((n for n in wide.columns if n.startswith("head")), key=lambda n: int(n[4:]))
    return wide[[*heads, *sorted(set(wide.columns) - set(heads))]].sort_index()


def listed(t: Tables) -> pd.DataFrame:
    """Return the first components with what they are linked to, as texts.

    Returns
    -------
    pandas.DataFrame
        Columns as in `COLUMNS`; the axis and the stage are those of smallest q.
    """
    alpha = t.config["statistics"]["alpha"]
    rows = []
    for one in in_order(t.components, alpha).head(LISTED).itertuples():
        key = (one.seed, one.block, one.component)
        sets = _own(t.component_pathways, key)
        stages = _own(t.component_stages, key)
        rows.append(
            {
                "component": f"seed {one.seed}, block {one.block}, {name_of(one.component)}",
                "rise": words.effect(one.effect_nll),
                "leading genes": ", ".join(str(one.leading_genes).split(";")[:GENES]) or "none",
                "nearest AD axis": _nearest(sets[sets["primary"].astype(bool)], "gene_set", 21),
                "stage": _nearest(stages[stages["status"] == "tested"], "cell_class", 16),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _own(table: pd.DataFrame, key: tuple[int, int, str]) -> pd.DataFrame:
    seed, block, component = key
    same = table["seed"].eq(seed) & table["block"].eq(block) & table["component"].eq(component)
    return table[same]


def _nearest(table: pd.DataFrame, name: str, length: int) -> str:
    if table.empty:
        return "not tested"
    best = table.sort_values(["q", "p", name], kind="stable").iloc[0]
    label = str(best[name]).removeprefix("AD_").replace("_", " ").lower()
    return f"{words.shortened(label, length)}, q {words.amount(best['q'])}"


def _list(ax: Axes, t: Tables, letter: str, alpha: float) -> None:
    ax.set_axis_off()
    rows = listed(t)
    passed = matters(in_order(t.components, alpha).head(LISTED), alpha).to_numpy()
    which = "those that pass both tests first" if passed.any() else "none passes both tests"
    style.panel_letter(ax, letter, f"first components, by rise; {which}")
    look = {"transform": ax.transAxes, "va": "center"}
    for name, left in COLUMNS.items():
        ax.text(left, 1 - 0.5 / (LISTED + 1), name, color=style.GREY, **look)
        for place, value in enumerate(rows[name]):
            text = value if name != "leading genes" else words.shortened(value, 34)
            height = 1 - (place + 1.5) / (LISTED + 1)
            weight = "bold" if name == "component" and passed[place] else "normal"
            ax.text(left, height, text, fontweight=weight, **look)


def _mark(ax: Axes, mine: pd.DataFrame, table: pd.DataFrame, alpha: float) -> None:
    """Mark what passes: a ring, and a full dot where it passes against equal changes too."""
    both = matters(mine, alpha)
    for one, full in zip(mine.itertuples(), both, strict=True):
        if one.q < alpha:
            column, row = (
                list(table.columns).index(one.component),
                list(table.index).index(one.block),
            )
            ax.plot(column, row, **_dot(full))


def _dot(full: bool) -> dict:
    fill = "black" if full else "white"
    look = {"marker": "o", "linestyle": "", "markersize": 3.2, "markerfacecolor": fill}
    return look | {"markeredgecolor": "white" if full else "black", "markeredgewidth": 0.5}


def _key(alpha: float) -> list[Line2D]:
    told = {False: f"q < {alpha:g} over donors", True: "and above changes of the same size"}
    return [Line2D([], [], label=label, **_dot(full)) for full, label in told.items()]
