"""Settings of a step: read from the config's section, defaults filled from the one schema."""

from __future__ import annotations

import copy
import difflib
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from scsw.config_checks import check_sections
from scsw.errors import ScswError

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
        Unknown key, wrong type, value out of range, a number that is not finite.
    """
    problems = [f"{place}: not a finite number" for place in _not_finite(value, where)]
    for error in Draft202012Validator(rules).iter_errors(value):
        place = ".".join(str(part) for part in [where, *error.absolute_path] if part != "")
        problems.append(f"{place or 'top level'}: {error.message}{_hint(error)}")
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
    check_sections(filled)
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


def neutral_keys(section: str) -> list[str]:
    """List the keys of a section that no result depends on, marked ``x-neutral``."""
    keys = schema()["properties"][section]["properties"]
    return [key for key, rule in keys.items() if rule.get("x-neutral")]


class StepSettings(str):
    """The settings of a step as JSON by section; its `repr` leaves out those without a result.

    Snakemake runs a step again when the `repr` of a parameter changed. Memory can thus be saved in
    the steps to come without those that are done being done again.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        sections = json.loads(self)
        for name, keys in sections.items():
            for key in neutral_keys(name):
                keys.pop(key, None)
        return repr(json.dumps(sections, sort_keys=True))


def parse_settings(text: str | None, name: str = "the config") -> dict[str, Any]:
    """Read an option such as ``--config``: JSON text, or the path of a YAML or JSON file.

    Parameters
    ----------
    text
        JSON or a path; nothing gives no settings.
    name
        What it is called in messages.

    Raises
    ------
    ScswError
        If it is neither, or is not a table of keys and values, each key once.
    """
    if not text:
        return {}
    is_json = text.lstrip().startswith("{")
    if not is_json and not Path(text).is_file():
        raise ScswError(
            f"{name} is neither JSON nor a file: {text!r}",
            expected='JSON such as {"search": {"max_candidates": 10}}, or the path of a YAML file',
        )
    try:
        content = text if is_json else Path(text).read_text(encoding="utf-8-sig")
        value = json.loads(text) if is_json else yaml.load(content, _EachKeyOnce)
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        where = name if is_json else text
        raise ScswError(
            f"{where} cannot be read: {error}",
            expected="JSON" if is_json else "JSON or YAML, saved as UTF-8",
        ) from error
    if not isinstance(value or {}, dict):
        raise ScswError(f"{name} is a {type(value).__name__}", expected="keys and values")
    return value or {}


class _EachKeyOnce(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: of two sections one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` stands twice", key.start_mark
                )
            seen.update([key.value] if isinstance(key.value, str) else [])
        return super().construct_mapping(node, deep)


def _not_finite(value: Any, where: str) -> Iterator[str]:
    """Yield the places of NaN and infinity, which pass every bound of a schema."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from _not_finite(item, f"{where}.{key}" if where else str(key))


def _hint(error: ValidationError) -> str:
    """Say what the user may have meant, for the mistakes that are made most."""
    value = error.instance
    if error.validator == "additionalProperties" and error.validator_value is False:
        known = error.schema["properties"]
        near = [_meant(str(key), known) for key in value if key not in known]
        return "".join(f"; did you mean {words}?" for words in near if words)
    if error.validator == "type" and value is None:
        return ": nothing stands below this key; take it out"
    if error.validator == "type" and isinstance(value, str) and _is_number(value):
        return ": write 1.0e-4 or 0.0001, since YAML reads 1e-4 and numbers in quotes as text"
    return ""


def _meant(key: str, known: dict[str, Any]) -> str:
    """Name the section that has a key, or the key that is spelt nearly so."""
    sections = schema()["properties"].items()
    if home := [name for name, rule in sections if key in rule.get("properties", {})]:
        return " or ".join(f"{name}.{key}" for name in home)
    return "".join(difflib.get_close_matches(key, known, 1))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
