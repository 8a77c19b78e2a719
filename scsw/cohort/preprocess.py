"""The step `preprocess`: from a public file to one harmonised, filtered, divided cohort."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from scsw.code_hash import code_hash
from scsw.cohort.cohort_file import CohortFile, cohort_file
from scsw.cohort.external import ExternalCohort
from scsw.cohort.gene_columns import select, unique_genes
from scsw.cohort.genes import FORMER_SYMBOLS, GENE_ALIASES, GENE_TABLE
from scsw.cohort.harmonise import DONOR_COLUMNS, harmonise, validate
from scsw.cohort.kept_cells import KeptCells, kept_cells
from scsw.cohort.kept_genes import KeptGenes, kept_genes, read_vocabulary
from scsw.cohort.memory import block_values
from scsw.cohort.parked import ParkedTable
from scsw.cohort.progress import progress
from scsw.cohort.qc import QcLog, check_cell_types
from scsw.cohort.qc_tables import donor_table
from scsw.cohort.request import Request
from scsw.cohort.source_cohort import SourceCohort
from scsw.cohort.sources import NAMED, check_tables, choose, reader, shipped_readers
from scsw.cohort.spool import Spool
from scsw.errors import ScswError
from scsw.files import whole
from scsw.provenance import recorded
from scsw.resources import resource
from scsw.workspace import file_state, temporary_folder, workspace

TABLES = ("vocab.json", "qc.tsv", "qc_histograms.tsv", "coverage.tsv", "donors.tsv")


def preprocess(
    path: str | Path,
    out: str | Path,
    *,
    cohort: str,
    settings: SimpleNamespace,
    source: str = "auto",
    request: Request | None = None,
    checkpoint: str | Path | None = None,
    simulated: bool = False,
    work: str | Path | None = None,
    training: bool = False,
) -> None:
    """Read, harmonise, filter and divide a cohort; match its genes to a vocabulary.

    Writes ``cohort.h5ad``, the files of `TABLES` and ``preprocess.provenance.json`` into `out`;
    all of them appear, or none. The counts are read once, in blocks, whatever their number; a run
    that is killed goes on where it was. A spatial source gives ``spatial.h5ad`` instead, and
    external bulk data ``external.h5ad`` with ``qc.tsv`` alone: no model is fine-tuned on them.

    Parameters
    ----------
    path
        The cohort's file or folder.
    out
        Folder of the cohort's results.
    cohort
        Name of the cohort.
    settings
        Keys of the config's section `preprocess`.
    source
        A name of `scsw.cohort.sources.names`, of a family of them, or ``auto``.
    request
        The user's tables, columns and values; its path is `path`.
    checkpoint
        scGPT folder, for the vocabulary ``checkpoint``.
    simulated
        Whether the cohort is simulated.
    work
        Folder for temporary files; by default below `out`.
    training
        Whether a model is to be fine-tuned on the cohort: sources that do not suit are refused.

    Raises
    ------
    ScswError
        If the source does not have its layout, holds no raw counts, has no donors or fewer than
        two cell types, nothing passes the filters, or too little matches the vocabulary.
    """
    request = request or Request(Path(path))
    source, how = choose(source, request.path, request.columns)
    check_tables(source, request.path, request.tables)
    out = Path(out)
    checkpoint = str(checkpoint) if checkpoint else None
    if settings.vocabulary != "cohort":
        # A missing or broken vocabulary must not be found only after an hour of reading.
        read_vocabulary(settings.vocabulary, checkpoint)
    if how != NAMED:
        _tell(f"{request.path} is read as {source}: {how}")
    inputs: dict[str, str | Path] = {}
    parameters = {"cohort": cohort, "source": source, "recognised": how, **_asked(request)}
    with recorded(
        "preprocess",
        out,
        inputs=inputs,
        parameters={**parameters, **vars(settings)},
        seed=settings.split_seed,
        simulated=simulated,
    ) as extra:
        found = reader(source).read(request)
        if training and found.not_for_training:
            raise _refusal(request, source, found.not_for_training)
        if isinstance(found, ExternalCohort):
            inputs.update({file.name: file for file in found.files})
            found.write(out)
            return
        inputs.update(_inputs(found, checkpoint, settings))
        extra["read_as"] = found.read_as
        _tell(_read_as(found.read_as))
        limit = block_values(settings.memory_gb, len(found.obs))
        key = {
            "code": code_hash("scsw.cohort.preprocess", *shipped_readers()),
            "files": [file_state(file) for file in (reader(source).__file__, *found.files)],
            "limit": limit,
            **parameters,
        }
        with workspace(temporary_folder("preprocess", work, out), key) as folder:
            facts = {"cohort": cohort, "source": source, "simulated": bool(simulated)}
            _preprocess(found, folder, out, settings, checkpoint, limit, facts)


def _preprocess(
    found: SourceCohort,
    folder: Path,
    out: Path,
    settings: SimpleNamespace,
    checkpoint: str | None,
    limit: int,
    facts: dict[str, Any],
) -> None:
    log = QcLog()
    groups, genes = unique_genes(found.genes)
    n_cells, parked = len(found.obs), ParkedTable(found.obs, folder / "obs.pickle")
    found.obs = pd.DataFrame()
    spool = _spooled(found, n_cells, folder, groups, genes, limit)
    cells = kept_cells(found, parked, spool, genes["symbol"], settings, log)
    kept = kept_genes(spool, cells.keep, genes, len(groups), settings, checkpoint, log)
    h5ad = "spatial.h5ad" if found.not_for_training else "cohort.h5ad"
    with contextlib.ExitStack() as together:
        part = {name: together.enter_context(whole(out / name)) for name in (h5ad, *TABLES)}
        with cohort_file(part[h5ad], len(kept.var)) as file:
            filled = _append_counts(file, spool, cells.keep, kept)
            obs, rows = _nonempty(cells, filled, log)
            obs = _finished(obs, facts["cohort"])
            facts = {**facts, **_facts(found, settings, cells, kept, obs)}
            coordinates = {name: places[rows] for name, places in found.coordinates.items()}
            file.finish(obs, kept.var, facts, coordinates)
        part["vocab.json"].write_bytes(kept.vocabulary)
        tables = (log.table(), cells.histograms, kept.coverage, donor_table(obs))
        for name, table in zip(TABLES[1:], tables, strict=True):
            table.to_csv(part[name], sep="\t", index=False)


def _tell(sentence: str) -> None:
    Console(stderr=True).print(sentence, highlight=False, markup=False, soft_wrap=True)


def _read_as(columns: dict[str, str]) -> str:
    """Say what was taken for what, so that a wrong column or matrix shows at once."""
    named = "; ".join(f"{field} from {column!r}" for field, column in columns.items() if column)
    absent = [name for name in DONOR_COLUMNS if not columns.get(name, "not of this source")]
    return named + ("; no column for " + ", ".join(absent) if absent else "")


def _refusal(request: Request, source: str, why: str) -> ScswError:
    return ScswError(
        f"{request.path} ({source}) is no cohort to fine-tune on: {why}",
        fix="take it out of `cohorts:`; `scsw preprocess` alone prepares it",
    )


def _asked(request: Request) -> dict[str, Any]:
    return {
        "tables": dict(request.tables),
        "columns": dict(request.columns),
        "values": {name: dict(known) for name, known in request.values.items()},
        "counts": request.counts,
    }


def _inputs(
    found: SourceCohort, checkpoint: str | None, settings: SimpleNamespace
) -> dict[str, str | Path]:
    inputs: dict[str, str | Path] = {file.name: file for file in found.files}
    inputs.update({name: resource(name) for name in (GENE_TABLE, FORMER_SYMBOLS, GENE_ALIASES)})
    if settings.vocabulary == "checkpoint":
        inputs["checkpoint/vocab.json"] = Path(str(checkpoint)) / "vocab.json"
    return inputs


def _spooled(
    found: SourceCohort,
    n_cells: int,
    folder: Path,
    groups: np.ndarray,
    genes: pd.DataFrame,
    limit: int,
) -> Spool:
    """Read the counts of the cells that the source does not leave out itself."""
    keep = ~np.logical_or.reduce([np.zeros(n_cells, bool), *found.excluded.values()])
    spool = Spool(folder / "cells", n_cells, len(genes))
    is_mito = genes["symbol"].str.startswith("MT-").to_numpy(bool)
    spool.fill(found.counts, groups, is_mito, keep, limit)
    return spool


def _append_counts(
    file: CohortFile, spool: Spool, keep: np.ndarray, genes: KeptGenes
) -> np.ndarray:
    """Write the counts of the kept cells; return which of them express any token."""
    filled = []
    with progress("writing cells", spool.n_cells) as advance:
        for block in spool.blocks():
            wanted = keep[block.kept]
            chosen = block.counts if wanted.all() else block.counts[wanted]
            counts = select(chosen, genes.columns, len(genes.var))
            expressed = np.diff(counts.indptr) > 0
            file.append(counts if expressed.all() else counts[expressed])
            filled.append(expressed)
            advance(block.stop - block.first)
    return np.concatenate(filled)


def _nonempty(cells: KeptCells, filled: np.ndarray, log: QcLog) -> tuple[pd.DataFrame, np.ndarray]:
    """Drop cells in which no token is expressed: they would reach the model empty.

    Returns the annotation of the others, and which rows of the source they are.
    """
    n_empty = (~filled).sum()
    log.add("cells", "no_matched_counts", len(filled), n_empty, "at least one expressed token")
    obs = cells.obs.read()
    obs = obs if filled.all() else obs[filled]
    check_cell_types(obs["cell_type"], log)
    return obs, np.flatnonzero(cells.keep)[filled]


def _facts(
    found: SourceCohort,
    settings: SimpleNamespace,
    cells: KeptCells,
    genes: KeptGenes,
    obs: pd.DataFrame,
) -> dict[str, Any]:
    warnings = list(cells.warnings)
    if obs["pct_mito"].isna().all():
        warnings.append(
            "The source holds neither mitochondrial genes nor their share, so max_pct_mito was "
            "not applied and pct_mito is missing."
        )
    return {
        "vocabulary_sha256": hashlib.sha256(genes.vocabulary).hexdigest(),
        "vocabulary_source": settings.vocabulary,
        "split_unit": cells.split_unit,
        "warnings": np.array(warnings, dtype=str),
        "n_donors": int(obs["donor_id"].nunique()),
        "not_for_training": found.not_for_training,
    }


def _finished(obs: pd.DataFrame, cohort: str) -> pd.DataFrame:
    name = pd.Categorical.from_codes(np.zeros(len(obs), np.int8), [cohort])
    obs.insert(len(obs.columns), "cohort", name)
    obs = harmonise(obs)
    validate(obs)
    return obs
