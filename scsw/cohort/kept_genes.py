"""Which genes of a source become columns of the cohort."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from scsw.cohort.gene_columns import token_columns
from scsw.cohort.qc import QcLog, count_genes, keep_genes
from scsw.cohort.spool import Spool
from scsw.cohort.vocabulary import (
    check_coverage,
    coverage,
    match_genes,
    parse_vocabulary,
    vocabulary_bytes,
)


@dataclass(frozen=True)
class KeptGenes:
    """The genes of the cohort.

    Attributes
    ----------
    columns
        Column of each unique gene of the source, −1 if it is left out; shape (genes,).
    var
        ``symbol, ensembl_id, token_id``, one row per column.
    vocabulary
        Contents of ``vocab.json``.
    coverage
        The table of `scsw.cohort.vocabulary.coverage`.
    """

    columns: np.ndarray
    var: pd.DataFrame
    vocabulary: bytes
    coverage: pd.DataFrame


def kept_genes(
    spool: Spool,
    keep: np.ndarray,
    genes: pd.DataFrame,
    n_source_genes: int,
    settings: SimpleNamespace,
    checkpoint: str | None,
    log: QcLog,
) -> KeptGenes:
    """Leave out what too few cells express, and find the rest in the vocabulary.

    Parameters
    ----------
    spool
        The counts.
    keep
        Which cells are kept; bool, shape (cells,).
    genes
        The spool's genes, those of one symbol added up.
    n_source_genes
        Genes before that.
    settings
        Keys of the config's section `preprocess`.
    checkpoint
        scGPT folder, for the vocabulary ``checkpoint``.
    log
        Gets one row per filter.

    Raises
    ------
    ScswError
        If no gene is left, or the vocabulary knows too few counts.
    """
    merged = n_source_genes - len(genes)
    detail = "counts of one symbol are added up"
    log.add("genes", "duplicate_symbols", n_source_genes, merged, detail)
    n_cells, n_counts = count_genes(spool, keep)
    passing = keep_genes(n_cells, settings, log)
    expressed = genes[passing].reset_index(drop=True)
    content, vocabulary = read_vocabulary(settings.vocabulary, checkpoint, expressed["symbol"])
    matched = match_genes(expressed, vocabulary)
    covered = coverage(matched, n_counts[passing])
    least, kind = settings.min_count_share, settings.vocabulary
    check_coverage(covered, least, kind, matched, n_counts[passing])
    columns = np.full(len(genes), -1)
    columns[passing], var = token_columns(matched, log)
    return KeptGenes(columns, var, content, covered)


def read_vocabulary(
    kind: str, checkpoint: str | None, symbols: Iterable[str] = ()
) -> tuple[bytes, dict[str, int]]:
    """Return a vocabulary as ``vocab.json`` holds it, and checked; see `vocabulary_bytes`."""
    content = vocabulary_bytes(kind, checkpoint, symbols)
    return content, parse_vocabulary(content, checkpoint or kind)
