"""The step `preprocess`: from a public file to one harmonised, filtered, divided cohort."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scsw.cohort import cellxgene, rosmap, sea_ad
from scsw.cohort.counts import sum_columns
from scsw.cohort.genes import GENE_TABLE
from scsw.cohort.harmonise import CODINGS, ORIGINAL, SPLITS, harmonise, validate
from scsw.cohort.qc import QcLog, check_cell_types, keep_cells, keep_genes, measure
from scsw.cohort.source_cohort import SourceCohort
from scsw.cohort.sources import check_source, input_files
from scsw.cohort.split import Split, split_cells
from scsw.cohort.vocabulary import (
    check_coverage,
    coverage,
    match_genes,
    parse_vocabulary,
    vocabulary_bytes,
)
from scsw.files import whole
from scsw.provenance import recorded
from scsw.resources import resource


def preprocess(
    path: str | Path,
    out: str | Path,
    *,
    cohort: str,
    source: str,
    settings: SimpleNamespace,
    clinical: str | Path | None = None,
    columns: dict[str, str] | None = None,
    checkpoint: str | Path | None = None,
    simulated: bool = False,
) -> None:
    """Read, harmonise, filter and divide a cohort; match its genes to a vocabulary.

    Writes ``cohort.h5ad``, ``vocab.json``, ``qc.tsv``, ``coverage.tsv`` and
    ``preprocess.provenance.json`` into `out`; all four appear, or none.

    Parameters
    ----------
    path
        The cohort's h5ad, or the ROSMAP folder.
    out
        Folder of the cohort's results.
    cohort
        Name of the cohort.
    source
        ``sea_ad``, ``rosmap`` or ``cellxgene``.
    settings
        Keys of the config's section `preprocess`.
    clinical
        ROSMAP's clinical table, if it is not in the folder.
    columns
        Source columns in place of the reader's own.
    checkpoint
        scGPT folder, for the vocabulary ``checkpoint``.
    simulated
        Whether the cohort is simulated.

    Raises
    ------
    ScswError
        If the source does not have its layout, holds no raw counts, has no donors or fewer than
        two cell types, nothing passes the filters, or too little matches the vocabulary.
    """
    check_source(source)
    path, clinical = str(path), str(clinical) if clinical else None
    out = Path(out)
    checkpoint = str(checkpoint) if checkpoint else None
    if settings.vocabulary != "cohort":
        # A missing or broken vocabulary must not be found only after an hour of reading.
        _vocabulary(settings.vocabulary, checkpoint)
    with recorded(
        "preprocess",
        out,
        inputs=_inputs(source, path, clinical, checkpoint, settings),
        parameters={
            "cohort": cohort,
            "source": source,
            "columns": columns or {},
            **vars(settings),
        },
        seed=settings.split_seed,
        simulated=simulated,
    ):
        found = _read(source, path, clinical, columns)
        log = QcLog()
        counts, obs = _filtered_cells(found, settings, log)
        shares = {name: getattr(settings, name) for name in SPLITS}
        split = split_cells(obs, shares, settings.split_seed)
        counts, obs = _trained_types(counts, obs.assign(split=split.of_cell), split, log)
        counts, genes = _filtered_genes(counts, found, settings, log)
        content, vocabulary = _vocabulary(settings.vocabulary, checkpoint, genes["symbol"])
        matched = match_genes(genes, vocabulary)
        covered = coverage(matched, np.asarray(counts.sum(axis=0, dtype=np.int64)).ravel())
        check_coverage(covered, settings.min_count_share, settings.vocabulary)
        counts, var = _tokens(counts, matched, log)
        counts, obs = _nonempty(counts, obs, log)
        facts = _facts(cohort, source, settings, content, split, obs, simulated)
        adata = _anndata(counts, var, obs.assign(cohort=cohort), facts)
        _write(out, adata, content, log.table(), covered)


def _inputs(
    source: str,
    path: str,
    clinical: str | None,
    checkpoint: str | None,
    settings: SimpleNamespace,
) -> dict[str, str | Path]:
    inputs: dict[str, str | Path] = {
        Path(file).name: file for file in input_files(source, path, clinical)
    }
    inputs[GENE_TABLE] = resource(GENE_TABLE)
    if settings.vocabulary == "checkpoint":
        inputs["checkpoint/vocab.json"] = Path(str(checkpoint)) / "vocab.json"
    return inputs


def _vocabulary(
    kind: str, checkpoint: str | None, symbols: Iterable[str] = ()
) -> tuple[bytes, dict[str, int]]:
    content = vocabulary_bytes(kind, checkpoint, symbols)
    return content, parse_vocabulary(content, checkpoint or kind)


def _read(
    source: str, path: str, clinical: str | None, columns: dict[str, str] | None
) -> SourceCohort:
    if source == "rosmap":
        return rosmap.read(path, columns, clinical)
    return {"sea_ad": sea_ad, "cellxgene": cellxgene}[source].read(path, columns)


def _filtered_cells(
    found: SourceCohort, settings: SimpleNamespace, log: QcLog
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    obs = measure(found.counts, found.genes["symbol"], found.obs)
    keep = keep_cells(obs, found.excluded, settings, log)
    check_cell_types(obs.loc[keep, "cell_type"], log)
    return found.counts[keep], obs[keep]


def _trained_types(
    counts: sparse.csr_matrix, obs: pd.DataFrame, split: Split, log: QcLog
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Drop the cell types that no training cell has: no classifier could name them."""
    trained = set(obs.loc[obs["split"] == "train", "cell_type"])
    untrained = sorted(set(obs["cell_type"]) - trained)
    keep = obs["cell_type"].isin(trained).to_numpy()
    detail = "types that occur in training" + (": not " + ", ".join(untrained) if untrained else "")
    log.add("cells", "type_not_in_training", len(keep), (~keep).sum(), detail)
    if untrained:
        split.warnings.append(
            f"Cell types without a training cell were dropped: {', '.join(untrained)}."
        )
    check_cell_types(obs.loc[keep, "cell_type"], log)
    return counts[keep], obs[keep]


