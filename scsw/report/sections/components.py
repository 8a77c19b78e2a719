"""Attention heads and MLPs: what the model loses without each, and what they are linked to."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.biology.tables import POWER
from scsw.report import words
from scsw.report.donors import stage_name
from scsw.report.tables import Tables

NAMED_GENES, NAMED_SETS = 5, 3
CAVEATS = [
    "What attention does not show: a token can be attended to and hand on next to nothing, so "
    "genes are ranked by the length of what they hand on through the head, and no weight of "
    "attention is read as importance. Genes are compared with genes alike in detection rate and "
    "mean bin, not over donors. A component that is replaced by its mean leaves the model in a "
    "state that it was not trained in; its effect says that the model uses the component, not that "
    "its genes are the reason, and nothing of cause in the tissue."
]


def numbers(t: Tables) -> dict[str, Any]:
    """Return the components that matter, and the gene sets and stages they are linked to."""
    alpha = t.config["statistics"]["alpha"]
    if t.components.empty:
        return {"n_components": 0, "asked_for": bool(t.config["map"]["components"])}
    order = in_order(t.components, alpha)
    return {
        "alpha": alpha,
        "n_components": len(order),
        "n_models": order["seed"].nunique(),
        "n_assessed": int(order["q"].notna().sum()),
        "n_passed": int((order["q"] < alpha).sum()),
        "n_beyond": int(matters(order, alpha).sum()),
        "top": _one(order.iloc[0]),
        "spike": _spike(order),
        "pathways": _pathways(t.component_pathways, alpha),
        "stages": _stages(t.component_stages, alpha),
    }


def matters(components: pd.DataFrame, alpha: float) -> pd.Series:
    """Tell whose effect passes, also against changes of the same size."""
    return (components["q"] < alpha) & (components["excess_q"] < alpha)


def in_order(components: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Put the components in order: those that matter first, then by effect."""
    table = components.assign(_last=~matters(components, alpha))
    keys = ["_last", "effect_nll", "seed", "block", "component"]
    return table.sort_values(keys, ascending=[True, False, True, True, True], kind="stable")


def name_of(component: str) -> str:
    """Write a component in words: head 3, MLP."""
    return str(component).replace("head", "head ").replace("mlp", "MLP")


def _place(row: pd.Series) -> dict[str, Any]:
    place = {"seed": int(row["seed"]), "block": int(row["block"])}
    return place | {"component": name_of(row["component"])}


def _one(row: pd.Series) -> dict[str, Any]:
    names = ("effect_nll", "effect_low", "effect_high", "q", "control_nll", "excess_q")
    genes = [gene for gene in str(row["leading_genes"]).split(";") if gene]
    return (
        _place(row)
        | {name: float(row[name]) for name in names}
        | {"output_share": float(row["output_share"]), "genes": genes[:NAMED_GENES]}
        | {"n_significant_genes": int(row["n_significant_genes"])}
    )


def _spike(order: pd.DataFrame) -> dict[str, Any] | None:
    """Return the head through which genes attend most to a spike token."""
    seen = order[order["attention_to_spike"].notna()]
    if seen.empty:
        return None
    row = seen.loc[seen["attention_to_spike"].idxmax()]
    return _place(row) | {
        "candidate_id": str(row["spike_candidate"]),
        "is_spike": row["spike_found_by"] == "spike",
        "attention": float(row["attention_to_spike"]),
    }


def _pathways(table: pd.DataFrame, alpha: float) -> dict[str, Any]:
    primary = table[table["primary"].astype(bool)]
    best = primary.sort_values(["q", "p", "seed", "block", "component", "gene_set"], kind="stable")
    return {
        "n_tests": len(primary),
        "n_sets": primary["gene_set"].nunique(),
        "n_passed": int((primary["q"] < alpha).sum()),
        "best": [
            _place(row)
            | {"gene_set": str(row["gene_set"]), "q": float(row["q"])}
            | {"share_of_components": float(row["share_of_components"])}
            for _, row in best.head(NAMED_SETS).iterrows()
        ],
    }


