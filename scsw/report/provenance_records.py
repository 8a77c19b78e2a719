"""Reads the provenance files that the steps left beneath a cohort's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scsw.files import read_json
from scsw.report.names import is_made, real_seeds

SUFFIX = ".provenance.json"
# The report's own record comes after it, so a second run would read what the first did not have.
OWN = "report" + SUFFIX


@dataclass(frozen=True)
class Records:
    """What the provenance files say.

    Attributes
    ----------
    steps
        One dictionary per file: ``place, step, seed, started, wall_seconds, device, peak_rss_gb,
        peak_gpu_gb``.
    versions
        Package → version; several versions of one package are joined by commas.
    commits
        The commits that the steps ran from.
    model_sizes
        Sizes of the fine-tuned model as its ``args.json`` has them; empty if there is none.
    """

    steps: list[dict[str, Any]]
    versions: dict[str, str]
    commits: list[str]
    model_sizes: dict[str, Any]


def read_records(folder: Path, config: dict[str, Any], cohort: str) -> Records:
    """Read the provenance files beneath `folder` that are of this config, and the model's sizes."""
    files = sorted(
        path
        for path in folder.rglob("*" + SUFFIX)
        if path.name != OWN and is_made(path.relative_to(folder).as_posix(), config, cohort)
    )
    records = [(path, read_json(path)) for path in files]
    versions: dict[str, set[str]] = {}
    for _, record in records:
        for package, version in record["versions"].items():
            versions.setdefault(package, set()).add(version)
    return Records(
        steps=[_step(path.relative_to(folder), record) for path, record in records],
        versions={name: ", ".join(sorted(found)) for name, found in sorted(versions.items())},
        commits=sorted({str(record["commit"]) for _, record in records if record["commit"]}),
        model_sizes=_model_sizes(
            folder / "real" / str(real_seeds(config, cohort)[0]) / "model" / "args.json"
        ),
    )


def _step(place: Path, record: dict[str, Any]) -> dict[str, Any]:
    gigabyte = 1e9
    return {
        "place": str(place.parent),
        "step": record["step"],
        "seed": record["seed"],
        "started": record["started"],
        "wall_seconds": record["wall_seconds"],
        "device": record["device"],
        "peak_rss_gb": record["peak_rss_bytes"] / gigabyte,
        "peak_gpu_gb": record["peak_gpu_bytes"] / gigabyte,
    }


def _model_sizes(path: Path) -> dict[str, Any]:
    keys = "embsize nheads d_hid nlayers n_layers_cls n_bins max_seq_len".split()
    given = read_json(path) if path.exists() else {}
    return {key: given[key] for key in keys if key in given}
