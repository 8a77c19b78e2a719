"""Which source files a step runs, and their hash.

Snakemake reruns a step when a parameter changes. With this hash as a parameter, editing a step's
code makes its results stale, and nothing else's.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent


@cache
def code_hash(*modules: str) -> str:
    """Return a hash of modules and of every scsw module that they import, directly or not.

    A kernel in CUDA C++ (``x.cu``) belongs to the module beside it (``x.py``).

    Parameters
    ----------
    modules
        Dotted names such as ``"scsw.superweight.search.search"``; those that are loaded by name at
        run time, as readers of cohorts are, must be named too.
    """
    digest = hashlib.sha256()
    for name in sorted(set().union(*map(_closure, modules))):
        digest.update(name.encode())
        digest.update(_path(name).read_bytes())
        kernel = _path(name).with_suffix(".cu")
        if kernel.exists():
            digest.update(kernel.read_bytes())
    return digest.hexdigest()[:16]


def _closure(module: str) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += imported(name)
    return found


@cache
def imported(module: str) -> tuple[str, ...]:
    """Return the scsw modules that a module imports, anywhere in its code, packages included."""
    names = set()
    for node in ast.walk(ast.parse(_path(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from a import b`: b may be a module or a name inside a.
            names |= {node.module, *[f"{node.module}.{alias.name}" for alias in node.names]}
    names |= {name.rpartition(".")[0] for name in names | {module}}
    return tuple(sorted(n for n in names if n.split(".")[0] == "scsw" and _exists(n)))


def _exists(name: str) -> bool:
    try:
        return _path(name).exists()
    except ValueError:
        return False


def _path(name: str) -> Path:
    parts = name.split(".")
    if parts[0] != "scsw":
        raise ValueError(f"not a module of scsw: {name}")
    base = _PACKAGE.joinpath(*parts[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
