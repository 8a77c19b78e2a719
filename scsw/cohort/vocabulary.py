"""The gene vocabulary, and which of a cohort's genes it knows.

Vocabularies hold symbols of several vintages: of the 60,694 in scGPT's census list, 38,605 are
current. A gene is matched by symbol, then by Ensembl id through the shipped gene table. Matching
by alias needs a table of former symbols, which scsw does not ship yet: ``coverage.tsv`` has the
row with 0 genes.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scsw.cohort.genes import current_symbols
from scsw.errors import ScswError
from scsw.files import read_json, require

PAD, CLS, EOC = "<pad>", "<cls>", "<eoc>"
SPECIALS = (PAD, CLS, EOC)
MATCHED_BY = ("symbol", "ensembl_id", "alias")


def vocabulary_bytes(kind: str, checkpoint: str | None, symbols: Iterable[str]) -> bytes:
    """Return the contents of ``vocab.json``: token to id.

    Parameters
    ----------
    kind
        ``checkpoint`` (that file, byte for byte), ``census`` (the list in the scgpt package with
        the special tokens after it, as scGPT's whole-human model numbers them), or ``cohort``
        (special tokens, then `symbols` sorted).
    checkpoint
        scGPT folder, for ``checkpoint``.
    symbols
        Genes of the cohort, for ``cohort``.

    Raises
    ------
    ScswError
        If the vocabulary cannot be found, or is none.
    """
    if kind == "checkpoint":
        return _checkpoint_file(checkpoint).read_bytes()
    if kind == "census":
        tokens = read_json(census_file())
        first = max(tokens.values()) + 1
        vocabulary = tokens | {name: first + i for i, name in enumerate(SPECIALS)}
    elif kind == "cohort":
        vocabulary = {name: i for i, name in enumerate([*SPECIALS, *sorted(set(symbols))])}
    else:
        raise ScswError(
            f"the vocabulary {kind!r} is unknown", expected="checkpoint, census or cohort"
        )
    return (json.dumps(vocabulary, indent=2, ensure_ascii=False) + "\n").encode()


def parse_vocabulary(content: bytes, where: str) -> dict[str, int]:
    """Read a vocabulary and check it.

    Raises
    ------
    ScswError
        If it is not a table of tokens to distinct ids, or lacks a special token.
    """
    try:
        vocabulary = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ScswError(f"the vocabulary of {where} is not JSON: {error}") from error
    is_table = isinstance(vocabulary, dict) and all(type(i) is int for i in vocabulary.values())
    if not is_table or len(set(vocabulary.values())) < len(vocabulary):
        raise ScswError(
            f"the vocabulary of {where} is not a table of tokens to ids",
            expected='JSON such as {"<pad>": 0, "APP": 1}, each id once',
        )
    absent = [name for name in SPECIALS if name not in vocabulary]
    if absent:
        raise ScswError(
            f"the vocabulary of {where} lacks {', '.join(absent)}",
            expected=f"the special tokens {', '.join(SPECIALS)}",
            fix="use the vocab.json of an scGPT checkpoint",
        )
    return vocabulary


def census_file() -> Path:
    """Find scGPT's list of genes without importing scgpt, which takes seconds.

    Raises
    ------
    ScswError
        If the package is not installed or lacks the list.
    """
    package = importlib.util.find_spec("scgpt")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "tokenizer" / "default_census_vocab.json"
        if path.exists():
            return path
    raise ScswError(
        "the census vocabulary of the package scgpt is not installed",
        fix="install scgpt 0.2.4, or set preprocess.vocabulary to `cohort` or `checkpoint`",
    )


def match_genes(genes: pd.DataFrame, vocabulary: dict[str, int]) -> pd.DataFrame:
    """Find each gene in the vocabulary.

    Two genes may meet in one token, one by its symbol and one by its Ensembl id (read-through
    transcripts, names made unique with "-1"): their counts are to be added up.

    Parameters
    ----------
    genes
        ``symbol, ensembl_id, from_table``. A symbol from the gene table is a match by Ensembl id.
    vocabulary
        Token to id.

    Returns
    -------
    pandas.DataFrame
        `genes` with ``token`` ("" if unmatched), ``token_id`` (−1 if unmatched) and
        ``matched_by`` (``symbol``, ``ensembl_id`` or ``unmatched``).
    """
    current = current_symbols(genes["ensembl_id"])
    by_symbol = (genes["symbol"].isin(vocabulary) & ~genes["from_table"]).to_numpy()
    by_id = ~by_symbol & current.isin(vocabulary).to_numpy()
    token = np.select([by_symbol, by_id], [genes["symbol"], current], "")
    return genes.assign(
        token=token.astype(object),
        token_id=np.array([vocabulary.get(name, -1) for name in token], np.int64),
        matched_by=np.select([by_symbol, by_id], ["symbol", "ensembl_id"], "unmatched"),
    )


def coverage(matched: pd.DataFrame, counts_per_gene: np.ndarray) -> pd.DataFrame:
    """Tell how much of the cohort the vocabulary knows.

    Parameters
    ----------
    matched
        The table of `match_genes`.
    counts_per_gene
        Sum of each gene's counts over cells, shape (genes,).

    Returns
    -------
    pandas.DataFrame
        ``matched_by, genes, gene_share, counts, count_share``; the last row is the total.
    """
    counts = pd.Series(counts_per_gene, index=matched["matched_by"].to_numpy())
    grouped = counts.groupby(level=0).agg(["size", "sum"])
    grouped = grouped.reindex([*MATCHED_BY, "unmatched"], fill_value=0)
    grouped.loc["total"] = grouped.sum()
    n_genes, n_counts = (max(int(total), 1) for total in grouped.loc["total"])
    return pd.DataFrame(
        {
            "matched_by": grouped.index,
            "genes": grouped["size"].to_numpy(np.int64),
            "gene_share": grouped["size"].to_numpy(float) / n_genes,
            "counts": grouped["sum"].to_numpy(np.int64),
            "count_share": grouped["sum"].to_numpy(float) / n_counts,
        }
    )


def check_coverage(table: pd.DataFrame, least: float, kind: str) -> None:
    """Raise if too few counts are matched; a model would see a fraction of each cell.

    Raises
    ------
    ScswError
        Naming the shares matched and asked for.
    """
    unmatched = table.set_index("matched_by").loc["unmatched"]
    share = 1 - unmatched["count_share"]
    if share < least or table["genes"].iloc[-1] == unmatched["genes"]:
        raise ScswError(
            f"{share:.1%} of the counts belong to genes of the vocabulary `{kind}`",
            expected=f"at least {least:.1%} (preprocess.min_count_share)",
            fix="check that genes are human and named by symbol or Ensembl id; the vocabulary "
            "`cohort` knows every gene when training starts from scratch",
        )


def _checkpoint_file(checkpoint: str | None) -> Path:
    if not checkpoint:
        raise ScswError(
            "the vocabulary `checkpoint` was asked for, but no checkpoint is named",
            fix="name the scGPT folder in model.checkpoint, or use the vocabulary `census`",
        )
    return require(Path(checkpoint) / "vocab.json")
