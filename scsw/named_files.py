"""What a config names on disk, looked at before any step runs; a late one needs it after hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scsw.biology.gene_sets import find_gmt, gwas_genes, read_libraries
from scsw.errors import ScswError

_COHORT_PATHS = ("path", "clinical", "cell_table", "donor_table", "cps_table")


def check_named_files(config: dict[str, Any]) -> None:
    """Look at the gene sets and the paths that a config names.

    Files that Snakemake takes as inputs are not looked for: it names those that are missing.

    Parameters
    ----------
    config
        The whole config, as `scsw.settings.validate_config` returns it.

    Raises
    ------
    ScswError
        If a path is written in a way that the workflow cannot follow, `results` is a file, a
        GMT file is none, or it lacks the GWAS set.
    """
    for key, path in _paths(config):
        if not path.strip() or path.startswith("~") or set(path) & set("{}$"):
            raise ScswError(
                f"{key} is {path!r}",
                expected="a path as it is, without ~, $ or braces, which only a shell resolves",
                fix="write the path in full, or relative to the folder of the Snakefile",
            )
    results = Path(config["results"])
    if not results.is_dir() and (results.exists() or results.is_symlink()):
        raise ScswError(f"results is {results}, which is no folder", fix="name another folder")
    read_libraries(path for _, path in _gene_sets(config))
    biomarkers = config["biomarkers"]
    gwas_genes(find_gmt(biomarkers["gwas_gene_sets"]), biomarkers["gwas_set"])


def _paths(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield key and path of all that a config names on disk."""
    yield "results", config["results"]
    for where, entries in (("cohorts", config["cohorts"]), ("external.bulk", _bulk(config))):
        for i, entry in enumerate(entries):
            named = {key: entry.get(key) for key in _COHORT_PATHS}
            yield from (
                (f"{where}.{i}.{key}", path) for key, path in named.items() if path is not None
            )
    for section, key in (("model", "checkpoint"), ("spatial", "path")):
        if config[section][key] is not None:
            yield f"{section}.{key}", config[section][key]
    yield "biomarkers.gwas_gene_sets", config["biomarkers"]["gwas_gene_sets"]
    yield from _gene_sets(config)


def _bulk(config: dict[str, Any]) -> list[dict[str, Any]]:
    return config["external"]["bulk"]


def _gene_sets(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in config["enrich"].items():
        if key.endswith("gene_sets"):
            yield from ((f"enrich.{key}.{i}", path) for i, path in enumerate(value))
