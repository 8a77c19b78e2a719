"""The page config/README.md: every key of the config schema, as Markdown tables.

``python -m scsw.config_reference`` prints the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from scsw.settings import schema

_HEAD = """\
# Configuration: every key
This page is written by `make config-reference` from `workflow/schemas/config.schema.yaml`; change \
the schema, not this page.

A run is one YAML file: `snakemake --cores 8 --configfile config/sea_ad.yaml`. Without \
`--configfile` the demo's `config/config.yaml` is read. A key that is not listed here is an error, \
so a misspelt key is never silently ignored. What a file does not give takes the default below; \
the defaults suit a full-size study.

† A small run lowers these keys. The report lists each one that stands below its default.

‡ No result depends on these keys. A change of them runs no finished step again but the report.
"""
_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}"} | {
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "with at least {} entry",
    "pattern": "matching `{}`",
}


def reference(rules: dict[str, Any]) -> str:
    """Return the Markdown page for the config schema `rules`.

    Parameters
    ----------
    rules
        A JSON schema of type object, such as `scsw.settings.schema` returns.

    Returns
    -------
    str
        One table for the top-level keys and one for each section below them, in schema order.
    """
    parts = [_HEAD]
    for place, section in _sections("", rules):
        parts.append(f"## {f'`{place}`' if place else 'Top level'}")
        if place and "description" in section:
            parts.append(section["description"] + "\n")
        parts.append(_table(section))
    return "\n".join(parts)


def _sections(place: str, rules: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of the schema that has keys of its own, outer ones first."""
    if "properties" not in rules:
        return
    yield place, rules
    for key, rule in rules["properties"].items():
        inner = f"{place}.{key}" if place else key
        if rule.get("type") == "array":
            yield from _sections(f"{inner}[]", rule.get("items", {}))
        else:
            yield from _sections(inner, rule)


def _table(section: dict[str, Any]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, rule in section["properties"].items():
        mark = " †" if rule.get("x-reduction") else " ‡" if rule.get("x-neutral") else ""
        default = _default(rule, required=key in section.get("required", []))
        meaning = "see below" if "properties" in rule else ""
        meaning = _plain(rule.get("description", meaning))
        rows.append(f"| `{key}`{mark} | {_type(rule)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _type(rule: dict[str, Any]) -> str:
    """Return a rule's type and bounds in words."""
    if "enum" in rule:
        return " or ".join(f"`{value}`" for value in rule["enum"])
    names = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    text = " or ".join(names)
    if "array" in names and "items" in rule:
        text = text.replace("array", f"list of {_type(rule['items'])}")
    if isinstance(rule.get("additionalProperties"), dict):
        text += f" of {_type(rule['additionalProperties'])}"
    bounds = [form.format(rule[key]) for key, form in _BOUNDS.items() if key in rule]
    return f"{text} {', '.join(bounds)}".strip().replace("|", "\\|")


def _plain(text: str) -> str:
    """Escape what Markdown would read as a column border or an HTML tag."""
    for mark in "|<>":
        text = text.replace(mark, "\\" + mark)
    return text


def _default(rule: dict[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    if "default" not in rule:
        return "not given"
    if "properties" in rule:
        return "the defaults below"
    return f"`{json.dumps(rule['default'], ensure_ascii=False)}`"


if __name__ == "__main__":
    print(reference(schema()), end="")
