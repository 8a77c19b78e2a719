"""Search for super-weight-like parameters and measure what they do."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Load `find_candidates` when it is asked for: a step that does not search never imports it."""
    if name == "find_candidates":
        return import_module("scsw.superweight.find").find_candidates
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
