"""scGPT: the package's own model, made importable, with encoder layers that can be looked into.

Importing this package makes ``import scgpt`` possible (see `scsw.scgpt.torchtext_standin`), and
``scsw.scgpt.load_model`` loads a scGPT folder.
"""

from importlib import import_module
from typing import Any

from scsw.scgpt.torchtext_standin import ensure_torchtext

ensure_torchtext()

# By name, so that it is imported when asked for, and steps without a model do not depend on it.
_LATE = {"load_model": "scsw.scgpt.model"}


def __getattr__(name: str) -> Any:
    """Import `load_model` when it is asked for."""
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