def _stages(table: pd.DataFrame, alpha: float) -> dict[str, Any]:
    tested = table[table["status"] == "tested"].sort_values(
        ["q", "p", "seed", "block", "component", "cell_class"], kind="stable"
    )
    found: dict[str, Any] = {"n_tests": len(tested), "n_passed": int((tested["q"] < alpha).sum())}
    if len(tested):
        row = tested.iloc[0]
        found["best"] = _place(row) | {
            "cell_class": str(row["cell_class"]),
            "stage": str(row["stage"]),
            "beta": float(row["beta"]),
            "q": float(row["q"]),
        }
        found["detectable"] = float(tested["detectable"].median())
        found["power"] = POWER
        found["n_survive"] = int((tested["survives_thinning"] == "yes").sum())
    return found


def reading(n: dict[str, Any]) -> list[str]:
    """Say which components matter, and what they are linked to."""
    if not n["n_components"]:
        return [
            "No component was measured."
            if n["asked_for"]
            else "Components were not scored in this run (map.components is off)."
        ]
    return [*_effects(n), *_links(n), *CAVEATS]


def _effects(n: dict[str, Any]) -> list[str]:
    top = n["top"]
    tested = (
        f"for {words.count(n['n_passed'])} of them the rise passes q < {words.amount(n['alpha'])} "
        f"over donors, corrected for the number of components, and for "
        f"{words.count(n['n_beyond'])} it also exceeds that of changes of the same size in random "
        "directions"
        if n["n_assessed"]
        else "there are too few test donors to test them"
    )
    first = (
        f"{words.several(n['n_components'], 'head or MLP', 'heads and MLPs')} of "
        f"{words.several(n['n_models'], 'model')} were replaced by their mean: {tested}. The "
        f"first is {_named(top)}: {words.effect(top['effect_nll'])} nats per cell "
        f"({words.interval(top['effect_low'], top['effect_high'])}; changes of the same size "
        f"{words.effect(top['control_nll'])}); its output has {words.percent(top['output_share'])} "
        "of the length of the sum at <cls> that it is added to."
    )
    genes = (
        f"Most is handed on through it by {words.listed(top['genes'])}; "
        f"{words.several(top['n_significant_genes'], 'gene stands', 'genes stand')} out at "
        f"q < {words.amount(n['alpha'])} over all components and genes."
        if top["genes"]
        else "No gene is detected in enough cells to be scored in it."
    )
    return [first + " " + genes, *_spike_reading(n["spike"])]


def _spike_reading(spike: dict[str, Any] | None) -> list[str]:
    if spike is None:
        return ["No block has a spike in its input, so attention to spikes was not measured."]
    kind = "" if spike["is_spike"] else ", which is below the rule for a spike,"
    return [
        f"Genes attend most to the token that carries the channel of {spike['candidate_id']}{kind} "
        f"through {_named(spike)}: {words.amount(spike['attention'])} times as much as if they "
        "attended to all tokens alike."
    ]


def _links(n: dict[str, Any]) -> list[str]:
    sets, stages = n["pathways"], n["stages"]
    said = ["No AD axis was tested."]
    if sets["n_tests"]:
        best = [
            f"{row['gene_set']} ({_named(row)}, q {words.amount(row['q'])}; at least as near to "
            f"{words.percent(row['share_of_components'])} of the components)"
            for row in sets["best"]
        ]
        said = [
            f"Leading genes against {words.several(sets['n_sets'], 'AD axis', 'AD axes')}: "
            f"{words.count(sets['n_passed'])} of {words.several(sets['n_tests'], 'test')} pass "
            f"against random genes. Nearest: {words.listed(best)}. Genes of a set are expressed "
            "together, so that components which read at random pass this too often: it describes "
            "the genes of a component and does not show that it stands for an axis."
        ]
    if not stages["n_tests"]:
        return [*said, "No component could be tested against disease stage."]
    best = stages["best"]
    return [
        *said,
        f"Share of the sum at <cls> against disease stage: {words.count(stages['n_passed'])} of "
        f"{words.several(stages['n_tests'], 'primary test')} pass{_again(stages)}. Smallest q: "
        f"{_named(best)} in {best['cell_class']} cells on {stage_name(best['stage'])} "
        f"({words.effect(best['beta'])} standard deviations per stage, q "
        f"{words.amount(best['q'])}). With about {words.percent(stages['power'])} power a slope of "
        f"{words.amount(stages['detectable'])} would have been found (median).",
    ]


def _again(stages: dict[str, Any]) -> str:
    if not stages["n_passed"]:
        return ""
    return f", {words.count(stages['n_survive'])} of them again on cells thinned to one depth"


def _named(row: dict[str, Any]) -> str:
    return f"{row['component']} of block {row['block']} (seed {row['seed']})"
