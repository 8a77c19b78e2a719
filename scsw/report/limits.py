"""What a run cannot show: said by the report itself, so that no reader has to find it out."""

from __future__ import annotations

import re
from typing import Any

from scsw.report import words
from scsw.report.tables import Tables
from scsw.report.verdict import NONE
from scsw.settings import reductions

# Chat is what mouse and human atlases call such types after the gene CHAT.
CHOLINERGIC = re.compile(r"(?<!non)(?<!non[- ])cholinergic|\bchat\b", re.IGNORECASE)
CHECKPOINT_SIZES = ("model.embsize", "model.d_hid", "model.nlayers")


def numbers(t: Tables) -> dict[str, Any]:
    """Return warnings, reductions and what was not assessable."""
    unable = t.verdicts[t.verdicts["verdict"] == "not assessable"]
    reasons = unable["reason"].astype(str).value_counts()
    return {
        "warnings": [str(sentence) for sentence in t.about["warnings"]],
        "reductions": _reductions(t.config),
        "n_not_assessable": len(unable),
        "not_assessable": [{"reason": text, "n": int(n)} for text, n in reasons.items()],
        "from_scratch": t.config["model"]["checkpoint"] is None,
        "n_pairs_among": t.config["prune"]["n_pairs_among"],
        "families": sorted(t.candidates["family"].astype(str).unique()),
        "cholinergic": sorted(
            name for name in t.obs["cell_type"].astype(str).unique() if CHOLINERGIC.search(name)
        ),
        "n_models": len(t.seeds),
        "n_cohorts": len(t.config["cohorts"]),
    }


def _reductions(config: dict[str, Any]) -> list[dict[str, Any]]:
    """List the settings below their default that count: a checkpoint brings its own sizes."""
    ignored = CHECKPOINT_SIZES if config["model"]["checkpoint"] is not None else ()
    return [row for row in reductions(config) if row["key"] not in ignored]


def sentences(everything: dict[str, Any]) -> list[str]:
    """Say what the run cannot show, from ``numbers.json`` alone."""
    n, said = everything["limits"], []
    if everything["simulated"]:
        said.append(
            "The data are simulated. Every result here is about the software and the simulation; "
            "none is a finding about the brain or about Alzheimer's disease."
        )
    said += n["warnings"]
    said += _power(everything["verdict"])
    for row in n["not_assessable"]:
        said.append(
            f"{words.several(row['n'], 'candidate')} could not be assessed: "
            f"{row['reason'].removeprefix('not assessable: ').rstrip('.')}."
        )
    said += _scope(n, everything["sections"]["controls"])
    said += [
        f"{row['key']} is {_written(row['value'])} (default {_written(row['default'])}): "
        f"{row['description'].rstrip('.')}."
        for row in n["reductions"]
    ]
    return said


def _power(verdict: dict[str, Any]) -> list[str]:
    if verdict["detectable_high"] is None:
        return []
    nats = words.span(verdict["detectable_low"], verdict["detectable_high"])
    share = words.span(
        verdict["detectable_share_low"], verdict["detectable_share_high"], write=words.percent
    )
    models = words.several(verdict["states"][NONE], "model")
    return [
        f"Effects below {nats} nats per cell ({share} of the gap to the majority floor) could not "
        f"have been called causal in {models} without a causal candidate; such weights may "
        "exist. This is the least that was asked: it supposes the spread over donors that these "
        "weights have, and donors differ more in a larger effect, so that weights of a few times "
        "that effect may have been missed too (docs/calibration.md tells how often, of small "
        "models)."
    ]


def _scope(n: dict[str, Any], controls: dict[str, Any]) -> list[str]:
    said = []
    if not controls["has_implant"]:
        said.append(
            "No weight was implanted as a positive control, so this run does not show that it "
            "would have found one."
        )
    if not controls["negative_could_fail"]:
        said.append(
            "No control arm could have shown a false verdict (there was none without a planted "
            "weight, or its model was not good enough for any causal verdict), so this run does "
            "not show that nothing is found where nothing is."
        )
    if n["from_scratch"]:
        said.append(
            "The models started from random weights, not from a pretrained scGPT checkpoint; "
            "pretrained models may differ."
        )
    if n["n_models"] < 3:
        said.append(
            f"There {'is' if n['n_models'] == 1 else 'are'} only "
            f"{words.several(n['n_models'], 'fine-tuned model')}; how much results vary between "
            "fine-tuning seeds is hardly known."
        )
    if n["n_cohorts"] < 2:
        said.append("There is one cohort: nothing was replicated.")
    if not n["cholinergic"]:
        said.append(
            "No cell type of this cohort is labelled as cholinergic: nothing here is about "
            "cholinergic neurons, which Alzheimer's disease takes early. Those of the basal "
            "forebrain are not in cortical data."
        )
    where = "the feed-forward down-projections (linear2)"
    if set(n["families"]) - {"ffn_down"}:
        where = f"the families {words.listed(n['families'])}"
    together = "weights that matter only together are not seen"
    if n["n_pairs_among"] > 1:
        together = (
            f"beyond pairs of the best {words.count(n['n_pairs_among'])} candidates, weights that "
            "matter only together are not seen"
        )
    said.append(f"Only single weights of {where} are judged; {together}.")
    return said


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return words.amount(value) if isinstance(value, int | float) else str(value)
