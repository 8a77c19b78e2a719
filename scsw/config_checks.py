"""Whether the parts of a config go together; each part alone is checked against the schema."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

from scsw.cohort.sources import check_source
from scsw.errors import ScswError
from scsw.fetch.places import fetched_files

SIMULATED_LAYOUTS = ("sea_ad", "rosmap")  # what `scsw simulate` writes


def check_sections(config: dict[str, Any]) -> None:
    """Raise a `ScswError` if parts of a config, defaults filled in, contradict each other."""
    _check_cohorts(config)
    _check_model(config)
    check_control_count(config)
    check_training(SimpleNamespace(**config["finetune"]), SimpleNamespace(**config["compute"]))
    if config["enrich"]["min_size"] > config["enrich"]["max_size"]:
        raise ScswError(
            f"enrich.min_size {config['enrich']['min_size']} is above "
            f"enrich.max_size {config['enrich']['max_size']}: no gene set could be tested"
        )


def _check_cohorts(config: dict[str, Any]) -> None:
    names = [cohort["name"] for cohort in config["cohorts"]]
    names += [entry["name"] for entry in config["external"]["bulk"]]
    # On macOS "A" and "a" are one folder.
    if len({name.casefold() for name in names}) < len(names):
        raise ScswError(f"two cohorts share a name: {names}", fix="give each cohort its own name")
    for cohort in config["cohorts"]:
        check_source(cohort["source"])
        fetched_files(cohort)
    simulated = [cohort["name"] for cohort in config["cohorts"] if "simulate" in cohort]
    if simulated and not config["simulated"]:
        raise ScswError(
            f"the cohorts {simulated} are simulated, but `simulated` is not true",
            expected="`simulated: true`, so that every figure of the run says so",
        )
    for cohort in config["cohorts"]:
        if "simulate" in cohort and cohort["source"] not in SIMULATED_LAYOUTS:
            raise ScswError(
                f"the cohort {cohort['name']} is simulated, but its source is {cohort['source']!r}",
                expected="`source: " + "` or `source: ".join(SIMULATED_LAYOUTS) + "`",
            )
    shares = {k: config["preprocess"][k] for k in ("train", "validation", "discovery", "test")}
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ScswError(
            f"the donor shares in `preprocess` add up to {sum(shares.values()):g}: {shares}",
            expected="shares that add up to 1",
        )


def _check_model(config: dict[str, Any]) -> None:
    model = config["model"]
    if model["embsize"] % model["nheads"]:
        raise ScswError(
            f"model.embsize {model['embsize']} is not a multiple of model.nheads {model['nheads']}"
        )
    if config["preprocess"]["vocabulary"] == "checkpoint" and model["checkpoint"] is None:
        raise ScswError(
            "preprocess.vocabulary is `checkpoint`, but model.checkpoint is not given",
            fix="name the checkpoint folder, or use the census vocabulary",
        )
    if model["checkpoint"] is not None and config["preprocess"]["vocabulary"] != "checkpoint":
        raise ScswError(
            f"model.checkpoint is given, but preprocess.vocabulary is "
            f"`{config['preprocess']['vocabulary']}`",
            expected="a model and a cohort with one vocabulary",
            fix="set preprocess.vocabulary to `checkpoint`",
        )
    arms = set(config["control_arms"]).union(*[c["control_arms"] or [] for c in config["cohorts"]])
    if "pretrained" in arms and model["checkpoint"] is None:
        raise ScswError("the control arm `pretrained` needs model.checkpoint")
    if model["checkpoint"] is None:
        check_freezing(SimpleNamespace(**config["finetune"]), model["nlayers"])


def check_training(settings: SimpleNamespace, compute: SimpleNamespace) -> None:
    """Raise a `ScswError` for options of fine-tuning that cannot go together, or not here.

    Parameters
    ----------
    settings, compute
        Sections ``finetune`` and ``compute`` of the config.
    """
    if not any(getattr(settings, f"weight_{name}") for name in ("gep", "mvc", "cls", "ecs")):
        raise ScswError(
            "every finetune.weight_… is 0", expected="at least one objective to train on"
        )
    if not settings.mask_ratio and (settings.weight_gep or settings.weight_mvc):
        raise ScswError(
            "finetune.mask_ratio is 0, but weight_gep or weight_mvc is not",
            expected="hidden values to reconstruct, or classification alone",
            fix="set weight_gep and weight_mvc to 0, or raise mask_ratio",
        )
    if settings.lora_rank is not None and (settings.freeze != "none" or settings.freeze_blocks):
        raise ScswError(
            "finetune.lora_rank is given together with finetune.freeze or finetune.freeze_blocks",
            expected="one of them: adapters freeze embeddings and encoder blocks themselves",
        )
    _check_batch(settings, compute)
    _check_extra(settings.tensorboard, "tensorboard", "finetune.tensorboard is true")
    _check_extra(settings.lora_rank is not None, "peft", "finetune.lora_rank is given", "lora")


def _check_extra(wanted: bool, package: str, why: str, extra: str = "") -> None:
    if wanted and importlib.util.find_spec(package) is None:
        raise ScswError(
            f"{why}, but the package `{package}` is not installed",
            fix=f"pip install 'scsw[{extra or package}]'",
        )


def check_freezing(settings: SimpleNamespace, n_blocks: int) -> None:
    """Raise a `ScswError` if more encoder blocks are to be frozen than a model has."""
    if settings.freeze_blocks > n_blocks:
        raise ScswError(
            f"finetune.freeze_blocks is {settings.freeze_blocks}, but the model has {n_blocks} "
            "encoder blocks"
        )


def _check_batch(settings: SimpleNamespace, compute: SimpleNamespace) -> None:
    if settings.weight_ecs and settings.accumulate > 1:
        raise ScswError(
            f"finetune.accumulate is {settings.accumulate} together with finetune.weight_ecs",
            expected="1: elastic cell similarity compares all cells of a step at once",
            fix="save memory with a lower finetune.batch_size or compute.activation_checkpointing",
        )
    parts = {"finetune.accumulate": settings.accumulate, "compute.devices": compute.devices}
    for key, number in parts.items():
        if number > settings.batch_size:
            raise ScswError(
                f"{key} is {number}, but finetune.batch_size is {settings.batch_size}",
                expected="at least one cell for each",
            )


def check_control_count(config: dict[str, Any]) -> None:
    """Raise if the random controls are too few for any candidate to be called causal.

    The smallest add-one rank p-value is 1/(n + 1). With m candidates, a single true effect
    passes Benjamini-Hochberg only if that is at most alpha/m.
    """
    n, m = config["prune"]["n_controls"], config["search"]["max_candidates"]
    alpha = config["statistics"]["alpha"]
    if 1 / (n + 1) > alpha / m:
        raise ScswError(
            f"prune.n_controls is {n}, so the smallest possible p-value is {1 / (n + 1):.4f}, "
            f"above alpha/m = {alpha:g}/{m} = {alpha / m:.4f}: no candidate could ever be causal",
            expected=f"at least {int(-(-m // alpha)) - 1} controls",
            fix="raise prune.n_controls or lower search.max_candidates",
        )
