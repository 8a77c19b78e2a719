"""Every number that the report's prose uses, in one dictionary: ``numbers.json``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from scsw import __version__
from scsw.report import limits
from scsw.report.provenance_records import Records
from scsw.report.sections import SECTIONS
from scsw.report.tables import Tables
from scsw.report.verdict import verdict_numbers, verdict_sentence
from scsw.settings import schema

DIGITS = 6  # significant; more would be noise of the last CPU instruction
# Without the cohorts' paths: they say nothing to a reader and belong to somebody's machine.
CONFIG_SECTIONS = (
    "preprocess finetune search prune quantize statistics map enrich stages replicate biomarkers"
).split()
LIBRARIES = {  # shipped with scsw; their sources stand in resources/README.md
    "resources/gene_sets/ad_axes.gmt": "the 16 Alzheimer's axes of scsw",
    "resources/gene_sets/hallmark.gmt": "Hallmark (Liberzon et al. 2015; MSigDB 7.5.1)",
    "resources/gene_sets/reactome.gmt": "Reactome (MSigDB 7.5.1)",
    "resources/gene_sets/wikipathways.gmt": "WikiPathways (MSigDB 7.5.1)",
}
MODEL_KEYS = "embsize nheads d_hid nlayers n_layers_cls n_bins max_seq_len".split()


def collect(t: Tables, records: Records) -> dict[str, Any]:
    """Return all numbers, ready for JSON: no NaN, no numpy types, rounded.

    Returns
    -------
    dict
        ``cohort, simulated, verdict_sentence, verdict, sections, limits, reductions, config,
        libraries, versions``.
    """
    sections = {name: module.numbers(t) for name, (_, module) in SECTIONS.items()}
    share = t.config["prune"]["min_effect"]
    sentence = verdict_sentence(
        t.verdicts,
        cohort=t.cohort,
        simulated=t.simulated,
        seeds=t.seeds,
        min_effect_share=share,
        failed_controls=sections["controls"]["failed"],
    )
    what_is_missing = limits.numbers(t)
    return plain(
        {
            "cohort": t.cohort,
            "run": t.config["run"],
            "simulated": t.simulated,
            "verdict_sentence": sentence,
            "verdict": verdict_numbers(t.verdicts, seeds=t.seeds, min_effect_share=share),
            "sections": sections,
            "limits": what_is_missing,
            "reductions": what_is_missing["reductions"],
            "nulls": _nulls(t),
            "config": {name: t.config[name] for name in CONFIG_SECTIONS}
            | {"external": {"permutations": t.config["external"]["permutations"]}},
            "libraries": _libraries(t.config["enrich"]),
            "model": records.model_sizes or _configured_sizes(t.config["model"]),
            "seeds": t.seeds,
            "versions": records.versions or {"scsw": __version__},
            "commits": records.commits,
        }
    )


def _libraries(enrich: dict[str, Any]) -> dict[str, str]:
    """Name the libraries of gene sets: those that are shipped with their source."""
    paths = [*enrich["gene_sets"], *enrich["prerank_gene_sets"]]
    return {path: LIBRARIES.get(path, Path(path).stem) for path in paths}


def _configured_sizes(model: dict[str, Any]) -> dict[str, Any]:
    """Return the sizes of a model from scratch; null stands for the number of a full model."""
    rules = schema()["properties"]["model"]["properties"]
    found = {key: model[key] for key in MODEL_KEYS}
    return {key: rules[key]["x-reduction"] if x is None else x for key, x in found.items()}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _nulls(t: Tables) -> dict[str, list[str]]:
    """Return the names of the null distributions behind each table's p-values."""
    tables = {"verdicts": t.verdicts, "genes": t.genes, "stages": t.stages}
    tables["change_points"] = t.change_points
    tables["views"] = t.view_agreement
    tables |= {"external": t.external, "spatial": t.spatial}
    for method in ("ora", "prerank"):
        tables[method] = t.pathways[t.pathways["method"] == method]
    tables |= {f"replication_{name}": table for name, table in t.replication.items()}
    nulls = {name: table["null"] for name, table in tables.items()}
    nulls["units"] = t.genes["unit_null"]
    nulls["views_units"] = t.view_agreement["control_null"]
    nulls["replication_units"] = t.replication["genes"]["unit_null"]
    return {
        name: sorted({str(null) for null in column.dropna().unique() if null})
        for name, column in nulls.items()
    }