def _filtered_genes(
    counts: sparse.csr_matrix, found: SourceCohort, settings: SimpleNamespace, log: QcLog
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    n_source = found.n_source_genes
    merged = n_source - len(found.genes)
    log.add("genes", "duplicate_symbols", n_source, merged, "counts of one symbol are added up")
    keep = keep_genes(counts, settings, log)
    return counts[:, keep], found.genes[keep].reset_index(drop=True)


def _tokens(
    counts: sparse.csr_matrix, matched: pd.DataFrame, log: QcLog
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Keep the matched genes, one column per token, in the order of token ids."""
    known = matched["token_id"] >= 0
    log.add("genes", "vocabulary", len(known), (~known).sum(), "genes that the vocabulary knows")
    # Where genes meet in one token, the Ensembl id of the one matched by symbol stands.
    by_other = matched["matched_by"] != "symbol"
    ranked = matched[known].assign(by_other=by_other[known]).sort_values(["token_id", "by_other"])
    var = ranked.drop_duplicates("token_id").set_index("token", drop=False)
    merged = int(known.sum()) - len(var)
    log.add("genes", "same_token", known.sum(), merged, "counts of one token are added up")
    groups = np.searchsorted(var["token_id"], matched.loc[known, "token_id"])
    counts = sum_columns(counts[:, known.to_numpy()], groups, len(var))
    var = pd.DataFrame(
        {
            "symbol": var["token"],
            "ensembl_id": var["ensembl_id"],
            "token_id": var["token_id"].astype(np.int64),
        }
    )
    var.index.name = None
    return counts, var


def _nonempty(
    counts: sparse.csr_matrix, obs: pd.DataFrame, log: QcLog
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Drop cells in which no token is expressed: they would reach the model empty."""
    keep = np.diff(counts.indptr) > 0
    log.add("cells", "no_matched_counts", len(keep), (~keep).sum(), "at least one expressed token")
    check_cell_types(obs.loc[keep, "cell_type"], log)
    return counts[keep], obs[keep]


def _facts(
    cohort: str,
    source: str,
    settings: SimpleNamespace,
    vocabulary: bytes,
    split: Split,
    obs: pd.DataFrame,
    simulated: bool,
) -> dict[str, Any]:
    warnings = list(split.warnings)
    if obs["pct_mito"].isna().all():
        warnings.append(
            "The source holds neither mitochondrial genes nor their share, so max_pct_mito was "
            "not applied and pct_mito is missing."
        )
    return {
        "cohort": cohort,
        "source": source,
        "vocabulary_sha256": hashlib.sha256(vocabulary).hexdigest(),
        "vocabulary_source": settings.vocabulary,
        "split_unit": split.unit,
        "simulated": bool(simulated),
        "warnings": np.array(warnings, dtype=str),
        "n_donors": int(obs["donor_id"].nunique()),
    }


def _anndata(
    counts: sparse.csr_matrix, var: pd.DataFrame, obs: pd.DataFrame, facts: dict[str, Any]
) -> AnnData:
    obs = harmonise(obs)
    validate(obs)
    for name in obs.columns:
        is_text = obs[name].dtype == object and name != "cell_id"
        if is_text and (name in CODINGS or name.startswith(ORIGINAL)):
            obs[name] = pd.Categorical(obs[name], categories=sorted(obs[name].unique()))
    return AnnData(X=counts, obs=obs, var=var, uns={"scsw": facts})


def _write(
    out: Path, adata: AnnData, vocabulary: bytes, qc: pd.DataFrame, covered: pd.DataFrame
) -> None:
    """Write all four files under temporary names, then give all of them their own."""
    with contextlib.ExitStack() as together:
        part = {
            name: together.enter_context(whole(out / name))
            for name in ("cohort.h5ad", "vocab.json", "qc.tsv", "coverage.tsv")
        }
        adata.write_h5ad(part["cohort.h5ad"], compression="gzip")
        part["vocab.json"].write_bytes(vocabulary)
        qc.to_csv(part["qc.tsv"], sep="\t", index=False)
        covered.to_csv(part["coverage.tsv"], sep="\t", index=False)
