"""Stability of spikes and candidates: over models, starts, donors, cell types and regions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scsw.report import words
from scsw.report.names import UNTUNED
from scsw.report.tables import Tables


def numbers(t: Tables) -> dict[str, Any]:
    """Return what spikes in each kind of model, how widely, and what other models share."""
    summary, spikes, pairs = t.spike_summary, t.spike_stability, t.profile_agreement
    real = spikes[(spikes["arm"] == "real") & spikes["passes"].astype(bool)]
    place = ["start", "block", "site", "channel"]
    tuned = summary[summary["arm"] == "real"]
    return {
        "spike_ratio": t.config["search"]["spike_ratio"],
        "alpha": t.config["statistics"]["alpha"],
        "n_models": len(t.seeds),
        "comparable": tuned["start"].nunique() == 1,
        "largest": float(summary["largest_ratio"].max()),
        "n_spikes_of_any": int(summary["n_spikes"].sum()),
        "tuned": {
            "n_spikes": int(tuned["n_spikes"].sum()),
            "n_inherited": int(tuned["n_inherited"].sum()),
            "n_acquired": int(tuned["n_acquired"].sum()),
            "n_lost": int(tuned["n_lost"].sum()),
            "largest": float(tuned["largest_ratio"].max()),
            "n_hidden": int(tuned["n_hidden_spikes"].sum()),
        },
        "untuned": {
            str(row.arm): {"n_spikes": int(row.n_spikes), "largest": float(row.largest_ratio)}
            for row in summary.itertuples()
            if row.arm in UNTUNED
        },
        "n_acquired_positions": len(real[real["origin"] == "acquired"].drop_duplicates(place)),
        "n_agreeing_positions": len(
            real[real["counts_as_agreement"].astype(bool)].drop_duplicates(place)
        ),
        "groups": {
            name: _spread(real, f"share_of_{name}", f"n_{name}")
            for name in ("donors", "cell_types", "regions")
        },
        "n_at_cls": int((real["cls_ratio"] >= t.config["search"]["spike_ratio"]).sum()),
        "n_at_genes": int((real["genes_ratio"] >= t.config["search"]["spike_ratio"]).sum()),
        "n_candidates": len(t.stability),
        "n_agreeing_candidates": int(t.stability["counts_as_agreement"].astype(bool).sum()),
        "cls": _with_and_without_cls(t.other_inputs),
        "other_cohorts": [c["name"] for c in t.config["cohorts"] if c["name"] != t.cohort],
        "profiles": {
            "n_pairs": len(pairs),
            "n_tested": int(pairs["p"].notna().sum()),
            "n_below": int((pairs["p"] < t.config["statistics"]["alpha"]).sum()),
            "lowest": float(pairs["mean_correlation"].min()),
            "highest": float(pairs["mean_correlation"].max()),
            "control_lowest": float(pairs["control_mean"].min()),
            "control_highest": float(pairs["control_mean"].max()),
            "firing_rate": float(pairs["firing_rate"].mean()),
            "control_firing_rate": float(pairs["control_firing_rate"].mean()),
        },
    }


def _with_and_without_cls(finds: pd.DataFrame) -> dict[str, int]:
    """Return how many finds the search has on cells with `<cls>`, without, and in both."""
    found = {}
    for name, own in {"spikes": finds[finds["found_by"] == "spike"], "finds": finds}.items():
        places = own.groupby("kind")[["seed", "candidate_id"]].apply(
            lambda rows: set(rows.itertuples(index=False, name=None))
        )
        shown, hidden = (places.get(kind, set()) for kind in ("with_cls", "without_cls"))
        found |= {
            f"{name}_with": len(shown),
            f"{name}_without": len(hidden),
            f"{name}_both": len(shown & hidden),
        }
    return found


def _spread(spikes: pd.DataFrame, share: str, number: str) -> dict[str, Any] | None:
    """Return the median share of groups, and how many groups there were."""
    known = spikes.dropna(subset=[share])
    if known.empty:
        return None
    return {"median": float(known[share].median()), "n": int(known[number].max())}


def reading(n: dict[str, Any]) -> list[str]:
    """Say which spikes are new, how widely they are seen, and what seeds agree on."""
    told = [_models(n), *_groups(n), *_cls(n["cls"]), _positions(n), _profiles(n)]
    if n["other_cohorts"]:
        told.append(
            f"Candidates of {words.listed(n['other_cohorts'])} are matched with these by the genes "
            "that they read; see Replication across cohorts."
        )
    return told


def _models(n: dict[str, Any]) -> str:
    rule = f"{words.amount(n['spike_ratio'])} medians"
    if not n["tuned"]["n_spikes"]:
        of_any = not n["n_spikes_of_any"]
        largest = n["largest"] if of_any else n["tuned"]["largest"]
        text = (
            f"No channel of {'any' if of_any else 'a fine-tuned'} model reaches the rule of {rule} "
            f"inside a block; the largest is {words.amount(largest)} medians high. So there is no "
            f"spike {'' if of_any else 'of theirs '}whose stability could be told."
        )
        lost = n["tuned"]["n_lost"]
        if lost:
            text += f" {words.count(lost)} that the start had {_were(lost)} lost in fine-tuning."
        return text + _hidden(n)
    tuned = n["tuned"]
    text = (
        f"Inside the blocks, the fine-tuned {'model has' if n['n_models'] == 1 else 'models have'} "
        f"{words.several(tuned['n_spikes'], 'spiking position')} of at least {rule}, counted in "
        f"each model: {words.count(tuned['n_inherited'])} inherited from the start and "
        f"{words.count(tuned['n_acquired'])} acquired in fine-tuning. "
        f"{words.count(tuned['n_lost'])} of the start's {_were(tuned['n_lost'])} lost. The largest "
        f"channel is {words.amount(tuned['largest'])} medians high."
    )
    for arm, found in n["untuned"].items():
        text += (
            f" The {arm} model has {words.several(found['n_spikes'], 'spiking position')}; its "
            f"largest channel is {words.amount(found['largest'])} medians high."
        )
    return text + _hidden(n)


def _hidden(n: dict[str, Any]) -> str:
    found = words.several(n["tuned"]["n_hidden"], "unit")
    return (
        f" In the MLPs' hidden layers, which are counted apart, {found} of the fine-tuned models "
        f"{'reaches' if n['tuned']['n_hidden'] == 1 else 'reach'} it."
    )


def _groups(n: dict[str, Any]) -> list[str]:
    found = {name: spread for name, spread in n["groups"].items() if spread}
    if not found:
        return []
    several = [
        f"{words.percent(spread['median'])} of {words.count(spread['n'])} {name.replace('_', ' ')}"
        for name, spread in found.items()
        if spread["n"] > 1
    ]
    text = ""
    if several:
        text = f"The median spike of the fine-tuned models passes in {words.listed(several)}."
    single = [name.replace("_", " ") for name, spread in found.items() if spread["n"] <= 1]
    absent = [name.replace("_", " ") for name in n["groups"] if name not in found]
    if single or absent:
        names = words.listed(single + absent)
        text += f" The discovery cells leave no two {names} to compare."
    text += (
        f" {words.count(n['n_at_cls'])} of {words.count(n['tuned']['n_spikes'])} pass at the "
        f"<cls> token and {words.count(n['n_at_genes'])} at tokens of genes."
    )
    return [text.strip()]


def _cls(n: dict[str, int]) -> list[str]:
    if not n["finds_with"]:
        return []
    sample = "On a sample of the discovery cells"
    if not n["spikes_with"] and not n["spikes_without"]:
        return [
            f"{sample} the search finds no weight that makes a spike, with the <cls> token or "
            f"without it; of the {words.several(n['finds_with'], 'strongest find')} below the "
            f"rule with it, {words.count(n['finds_both'])} are found without it too."
        ]
    return [
        f"{sample} the search finds {words.several(n['spikes_with'], 'weight')} that "
        f"{'makes' if n['spikes_with'] == 1 else 'make'} a spike; on the same cells without the "
        f"<cls> token {words.count(n['spikes_without'])}, {words.count(n['spikes_both'])} of them "
        "the same."
    ]


def _positions(n: dict[str, Any]) -> str:
    if n["n_models"] < 2:
        return "With one fine-tuned model, agreement between seeds cannot be told."
    if not n["comparable"]:
        return (
            "The models began with different weights, so their channels are permuted: positions "
            "are not compared, and only gene profiles can agree."
        )
    if not n["n_acquired_positions"]:
        return "The models share a start; none has an acquired spike that seeds could agree on."
    return (
        "The models share a start, so inherited spikes agree by themselves and only acquired ones "
        f"count: of {words.several(n['n_acquired_positions'], 'acquired position')}, "
        f"{words.count(n['n_agreeing_positions'])} "
        f"{'spikes' if n['n_agreeing_positions'] == 1 else 'spike'} in more than one seed, and of "
        f"{words.several(n['n_candidates'], 'distinct candidate')}, "
        f"{words.count(n['n_agreeing_candidates'])} "
        f"{'counts' if n['n_agreeing_candidates'] == 1 else 'count'} as agreement."
    )


def _profiles(n: dict[str, Any]) -> str:
    p = n["profiles"]
    if not p["n_pairs"]:
        return "With one seed there are no gene profiles to match."
    if not p["n_tested"]:
        return "The gene profiles of candidates could not be tested between seeds."
    text = (
        "Matched between two seeds, the gene profiles of the candidates' hidden units correlate "
        f"with a mean |r| of {words.span(p['lowest'], p['highest'])}, and with "
        f"{words.span(p['control_lowest'], p['control_highest'])} where like units of the same "
        f"block stand in for them; p < {words.amount(n['alpha'])} in {words.count(p['n_below'])} "
        f"of {words.several(p['n_tested'], 'pair')}, not corrected for their number. The "
        f"candidates' units fire at {words.percent(p['firing_rate'])} of the tokens, their "
        f"controls at {words.percent(p['control_firing_rate'])}."
    )
    if n["comparable"]:
        text += " As the models share a start, they may have inherited what they agree on."
    return text


def _were(n: int) -> str:
    return "was" if n == 1 else "were"
