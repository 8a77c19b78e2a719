"""The provenance file that each job writes beside its outputs."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from scsw import __version__
from scsw.files import require_writable, sha256, write_json

_PACKAGES = (
    "numpy scipy pandas pyarrow anndata scanpy torch scgpt scikit-learn statsmodels gseapy "
    "matplotlib snakemake"
).split()


@contextlib.contextmanager
def recorded(
    step: str,
    out: str | Path,
    *,
    inputs: Mapping[str, str | Path],
    parameters: Mapping[str, Any],
    seed: int | None = None,
    simulated: bool = False,
) -> Iterator[dict[str, Any]]:
    """Time the block and write ``<step>.provenance.json`` into folder `out` when it succeeds.

    The block may add entries (``device`` for instance) to the dictionary that it is given.

    Raises
    ------
    ScswError
        At once, if `out` cannot be written: not after the hours that the block may take.
    """
    require_writable(out)
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    extra: dict[str, Any] = {}
    yield extra
    record = {
        "step": step,
        "simulated": simulated,
        "inputs": {k: {"path": str(p), "sha256": sha256(p)} for k, p in inputs.items()},
        "parameters": dict(parameters),
        "seed": seed,
        "versions": {"scsw": __version__, "python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "command": " ".join(sys.argv),
        "host": platform.node(),
        "device": extra.pop("device", "cpu"),
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.perf_counter() - clock, 3),
        "peak_rss_bytes": _peak_rss(),
        "peak_gpu_bytes": _peak_gpu(),
        **extra,
    }
    write_json(record, Path(out) / f"{step}.provenance.json")


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _commit() -> str | None:
    """Return the commit of the checkout scsw runs from; None for a wheel, or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_gpu() -> int:
    """Return the peak bytes that torch allocated on the GPU, 0 where torch was not used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.max_memory_allocated())
