"""Settings of a step: read from the config's section, defaults filled from the one schema."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from scsw.cohort.sources import check_source
from scsw.errors import ScswError
from scsw.fetch.places import fetched_files

OVERRIDES = ("seeds", "control_arms")  # keys that a cohort may set for itself
_BESIDE_PACKAGE = Path(__file__).with_name("config.schema.yaml")  # in an installed wheel
_IN_REPOSITORY = Path(__file__).parents[1] / "workflow" / "schemas" / "config.schema.yaml"


@cache
def schema() -> dict[str, Any]:
    """Return the config schema as a dictionary, which all callers share."""
    path = _BESIDE_PACKAGE if _BESIDE_PACKAGE.exists() else _IN_REPOSITORY
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def fill_defaults(value: Any, rules: dict[str, Any]) -> Any:
    """Return `value` with every default of the schema `rules` filled in, nested ones too."""
    if isinstance(value, dict) and "properties" in rules:
        filled = dict(value)
        for key, rule in rules["properties"].items():
            if key not in filled and "default" in rule:
                filled[key] = copy.deepcopy(rule["default"])
            if key in filled:
                filled[key] = fill_defaults(filled[key], rule)
        return filled
    if isinstance(value, list) and isinstance(rules.get("items"), dict):
        return [fill_defaults(item, rules["items"]) for item in value]
    return value


def check(value: Any, rules: dict[str, Any], where: str) -> None:
    """Raise one error that names every place where `value` breaks the schema `rules`.

    Raises
    ------
    ScswError
        Unknown key, wrong type, value out of range.
    """
    problems = []
    for error in Draft202012Validator(rules).iter_errors(value):
        place = ".".join(str(part) for part in [where, *error.absolute_path] if part != "")
        problems.append(f"{place or 'top level'}: {error.message}")
    if problems:
        raise ScswError(
            "the configuration is not valid: " + "; ".join(sorted(problems)),
            expected="the keys and types listed in config/README.md",
            fix="correct these keys in your config file",
        )


def validate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Check a whole run config and return it with all defaults filled in.

    Raises
    ------
    ScswError
        If the config breaks the schema or its parts contradict each other.
    """
    rules = schema()
    check(config, rules, "")
    filled = fill_defaults(config, rules)
    _check_sections(filled)
    return filled


def section_settings(name: str, given: dict[str, Any] | None = None) -> SimpleNamespace:
    """Return the settings of one section, defaults filled in, as attributes.

    Parameters
    ----------
    name
        Section of the config, such as ``"search"``.
    given
        Keys that differ from the defaults.
    """
    rules = schema()["properties"][name]
    check(given or {}, rules, name)
    return SimpleNamespace(**fill_defaults(given or {}, rules))


def parse_settings(text: str | None) -> dict[str, Any]:
    """Read the ``--config`` option: JSON text, or the path of a YAML or JSON file."""
    if not text:
        return {}
    is_json = text.lstrip().startswith("{")
    if not is_json and not Path(text).is_file():
        raise ScswError(
            f"the config is neither JSON nor a file: {text!r}",
            expected='JSON such as {"search": {"max_candidates": 10}}, or the path of a YAML file',
        )
    try:
        value = json.loads(text) if is_json else yaml.safe_load(Path(text).read_text())
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ScswError(f"the config cannot be read: {error}", expected="JSON or YAML") from error
    if not isinstance(value or {}, dict):
        raise ScswError(f"the config is a {type(value).__name__}", expected="keys and values")
    return value or {}


def reductions(config: dict[str, Any]) -> list[dict[str, Any]]:
    """List the keys marked ``x-reduction`` that stand below (a choice: beside) their default.

    Where the mark is a number, null is the default and stands for that number.

    Returns
    -------
    list of dict
        ``key, value, default, description`` for the report.
    """
    found = []

    def visit(value: Any, rules: dict[str, Any], where: str) -> None:
        for key, rule in rules.get("properties", {}).items():
            place = f"{where}.{key}" if where else key
            given = value.get(key)
            if "properties" in rule and isinstance(given, dict):
                visit(given, rule, place)
            elif mark := rule.get("x-reduction"):
                full = rule["default"] if mark is True else mark
                if _is_less(given, full):
                    found.append(
                        {"key": place, "value": given, "default": full}
                        | {"description": rule["description"]}
                    )

    rules = schema()
    visit(config, rules, "")
    for cohort in config["cohorts"]:
        own = {key: rules["properties"][key] for key in OVERRIDES}
        visit(cohort, {"properties": own}, f"cohorts.{cohort['name']}")
    return found


def _is_less(value: Any, default: Any) -> bool:
    if value is None:
        return False
    if isinstance(default, list):
        return len(value) < len(default)
    return value != default if isinstance(default, str) else value < default


def _check_sections(config: dict[str, Any]) -> None:
    names = [cohort["name"] for cohort in config["cohorts"]]
    names += [entry["name"] for entry in config["external"]["bulk"]]
    if len(set(names)) < len(names):
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
    shares = {k: config["preprocess"][k] for k in ("train", "validation", "discovery", "test")}
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ScswError(
            f"the donor shares in `preprocess` add up to {sum(shares.values()):g}: {shares}",
            expected="shares that add up to 1",
        )
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
    check_control_count(config)


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
