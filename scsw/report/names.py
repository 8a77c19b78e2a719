"""Names of figures, models and arms; free of heavy imports so that the workflow can use it."""

from __future__ import annotations

import re
from typing import Any

from scsw.errors import ScswError

FIGURES = (
    "cohort",
    "quality_control",
    "finetuning",
    "spikes",
    "stability",
    "paths",
    "pruning",
    "collapse",
    "quantization",
    "controls",
    "genes",
    "components",
    "pathways",
    "stages",
    "stage_order",
    "external",
    "spatial",
    "replication",
    "biomarkers",
)
UNTUNED = ("pretrained", "untrained")
IMPLANTED = ("implanted_constant", "implanted_informative")
COMPARED = ("pretrained",)  # shown for comparison; nothing is expected of it
FORMATS = ("svg", "pdf", "png")
ARM_LABELS = {
    "real": "fine-tuned",
    "pretrained": "pretrained",
    "untrained": "untrained",
    "implanted_constant": "implanted, constant",
    "implanted_informative": "implanted, informative",
    "shuffled": "shuffled labels",
}
AD_GENES = ("APP", "PSEN1", "PSEN2", "MAPT", "TREM2", "APOE", "IL1B", "FOXO3")


def figure_names(config: dict[str, Any], cohort: str) -> list[str]:
    """Return the figures that a run of this config draws for `cohort`, in the report's order.

    Only the config decides, so that a workflow knows its outputs before anything has run. A
    figure whose table turns out empty is still written and says so.
    """
    left_out = set()
    if len(config["cohorts"]) < 2:
        left_out.add("replication")
    if len(config["cohorts"]) < 2 and not config["external"]["bulk"]:
        left_out.add("external")
    if not config["spatial"]["path"]:
        left_out.add("spatial")
    if not config["map"]["components"]:
        left_out.add("components")
    if not control_models(config, cohort):
        left_out.add("controls")
    return [name for name in FIGURES if name not in left_out]


def is_made(place: str, config: dict[str, Any], cohort: str) -> bool:
    """Tell whether a run of this config makes a file; a run before may have left others there.

    Parameters
    ----------
    place
        Path in the cohort's folder, such as ``real/0/prune/shards/prune-0-of-2.provenance.json``.
    config
        The run's config with all defaults.
    """
    first, *rest = place.split("/")
    if first in ARM_LABELS:
        models = [("real", seed) for seed in real_seeds(config, cohort)]
        models += control_models(config, cohort)
        if not any(place.startswith(f"{arm}/{seed}/") for arm, seed in models):
            return False
        first, *rest = rest[1:]
    figure = {"component_links": "components"}.get(first, first.partition(".")[0])
    if figure in FIGURES and figure not in figure_names(config, cohort):
        return False
    if shard := re.search(r"\b(prune|search|enrich)(?:-slopes)?-\d+-of-(\d+)\.", place):
        return int(shard[2]) == config[shard[1]]["shards"]
    return "screen" not in rest or config["search"]["shards"] > 1


def real_seeds(config: dict[str, Any], cohort: str) -> list[int]:
    """Return the seeds of the fine-tuned models of `cohort`."""
    own = _entry(config, cohort)["seeds"]
    return list(config["seeds"] if own is None else own)


def control_models(config: dict[str, Any], cohort: str) -> list[tuple[str, int]]:
    """Return (arm, seed) of the control models of `cohort`; they run on the first seed."""
    own = _entry(config, cohort)["control_arms"]
    arms = config["control_arms"] if own is None else own
    return [(arm, real_seeds(config, cohort)[0]) for arm in arms]


def quantized_models(config: dict[str, Any], cohort: str) -> list[tuple[str, int]]:
    """Return (arm, seed) of the models whose weights are rounded: fine-tuned and implanted."""
    real = [("real", seed) for seed in real_seeds(config, cohort)]
    return real + [model for model in control_models(config, cohort) if model[0] in IMPLANTED]


def model_label(arm: str, seed: int) -> str:
    """Return how a model is named in figures and tables."""
    return f"seed {seed}" if arm == "real" else ARM_LABELS.get(arm, arm)


def _entry(config: dict[str, Any], cohort: str) -> dict[str, Any]:
    for entry in config["cohorts"]:
        if entry["name"] == cohort:
            return entry
    names = ", ".join(entry["name"] for entry in config["cohorts"])
    raise ScswError(f"the config has no cohort {cohort!r}", expected=f"one of {names}")
